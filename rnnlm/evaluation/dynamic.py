"""Dynamic evaluation: score a text slice with a model that goes on learning from each segment after it is scored.

Krause et al. 2018, "Dynamic evaluation of neural sequence models", arXiv 1709.07432. After each segment, with the
gradient g of its mean cost,

  rms   theta += lambda * D * (theta_0 - theta) - eta * g / (M + epsilon)
  sgd   theta += lambda * (theta_0 - theta) - eta * g

M is the root of the mean square of such gradients over the training text; D is M over its mean, 1 / lambda at most, so
that params which move much also decay faster to theta_0.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
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
from rnnlm.evaluation.evaluator import accumulate_nats
from rnnlm.evaluation.protocol import Score
from rnnlm.nn import model
from rnnlm.nn.leaves import named_leaves, to_version_1
from rnnlm.runtime import parallel

SEGMENTS = 32
"""Segments in one dispatch."""
EPSILON = 2e-5
TUNED_SEGMENTS = (40, 20, 10)
"""Segment lengths that tuning tries, longest first, since shorter ones take longer."""
TUNED_SYMBOLS = 20_000
"""Symbols of the validation split that a trial of tuning scores."""
TUNING_START = {"rms": (4e-5, 1e-3), "sgd": (0.1, 1e-3)}
"""(learning rate, decay) that tuning tries first, by method."""
STATISTICS_LANES, STATISTICS_SEGMENTS = 64, 500
"""Lanes and segments of the training split from which the gradient statistics of a run are computed."""


@dataclass(frozen=True)
class Adaptation:
    """Configure dynamic evaluation: method "rms" or "sgd", symbols of a segment, eta (learning_rate), lambda (decay).

    `streams` stretches of the text are read side by side, each with params of its own that adapt from `warmup` symbols
    before it. `normalize` is for rms: "tensor" divides M by the mean over tensors of each tensor's mean (Krause),
    "global" by the mean over all params (Melis). `separator` is set by the text: where that consists of records, the
    carry is reset for each. Raises UserError for values out of range.
    """

    method: str
    segment: int
    learning_rate: float
    decay: float
    normalize: str = "tensor"
    streams: int = 1
    warmup: int = 0
    separator: str = ""

    def __post_init__(self) -> None:
        if self.method not in ("rms", "sgd") or self.normalize not in ("tensor", "global"):
            raise UserError(f"Cannot adapt by {self.method}, {self.normalize}: rms or sgd, tensor or global.")
        rate = 0 <= self.learning_rate < math.inf
        if self.segment < 1 or self.streams < 1 or self.warmup < 0 or not rate or not 0 <= self.decay <= 1:
            raise UserError(
                f"Cannot adapt with segment={self.segment}, streams={self.streams}, learning rate "
                f"{self.learning_rate}, decay {self.decay}: at least 1 symbol and stream, a rate from 0 up, a decay "
                "from 0 to 1."
            )

    def resolve(self, symbols: int) -> "Adaptation":
        """Limit the streams to a number of symbols and round the warm-up up to segments; one stream needs none."""
        streams = min(self.streams, symbols)
        warmup = -(-min(self.warmup, symbols) // self.segment) * self.segment if streams > 1 else 0
        return replace(self, streams=streams, warmup=warmup)

    @property
    def lanes(self) -> int:
        """Return the streams, which are the lanes of a result."""
        return self.streams

    def as_fields(self) -> dict[str, Any]:
        """Return the protocol as fields of a result; `normalize` is null for sgd, which has no mean."""
        options = asdict(self) | {"normalize": self.normalize if self.method == "rms" else None}
        del options["warmup"]  # a field of the result itself
        separator = options.pop("separator") or None
        static = dict.fromkeys(("window", "stride", "temperature"))
        return {"protocol_name": "dynamic", **static, "separator": separator, "dynamic": options}

    def __str__(self) -> str:
        streams = f"{self.streams} streams, {self.warmup} warm-up" if self.streams > 1 else "1 stream"
        return (
            f"dynamic {self.method}, {streams}, segment {self.segment}, rate {self.learning_rate:g}, "
            f"decay {self.decay:g}"
            + (f", {self.normalize} mean" if self.method == "rms" else "")
            + (f", records after {self.separator!r}" if self.separator else "")
        )


class Adapter:
    """Score text slices by dynamic evaluation under one model config; the steps are compiled once."""

    def __init__(self, config: ModelConfig, vocab: int):
        self.config = config
        self._forward = model.apply(config, vocab)
        self._adapt = parallel.shard_local(self._adapt_streams, (0, 0, None, None, None, 0), (0, 0, 0))
        self._square = jax.jit(self._add_squares)

    def __call__(
        self,
        params: Params,
        rms: Params,
        text_slice: TextSlice,
        options: Adaptation,
        symbols: tuple[int, int] = (0, 0),
        progress: Callable[[float], None] = lambda share: None,
    ) -> Score:
        """Score a slice of a text, each symbol once and before the model learns from it.

        `rms` are the `statistics`; sgd needs any PyTree like `params` in their place. `symbols` = (from, to) restricts
        the score to those symbols of the slice, to=0 for its end. Raises UserError if there are none.
        """
        scored = text_slice.subrange(*symbols)
        vocabulary = text_slice.text.vocabulary
        options = replace(options.resolve(len(scored)), separator=vocabulary.separator_text)
        k, time = options.streams, SEGMENTS * options.segment
        windows = EvalWindows(scored, -(-len(scored) // k), options.warmup, k, time, vocabulary.separator)
        decay_rates, step_sizes = per_param_rates(rms, options)
        adapted = jax.tree.map(lambda p: jnp.broadcast_to(p, (k, *p.shape)), params)
        carry = jax.tree.map(lambda s: jnp.broadcast_to(s, (k, *s.shape)), model.initial_carry(self.config, 1))
        adapted, carry = parallel.put_lanes(k, 0, (adapted, carry))
        shared = parallel.put_lanes(k, None, (params, decay_rates, step_sizes))

        def step(window: EvalWindow) -> jax.Array:
            nonlocal adapted, carry
            real = (window.position >= scored.begin) & (window.position < scored.end)
            lanes = tuple(a.reshape(k, SEGMENTS, options.segment) for a in (window.x, window.y, window.reset, real))
            adapted, carry, nats_KST = self._adapt(adapted, carry, *shared, parallel.put_lanes(k, 0, lanes))
            return nats_KST

        costs = accumulate_nats(windows, k, step, lambda nats_KST: np.asarray(nats_KST).reshape(k, -1), progress)
        assert costs is not None  # nothing told it to stop
        return Score.of_subrange(text_slice, scored, options, *costs)

    def statistics(self, params: Params, text_slice: TextSlice, segment: int, batch: int, segments: int) -> Params:
        """Return M, the root mean square of the gradient of a segment's mean cost: a PyTree like `params`.

        The mean is over `segments` steps of `batch` lanes of the slice, or as many as it has. Raises UserError for a
        segment longer than the slice.
        """
        symbols = len(text_slice)
        if segment > symbols:
            raise UserError(f"A segment of {segment} is longer than the training split of {symbols} symbols.")
        windows = TrainWindows(text_slice, min(batch, symbols // segment), segment)
        carry = model.initial_carry(self.config, windows.batch)
        summed = jax.tree.map(jnp.zeros_like, params)
        count = min(segments, int(windows.steps_per_epoch))
        for i in range(count):
            carry, summed = self._square(params, carry, *windows.window(i, slice(0, windows.batch)), summed)
        return jax.tree.map(lambda s: np.sqrt(np.asarray(s) / count), summed)

    def _adapt_streams(
        self,
        params: Params,
        carry: model.Stack,
        start: Params,
        decay_rates: Params,
        step_sizes: Params,
        streams: tuple[jax.Array, ...],
    ) -> tuple[Params, model.Stack, jax.Array]:
        """Adapt K streams by S segments each, [K, S, T]: -> (params, carry, nats [K, S, T]), K of each."""
        if len(streams[0]) > 1:
            return jax.vmap(self._adapt_segments, (0, 0, None, None, None, 0))(
                params, carry, start, decay_rates, step_sizes, streams
            )
        # One stream is read without the batch axis of vmap, which would make its products slower.
        params, carry, streams = jax.tree.map(lambda a: a[0], (params, carry, streams))
        after = self._adapt_segments(params, carry, start, decay_rates, step_sizes, streams)
        return jax.tree.map(lambda a: a[None], after)

    def _adapt_segments(
        self,
        params: Params,
        carry: model.Stack,
        start: Params,
        decay_rates: Params,
        step_sizes: Params,
        segments: tuple[jax.Array, ...],
    ) -> tuple[Params, model.Stack, jax.Array]:
        """Adapt one stream by S segments, [S, T]: -> (params, carry, nats [S, T])."""

        def step(
            state: tuple[Params, model.Stack], segment: tuple[jax.Array, ...]
        ) -> tuple[tuple[Params, model.Stack], jax.Array]:
            params, carry = state
            grads, (carry, nats_T) = jax.grad(self._segment_cost, has_aux=True)(params, carry, *segment)
            return (adapt_params(params, start, decay_rates, step_sizes, grads), carry), nats_T

        (params, carry), nats_ST = jax.lax.scan(step, (params, carry), segments)
        return params, carry, nats_ST

    def _segment_cost(
        self, params: Params, carry: model.Stack, x_T: jax.Array, y_T: jax.Array, reset_T: jax.Array, real_T: jax.Array
    ) -> tuple[jax.Array, tuple[model.Stack, jax.Array]]:
        """Return (the nats of a segment's real targets over its length, (carry, nats [T]))."""
        carry, logits_BTV = self._forward(params, carry, x_T[None], reset_T[None])
        nats_T = tally.nats(logits_BTV, y_T[None])[0]
        return jnp.sum(jnp.where(real_T, nats_T, 0.0)) / len(x_T), (carry, nats_T)

    def _add_squares(
        self, params: Params, carry: model.Stack, x: jax.Array, y: jax.Array, reset: jax.Array, summed: Params
    ) -> tuple[model.Stack, Params]:
        """Return (carry, `summed` plus the squared gradient of a window's mean cost)."""

        def cost(params: Params) -> tuple[jax.Array, model.Stack]:
            after, logits_BTV = self._forward(params, carry, x, reset)
            return jnp.mean(tally.nats(logits_BTV, y)), after

        grads, carry = jax.grad(cost, has_aux=True)(params)
        return carry, jax.tree.map(lambda s, g: s + g * g, summed, grads)


def adapt_params(params: Params, start: Params, decay_rates: Params, step_sizes: Params, grads: Params) -> Params:
    """Return the params after one update by `per_param_rates`; `start` are those before the first (theta_0)."""
    return jax.tree.map(lambda p, p0, a, b, g: p + a * (p0 - p) - b * g, params, start, decay_rates, step_sizes, grads)


def per_param_rates(rms: Params, options: Adaptation) -> tuple[Params, Params]:
    """Return (decay_rates to theta_0, step_sizes along the gradient), PyTrees like `rms`."""
    if options.method == "sgd":
        decay, rate = np.float32(options.decay), np.float32(options.learning_rate)
        return jax.tree.map(lambda m: decay, rms), jax.tree.map(lambda m: rate, rms)
    leaves = [np.asarray(m, np.float64) for m in to_version_1(named_leaves(rms)).values()]
    means, sizes = [m.mean() for m in leaves], [m.size for m in leaves]
    mean = np.mean(means) if options.normalize == "tensor" else np.average(means, weights=sizes)
    decay_rates = jax.tree.map(lambda m: np.minimum(options.decay * m / mean, 1.0).astype(np.float32), rms)
    step_sizes = jax.tree.map(lambda m: (options.learning_rate / (m + EPSILON)).astype(np.float32), rms)
    return decay_rates, step_sizes


def tune_adaptation(
    score: Callable[[Adaptation], float],
    method: str,
    normalize: str = "tensor",
    on_trial: Callable[[Adaptation, float], None] = lambda options, bpc: None,
) -> tuple[float, Adaptation]:
    """Find the segment, learning rate and decay of least bpc: -> (bpc, options for one stream).

    `score` returns the bpc of options, on TUNED_SYMBOLS of the validation split; `on_trial` receives each trial.
    Shorter segments are tried as long as they gain. Raises UserError if no bpc is a number.
    """
    trials: dict[Adaptation, float] = {}
    best: Adaptation | None = None
    rate, decay = TUNING_START[method]
    for segment in TUNED_SEGMENTS:

        def cost(rate: float, decay: float, segment: int = segment) -> float:
            options = Adaptation(method, segment, rate, decay, normalize)
            trials[options] = score(options)
            on_trial(options, trials[options])
            return trials[options]

        rate, decay = tune(cost, rate, decay)
        candidate = Adaptation(method, segment, rate, decay, normalize)
        if not trials[candidate] < (trials[best] if best else math.inf):
            break
        best = candidate
    if best is None:
        raise UserError("Tuning found no settings under which the cost is a number: the model has diverged.")
    return trials[best], best


def tune(cost: Callable[[float, float], float], rate: float, decay: float, factor: float = 2.0) -> tuple[float, float]:
    """Minimize a cost of (rate, decay) by steps of a factor in one or the other: -> (rate, decay).

    NaN is the worst cost; a decay above 1 is not tried.
    """
    costs: dict[tuple[float, float], float] = {}

    def cost_of(point: tuple[float, float]) -> float:
        if point not in costs:
            value = cost(*point)
            costs[point] = math.inf if math.isnan(value) else value
        return costs[point]

    point = (rate, decay)
    while True:
        neighbours = [(point[0] * f, point[1]) for f in (factor, 1 / factor)]
        neighbours += [(point[0], point[1] * f) for f in (factor, 1 / factor)]
        best = min([point, *(near for near in neighbours if near[1] <= 1)], key=cost_of)
        if best == point:
            return point
        point = best
