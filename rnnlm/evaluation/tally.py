"""The cost of symbols as a sum and a count: the only place where nats become bits."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

NATS_PER_BIT = math.log(2)
BLOCK = 1_000
"""Symbols of a block whose cost a result keeps."""
STDERR_BLOCK = 10_000
"""Symbols of a block for standard errors: long enough that the costs of neighbours hardly correlate."""


@dataclass(frozen=True)
class Tally:
    """Hold the cost of `count` symbols: the sum of -ln p in nats, which is divided once, at the end."""

    nats: float
    count: int

    @classmethod
    def of_bits(cls, bits: float, count: int) -> "Tally":
        """Make a tally from a sum in bits."""
        return cls(bits * NATS_PER_BIT, count)

    @property
    def bits(self) -> float:
        """Return the sum in bits."""
        return self.nats / NATS_PER_BIT

    @property
    def bpc(self) -> float:
        """Return the bits per symbol, which the field calls bits per character; bits per byte if symbols are bytes."""
        return self.bits / self.count

    def per(self, n: int) -> float:
        """Return the bits per one of `n` things that the symbols make up, such as bytes."""
        return self.bits / n


@dataclass(frozen=True)
class Blocks:
    """Hold the cost of consecutive blocks of `size` symbols: nats [N]; the last block may be shorter."""

    nats: NDArray[np.float64]
    count: int
    size: int = BLOCK

    @property
    def tally(self) -> Tally:
        """Return the cost of all symbols."""
        return Tally(float(self.nats.sum()), self.count)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Return the number of symbols in each block: [N]."""
        return np.minimum(self.size, self.count - self.size * np.arange(len(self.nats)))

    @property
    def bpc(self) -> NDArray[np.float64]:
        """Return the bits per symbol of each block: [N]."""
        return np.asarray(self.nats / self.counts / NATS_PER_BIT)

    def coarsen(self, size: int) -> "Blocks":
        """Join blocks to blocks of `size` symbols. Raises ValueError if that is no multiple of the present size."""
        if size % self.size:
            raise ValueError(f"blocks of {self.size} symbols do not join to blocks of {size}")
        starts = np.arange(0, len(self.nats), size // self.size)
        return Blocks(np.add.reduceat(self.nats, starts), self.count, size)

    def stderr(self) -> float | None:
        """Return the standard error of the bpc of all symbols over the blocks; None for fewer than two blocks.

        The bpc is a ratio of sums, since the last block may be short (Cochran 1977, 2.11).
        """
        n = len(self.nats)
        if n < 2:
            return None
        away = self.counts * (self.bpc - self.tally.bpc)
        return float(math.sqrt(n / (n - 1) * (away**2).sum()) / self.count)

    def paired_difference(self, other: "Blocks") -> tuple[float, float | None]:
        """Return (own bpc minus the other's on the same symbols, its standard error over pairs of blocks)."""
        assert (self.count, self.size) == (other.count, other.size)
        difference = Blocks(self.nats - other.nats, self.count, self.size)
        return difference.tally.bpc, difference.stderr()


def nats(logits_BTV: jax.Array, y_BT: jax.Array) -> jax.Array:
    """Return -ln p(y) for each position: [B, T], float32."""
    logits_BTV = logits_BTV.astype(jnp.float32)
    hit = jnp.arange(logits_BTV.shape[-1])[None, None, :] == y_BT[:, :, None]
    chosen = jnp.sum(jnp.where(hit, logits_BTV, 0.0), axis=-1)
    return jax.nn.logsumexp(logits_BTV, axis=-1) - chosen
