"""Score a text slice under a static model and an evaluation protocol."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from rnnlm.cells import Params
from rnnlm.config import ModelConfig
from rnnlm.data.text import TextSlice
from rnnlm.data.windows import EvalWindow, EvalWindows
from rnnlm.evaluation import tally
from rnnlm.evaluation.protocol import EvalProtocol, Score
from rnnlm.evaluation.tally import Blocks, block_size
from rnnlm.nn import model
from rnnlm.runtime import parallel

T = TypeVar("T")


class Evaluator:
    """Score text slices under one model config; the step is compiled once."""

    def __init__(self, config: ModelConfig, vocab: int):
        self.config = config
        forward = model.apply(config, vocab)

        def step(
            params: Params, carry: model.Stack, temperature: jax.Array, x: jax.Array, y: jax.Array, reset: jax.Array
        ) -> tuple[model.Stack, jax.Array]:
            carry, logits_BTV = forward(params, carry, x, reset)
            return carry, tally.nats(logits_BTV / temperature, y)

        self._step = parallel.per_device(step, (None, 0, None, 0, 0, 0), (0, 0), donate=(1,))

    def __call__(
        self,
        params: Params,
        text_slice: TextSlice,
        protocol: EvalProtocol,
        symbols: tuple[int, int] = (0, 0),
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Score | None:
        """Score a slice of a text, each symbol once; return None if `stop` returned true before its end.

        `params` are replicated over the devices. `symbols` = (from, to) restricts the score to those symbols of the
        slice, to=0 for its end. Raises UserError if there are none.
        """
        return score_mean([(self, params)], text_slice, protocol, symbols, stop, progress)

    def reader(self, params: Params, lanes: int, temperature: float) -> Callable[[EvalWindow], jax.Array]:
        """Return a function that reads the windows of `lanes` lanes one after another: -> their nats on the devices."""
        local = parallel.local_lanes(lanes)
        carry = parallel.shard(model.initial_carry(self.config, local.stop - local.start))
        divisor = np.float32(temperature)

        def read(window: EvalWindow) -> jax.Array:
            nonlocal carry
            mapped = parallel.shard(tuple(a[local] for a in (window.x, window.y, window.reset)))
            carry, nats_BT = self._step(params, carry, divisor, *mapped)
            return nats_BT

        return read


def score_mean(
    members: Sequence[tuple[Evaluator, Params]],
    text_slice: TextSlice,
    protocol: EvalProtocol,
    symbols: tuple[int, int] = (0, 0),
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[float], None] = lambda share: None,
) -> Score | None:
    """Score a slice as an Evaluator does, by the mean of the probabilities that several models give each symbol."""
    scored = text_slice.subrange(*symbols)
    protocol = protocol.resolve(len(scored))
    windows = protocol.windows(scored)
    padded = -(-protocol.lanes // parallel.count()) * parallel.count()
    readers = [evaluator.reader(params, padded, protocol.temperature) for evaluator, params in members]

    def step(window: EvalWindow) -> list[jax.Array]:
        return [read(window) for read in readers]

    def fetch(nats: list[jax.Array]) -> NDArray[np.float32]:
        first, *others = (np.asarray(parallel.gather(nats_BT)) for nats_BT in nats)
        if not others:
            return first
        log_p = -np.stack([first, *others]).astype(np.float64)
        return (np.log(len(log_p)) - np.logaddexp.reduce(log_p, axis=0)).astype(np.float32)

    costs = accumulate_nats(windows, padded, step, fetch, progress, stop)
    return costs and Score.of_subrange(text_slice, scored, protocol, *costs)


def tune_temperature(evaluate: Callable[[float], float]) -> float:
    """Return the temperature of the least bpc, which `evaluate` returns, between 1/2 and 2, to 0.002.

    The bpc is convex in the inverse temperature (it is a mean of log-sum-exps and lines), so it has one minimum.
    """
    found = optimize.minimize_scalar(
        lambda inverse: evaluate(1 / inverse), bounds=(0.5, 2.0), method="bounded", options={"xatol": 0.002}
    )
    return float(1 / found.x)


def accumulate_nats(
    windows: EvalWindows,
    lanes: int,
    step: Callable[[EvalWindow], T],
    fetch: Callable[[T], NDArray[np.float32]],
    progress: Callable[[float], None],
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Blocks, int] | None:
    """Sum the cost of all counted symbols: -> (their nats in blocks, their bytes); None if `stop` returned true.

    `step` dispatches a window of `lanes` lanes and returns its nats on the devices, which `fetch` returns as [B, T].
    """
    text_slice = windows.text_slice
    symbols, byte_lengths = len(text_slice), text_slice.text.vocabulary.byte_lengths
    block = block_size(symbols)
    nats, count, size = np.zeros(-(-symbols // block)), 0, 0

    def add(window: EvalWindow, nats_BT: T) -> None:
        index = (window.position[window.mask] - text_slice.begin) // block
        nats[:] += np.bincount(index, fetch(nats_BT)[window.mask], len(nats))

    pending: tuple[EvalWindow, T] | None = None
    for i in range(len(windows)):
        window = windows.window(i, slice(0, lanes))
        counted = window.y[window.mask]
        count, size = count + counted.size, size + int(byte_lengths[counted].sum())
        nats_BT = step(window)
        if pending:
            add(*pending)  # while this window runs on the devices
        pending = window, nats_BT
        progress((i + 1) / len(windows))
        if parallel.any_process(stop()):
            return None
    if pending:
        add(*pending)
    assert count == symbols, f"{count} targets counted of {symbols}"
    return Blocks(nats, count, block), size
