"""The cost of symbols as a sum and a count: the only place where nats become bits."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

NATS_PER_BIT = math.log(2)
BLOCK = 1_000
"""Symbols of the longest block whose cost a result keeps."""
CURVE_BLOCK = 10_000
"""Symbols of a block of the curve that `eval --by_block` writes."""
WAVES = 10
"""Cosine waves from which a standard error is estimated, which are its degrees of freedom."""
MIN_BLOCKS = 2 * WAVES
"""Blocks without which there is no standard error: two for each half period of the shortest wave."""
MIN_SYMBOLS = 1_000
"""Symbols without which there is no standard error: in shorter texts the correlation within words is not short."""


def block_size(count: int) -> int:
    """Return the symbols of a block for a result of `count` symbols: 1, 10, 100 or 1,000.

    From 100 symbols on a result has at least 100 blocks, and up to a million symbols fewer than 1,000.
    """
    return int(min(BLOCK, 10 ** (len(str(count // 100)) - 1)))


def uniform_bpc(vocab: int) -> float:
    """Return the bits per symbol of the uniform distribution over `vocab` symbols."""
    return Tally(math.log(vocab), 1).bpc


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


@dataclass(frozen=True, eq=False)
class Blocks:
    """Hold the cost of consecutive blocks of `size` symbols: nats [N]; the last block may be shorter."""

    nats: NDArray[np.float64]
    count: int
    size: int = BLOCK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Blocks):
            return NotImplemented
        return (self.count, self.size) == (other.count, other.size) and np.array_equal(self.nats, other.nats)

    @classmethod
    def of_costs(cls, nats: NDArray[np.float64]) -> "Blocks":
        """Make blocks from the nats of each symbol, of the size that a result of so many symbols has."""
        size = block_size(len(nats))
        return cls(np.add.reduceat(nats, np.arange(0, len(nats), size)), len(nats), size)

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

    @property
    def no_interval(self) -> str | None:
        """Return why there is no standard error and no interval; None if there are."""
        if self.count < MIN_SYMBOLS:
            return f"{self.count:,} symbols are too few: an interval needs {MIN_SYMBOLS:,}"
        if len(self.nats) < MIN_BLOCKS:
            return f"the costs are in {len(self.nats)} blocks of {self.size:,} symbols: an interval needs {MIN_BLOCKS}"
        return None

    def stderr(self) -> float | None:
        """Return the standard error of the bpc of all symbols, None where `no_interval` says why.

        It is the root mean square of the costs' projections on the WAVES slowest cosines over the blocks, so it holds
        for costs that are correlated over up to about n / 200 of the n symbols, and divided by it the error of the bpc
        has Student's t distribution with WAVES degrees of freedom: the equal-weighted cosine estimator of the long-run
        variance (Lazarus, Lewis, Stock and Watson 2018, "HAR Inference: Recommendations for Practice"). The bpc is a
        ratio of sums, since the last block may be short (Cochran 1977, 2.11).
        """
        if self.no_interval:
            return None
        from scipy import fft  # takes 0.3 s, which a command that needs no interval saves

        away = self.nats - self.tally.nats / self.count * self.counts
        waves = fft.dct(away, norm="ortho")[1 : WAVES + 1]
        return Tally(math.sqrt(len(away) * float(np.mean(waves**2))), self.count).bpc

    def half_interval(self) -> float | None:
        """Return half the 95 % confidence interval of the bpc, None where `no_interval` says why.

        The interval is by Student's t with WAVES degrees of freedom.
        """
        stderr = self.stderr()
        if stderr is None:
            return None
        from scipy import special

        return float(special.stdtrit(WAVES, 0.975)) * stderr

    def interval(self) -> tuple[float, float] | None:
        """Return the ends of the 95 % confidence interval of the bpc, None where `no_interval` says why.

        It is that of the bpc on ever more text like this one. It does not cover what sets one passage apart from
        another, such as another subject or author.
        """
        half, bpc = self.half_interval(), self.tally.bpc
        return None if half is None else (bpc - half, bpc + half)

    def uncertainty(self) -> dict[str, Any]:
        """Return standard error, interval, and why there is none, as fields of a JSON line."""
        interval = self.interval()
        return {
            "stderr": self.stderr(),
            "interval": None if interval is None else list(interval),
            "no_interval": self.no_interval,
        }

    def difference(self, other: "Blocks") -> "Blocks":
        """Return own cost minus the other's on the same symbols, in blocks of the larger of the two sizes."""
        assert self.count == other.count
        size = max(self.size, other.size)
        return Blocks(self.coarsen(size).nats - other.coarsen(size).nats, self.count, size)


def nats(logits_BTV: jax.Array, y_BT: jax.Array) -> jax.Array:
    """Return -ln p(y) for each position: [B, T], float32."""
    logits_BTV = logits_BTV.astype(jnp.float32)
    hit = jnp.arange(logits_BTV.shape[-1])[None, None, :] == y_BT[:, :, None]
    chosen = jnp.sum(jnp.where(hit, logits_BTV, 0.0), axis=-1)
    return jax.nn.logsumexp(logits_BTV, axis=-1) - chosen
