"""Dynamic evaluation: a part is scored by a model that goes on learning from it, each symbol after it was predicted.

Krause et al. 2018, "Dynamic evaluation of neural sequence models", arXiv 1709.07432. After each segment, with the
gradient g of its mean cost,

  rms   theta += lambda * D * (theta_0 - theta) - eta * g / (M + epsilon)
  sgd   theta += lambda * (theta_0 - theta) - eta * g

M is the root of the mean square of such gradients over the training text; D is M over its mean, 1 / lambda at most, so
that what moves readily is also pulled back harder.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnlm.cells import Params
from rnnlm.config import ModelConfig
from rnnlm.data.text import TextSlice
from rnnlm.data.windows import EvalWindow, EvalWindows, TrainWindows
from rnnlm.errors import UserError
from rnnlm.evaluation import tally
from rnnlm.evaluation.evaluator import Score, accumulate_nats
from rnnlm.nn import model
from rnnlm.runtime import parallel

SEGMENTS = 32
"""Segments in one dispatch."""
EPSILON = 2e-5
TUNED_SEGMENTS, TUNED_SYMBOLS = (40, 20, 10), 20_000
"""What tuning tries, as long as shorter segments, which take longer, gain; and how many symbols of the validation part
it reads."""
STATISTICS_LANES, STATISTICS_SEGMENTS = 64, 500
"""Of the training text, for the statistics of the gradient."""


@dataclass(frozen=True)
class Adaptation:
    """How a model adapts: method "rms" or "sgd", symbols of a segment, eta, lambda; `streams` parts side by side that
    each adapt on their own, from `warmup` symbols before them.

    `normalize` says what mean D is over: "tensor" is Krause's mean over tensors of each tensor's mean, "global" Melis'
    mean over all parameters.
    """

    method: str
    segment: int
    learning_rate: float
    decay: float
    normalize: str = "tensor"
    streams: int = 1
    warmup: int = 0

    def __post_init__(self) -> None:
        """Raises UserError for what cannot be adapted by."""
        if self.method not in ("rms", "sgd") or self.normalize not in ("tensor", "global"):
            raise UserError(f"Cannot adapt by {self.method}, {self.normalize}: rms or sgd, tensor or global.")
        rate = 0 <= self.learning_rate < math.inf
        if self.segment < 1 or self.streams < 1 or self.warmup < 0 or not rate or not 0 <= self.decay <= 1:
            raise UserError(
                f"Cannot adapt with segment={self.segment}, streams={self.streams}, learning rate "
                f"{self.learning_rate}, decay {self.decay}: at least 1 symbol and stream, a rate from 0 up, a decay "
                "from 0 to 1."
            )

    def of(self, symbols: int) -> "Adaptation":
        """The same with no more streams than symbols; one alone needs no warm-up."""
        streams = min(self.streams, symbols)
        warmup = -(-min(self.warmup, symbols) // self.segment) * self.segment if streams > 1 else 0
        return Adaptation(self.method, self.segment, self.learning_rate, self.decay, self.normalize, streams, warmup)

    @property
    def lanes(self) -> int:
        return self.streams

    def __str__(self) -> str:
        streams = f"{self.streams} streams, {self.warmup} warm-up" if self.streams > 1 else "1 stream"
        return (
            f"dynamic {self.method}, {streams}, segment {self.segment}, rate {self.learning_rate:g}, "
            f"decay {self.decay:g}" + (f", {self.normalize} mean" if self.method == "rms" else "")
        )


class Adapter:
    """Scores texts under one model that learns from them; the compiled steps are kept."""

    def __init__(self, config: ModelConfig, vocab: int):
        self.config = config
        self._forward = model.apply(config, vocab)
        self._adapt = parallel.shard_local(self._streams, (0, 0, None, None, None, 0), (0, 0, 0))
        self._square = jax.jit(self._squared)

    def _cost(
        self, params: Params, carry: Any, x_T: jax.Array, y_T: jax.Array, reset_T: jax.Array, real_T: jax.Array
    ) -> Any:
        carry, logits_BTV = self._forward(params, carry, x_T[None], reset_T[None])
        nats_T = tally.nats(logits_BTV, y_T[None])[0]
        return jnp.sum(jnp.where(real_T, nats_T, 0.0)) / len(x_T), (carry, nats_T)

    def _streams(
        self, params: Params, carry: Any, start: Params, decay_rates: Params, step_sizes: Params, lanes: Any
    ) -> Any:
        """The same for K streams, each with its own params."""
        if len(lanes[0]) > 1:
            return jax.vmap(self._segments, (0, 0, None, None, None, 0))(
                params, carry, start, decay_rates, step_sizes, lanes
            )
        # No products with a batch axis for a single one.
        one: Any = jax.tree.map(lambda a: a[0], (params, carry, lanes))
        after = self._segments(one[0], one[1], start, decay_rates, step_sizes, one[2])
        return jax.tree.map(lambda a: a[None], after)

    def _segments(
        self, params: Params, carry: Any, start: Params, decay_rates: Params, step_sizes: Params, lanes: Any
    ) -> Any:
        """Some segments of one stream, [S, T] each: -> (params, carry, nats [S, T])."""

        def segment(now: tuple[Params, Any], symbols: Any) -> Any:
            params, carry = now
            grads, (carry, nats_T) = jax.grad(self._cost, has_aux=True)(params, carry, *symbols)
            return (adapt_params(params, start, decay_rates, step_sizes, grads), carry), nats_T

        (params, carry), nats_ST = jax.lax.scan(segment, (params, carry), lanes)
        return params, carry, nats_ST

    def _squared(self, params: Params, carry: Any, x: jax.Array, y: jax.Array, reset: jax.Array, summed: Params) -> Any:
        def cost(params: Params) -> Any:
            after, logits_BTV = self._forward(params, carry, x, reset)
            return jnp.mean(tally.nats(logits_BTV, y)), after

        grads, carry = jax.grad(cost, has_aux=True)(params)
        return carry, jax.tree.map(lambda s, g: s + g * g, summed, grads)

    def statistics(self, params: Params, text_slice: TextSlice, segment: int, batch: int, segments: int) -> Params:
        """Return M: the root mean square of the gradient of a segment's mean cost, over `batch` lanes of a slice.

        Raises UserError for a segment longer than the slice.
        """
        symbols = len(text_slice)
        if segment > symbols:
            raise UserError(f"A segment of {segment} is longer than the training split of {symbols} symbols.")
        windows = TrainWindows(text_slice, min(batch, symbols // segment), segment)
        carry = model.zero_carry(self.config, windows.batch)
        summed = jax.tree.map(jnp.zeros_like, params)
        count = min(segments, int(windows.steps_per_epoch))
        for i in range(count):
            carry, summed = self._square(params, carry, *windows.window(i, slice(0, windows.batch)), summed)
        return jax.tree.map(lambda s: np.sqrt(np.asarray(s) / count), summed)

    def __call__(
        self,
        params: Params,
        rms: Params,
        text_slice: TextSlice,
        options: Adaptation,
        only: tuple[int, int] = (0, 0),
        progress: Callable[[float], None] = lambda share: None,
    ) -> Score:
        """Score a slice of a text, or its symbols `only` = (from, to), to=0 for its end.

        `rms` are the `statistics`, of which sgd takes the shape alone.
        """
        scored = text_slice.subrange(*only)
        options = options.of(len(scored))
        k = options.streams
        windows = EvalWindows(scored, -(-len(scored) // k), options.warmup, k, SEGMENTS * options.segment)
        decay_rates, step_sizes = per_param_rates(rms, options)
        adapted = jax.tree.map(lambda p: jnp.broadcast_to(p, (k, *p.shape)), params)
        carry = jax.tree.map(lambda s: jnp.broadcast_to(s, (k, *s.shape)), model.zero_carry(self.config, 1))
        adapted, carry = parallel.put_lanes(k, 0, (adapted, carry))
        fixed = parallel.put_lanes(k, None, (params, decay_rates, step_sizes))

        def read(window: EvalWindow) -> jax.Array:
            nonlocal adapted, carry
            real = (window.position >= scored.begin) & (window.position < scored.end)
            lanes = tuple(a.reshape(k, SEGMENTS, options.segment) for a in (window.x, window.y, window.reset, real))
            adapted, carry, nats_KST = self._adapt(adapted, carry, *fixed, parallel.put_lanes(k, 0, lanes))
            return nats_KST

        found = accumulate_nats(windows, k, read, lambda nats_KST: np.asarray(nats_KST).reshape(k, -1), progress)
        assert found is not None  # nothing told it to stop
        return Score.of(text_slice, scored, options, *found)


def adapt_params(params: Params, start: Params, decay_rates: Params, step_sizes: Params, grads: Params) -> Params:
    """The params after one update by the `per_param_rates`."""
    return jax.tree.map(lambda p, p0, a, b, g: p + a * (p0 - p) - b * g, params, start, decay_rates, step_sizes, grads)


def per_param_rates(rms: Params, how: Adaptation) -> tuple[Params, Params]:
    """(the decay_rates to the prior, the step along the gradient) of each parameter."""
    if how.method == "sgd":
        decay, rate = np.float32(how.decay), np.float32(how.learning_rate)
        return jax.tree.map(lambda m: decay, rms), jax.tree.map(lambda m: rate, rms)
    leaves = [np.asarray(m, np.float64) for m in jax.tree.leaves(rms)]
    means, sizes = [m.mean() for m in leaves], [m.size for m in leaves]
    mean = np.mean(means) if how.normalize == "tensor" else np.average(means, weights=sizes)
    decay_rates = jax.tree.map(lambda m: np.minimum(how.decay * m / mean, 1.0).astype(np.float32), rms)
    step_sizes = jax.tree.map(lambda m: (how.learning_rate / (m + EPSILON)).astype(np.float32), rms)
    return decay_rates, step_sizes


def tune(
    cost: Callable[[float, float], float], rate: float, decay: float, factor: float = 2.0
) -> tuple[float, float, int]:
    """The (rate, decay) of least cost found by steps of a factor in one and then the other, and how many were tried.

    A cost that is no number is the worst; no decay above 1 is tried.
    """
    seen: dict[tuple[float, float], float] = {}

    def at(point: tuple[float, float]) -> float:
        if point not in seen:
            found = cost(*point)
            seen[point] = math.inf if math.isnan(found) else found
        return seen[point]

    now = (rate, decay)
    while True:
        around = [(now[0] * f, now[1]) for f in (factor, 1 / factor)] + [
            (now[0], now[1] * f) for f in (factor, 1 / factor)
        ]
        best = min([now, *(point for point in around if point[1] <= 1)], key=at)
        if best == now:
            return *now, len(seen)
        now = best
