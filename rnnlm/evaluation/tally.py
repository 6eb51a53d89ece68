"""The only place where nats become bits: the cost of symbols under logits, as a sum and a count."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

BLOCK = 10_000
"""Symbols that are taken together where the spread of their cost is asked for."""


@dataclass(frozen=True)
class Tally:
    """What some symbols cost: the sum of -ln p in nats, and how many they were. Divided once, at the end."""

    nats: float
    count: int

    @classmethod
    def of_bits(cls, bits: float, count: int) -> "Tally":
        return cls(bits * math.log(2), count)

    @property
    def bits(self) -> float:
        """The sum in bits."""
        return self.nats / math.log(2)

    @property
    def bpc(self) -> float:
        """Bits per symbol. The name is the field's; where symbols are bytes it is bits per byte."""
        return self.bits / self.count

    def per(self, n: int) -> float:
        """Bits per one of n things that the symbols make up, such as bytes."""
        return self.bits / n


@dataclass(frozen=True)
class Blocks:
    """The cost of symbols in the order of the text, BLOCK by BLOCK: nats [N]; the last block may be shorter."""

    nats: NDArray[np.float64]
    count: int

    @property
    def tally(self) -> Tally:
        return Tally(float(self.nats.sum()), self.count)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Symbols of each block."""
        return np.minimum(BLOCK, self.count - BLOCK * np.arange(len(self.nats)))

    @property
    def bpc(self) -> NDArray[np.float64]:
        """Bits per symbol of each block."""
        return np.asarray(self.nats / self.counts / math.log(2))

    def stderr(self) -> float | None:
        """The standard error of the whole's bpc, were the blocks drawn at random; None for fewer than two blocks.

        Of a ratio of sums (Cochran 1977, 2.11), since the last block may be short.
        """
        n = len(self.nats)
        if n < 2:
            return None
        away = self.counts * (self.bpc - self.tally.bpc)
        return float(math.sqrt(n / (n - 1) * (away**2).sum()) / self.count)

    def paired_difference(self, other: "Blocks") -> tuple[float, float | None]:
        """(bpc of this less the other's on the same symbols, the standard error of that), block by block."""
        assert self.count == other.count and len(self.nats) == len(other.nats)
        difference = Blocks(self.nats - other.nats, self.count)
        return difference.tally.bpc, difference.stderr()


def nats(logits_BTV: jax.Array, y_BT: jax.Array) -> jax.Array:
    """-ln p(y) for each position: [B, T], float32."""
    logits_BTV = logits_BTV.astype(jnp.float32)
    hit = jnp.arange(logits_BTV.shape[-1])[None, None, :] == y_BT[:, :, None]
    chosen = jnp.sum(jnp.where(hit, logits_BTV, 0.0), axis=-1)
    return jax.nn.logsumexp(logits_BTV, axis=-1) - chosen
