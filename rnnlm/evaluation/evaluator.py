"""Score a text slice under a static model and an evaluation protocol."""

from collections.abc import Callable

import jax
import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.config import ModelConfig
from rnnlm.data.text import TextSlice
from rnnlm.data.windows import EvalWindow, EvalWindows
from rnnlm.evaluation import tally
from rnnlm.evaluation.protocol import EvalProtocol, Score
from rnnlm.evaluation.tally import Blocks, block_size
from rnnlm.nn import model
from rnnlm.runtime import parallel


class Evaluator:
    """Score text slices under one model config; the step is compiled once."""

    def __init__(self, config: ModelConfig, vocab: int):
        self.config = config
        forward = model.apply(config, vocab)

        def step(
            params: Params, carry: model.Stack, x: jax.Array, y: jax.Array, reset: jax.Array
        ) -> tuple[model.Stack, jax.Array]:
            carry, logits_BTV = forward(params, carry, x, reset)
            return carry, tally.nats(logits_BTV, y)

        self._step = parallel.per_device(step, (None, 0, 0, 0, 0), (0, 0), donate=(1,))

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
        scored = text_slice.subrange(*symbols)
        protocol = protocol.resolve(len(scored))
        windows = protocol.windows(scored)
        padded = -(-protocol.lanes // parallel.count()) * parallel.count()
        mine = parallel.local_lanes(padded)
        carry = parallel.shard(model.initial_carry(self.config, mine.stop - mine.start))

        def step(window: EvalWindow) -> jax.Array:
            nonlocal carry
            mapped = parallel.shard(tuple(a[mine] for a in (window.x, window.y, window.reset)))
            carry, nats_BT = self._step(params, carry, *mapped)
            return nats_BT

        def fetch(nats_BT: jax.Array) -> NDArray[np.float32]:
            return np.asarray(parallel.gather(nats_BT))

        costs = accumulate_nats(windows, padded, step, fetch, progress, stop)
        return costs and Score.of_subrange(text_slice, scored, protocol, *costs)


def accumulate_nats(
    windows: EvalWindows,
    lanes: int,
    step: Callable[[EvalWindow], jax.Array],
    fetch: Callable[[jax.Array], NDArray[np.float32]],
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

    def add(window: EvalWindow, nats_BT: jax.Array) -> None:
        index = (window.position[window.mask] - text_slice.begin) // block
        nats[:] += np.bincount(index, fetch(nats_BT)[window.mask], len(nats))

    pending: tuple[EvalWindow, jax.Array] | None = None
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
