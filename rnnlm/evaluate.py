"""A part of a text, read end to end with the carry, as one tally under a named protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from rnnlm import model, parallel, score
from rnnlm.cells import Params
from rnnlm.config import ModelConfig
from rnnlm.score import Tally
from rnnlm.symbols import Text
from rnnlm.windows import EvalWindows

TIME = 128
MOST_LANES = 128


@dataclass(frozen=True)
class Score:
    """What a part of a text costs, and how that was found out."""

    split: str
    protocol: str
    tally: Tally
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "protocol": self.protocol,
            "count": self.tally.count,
            "nats": self.tally.nats,
            "bpc": self.tally.bpc,
            "bpb": self.tally.per(self.bytes),
        }


class Evaluator:
    """Scores texts under one model; the compiled step is kept."""

    def __init__(self, config: ModelConfig, vocab: int):
        self.config = config
        forward = model.apply(config, vocab)

        def step(params: Params, carry: model.Stack, x: jax.Array, y: jax.Array, fresh: jax.Array, mask: jax.Array):  # type: ignore[no-untyped-def]
            carry, logits_BTV = forward(params, carry, x, fresh)
            nats_BT = score.nats(logits_BTV, y)
            return carry, parallel.total(jnp.sum(jnp.where(mask, nats_BT, 0.0)))

        self._step = parallel.per_device(step, (None, 0, 0, 0, 0, 0), (0, None), donate=(1,))

    def __call__(
        self,
        params: Params,
        text: Text,
        part: tuple[int, int],
        split: str,
        lanes: int,
        warmup: int,
        max_symbols: int,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Score | None:
        """Score a part (begin, end) of a text; None if `stop` said so before its end.

        Every symbol is a target once. The carry goes from the first symbol to the last where lanes is 1; otherwise
        the part is cut into `lanes` (0: as many as make the warm-up an eighth of the work at most), each warmed on
        the `warmup` symbols before it. `params` are replicated; `max_symbols` takes the first ones only, 0 all.
        """
        begin, end = part
        if not 0 < max_symbols < end - begin:
            max_symbols = 0
        end = begin + max_symbols if max_symbols else end
        lanes = min(lanes or max(1, min(MOST_LANES, (end - begin) // (8 * max(1, warmup)))), end - begin)
        warmup = warmup if lanes > 1 else 0
        windows = EvalWindows(text, begin, end, lanes, warmup, TIME)
        padded = -(-lanes // parallel.count()) * parallel.count()
        mine = parallel.local_lanes(padded)
        carry = parallel.shard(model.zero_carry(self.config, mine.stop - mine.start))
        widths = text.vocabulary.widths
        nats, count, size, pending = 0.0, 0, 0, jnp.zeros(())
        for i in range(len(windows)):
            window = windows.window(i, slice(0, padded))
            counted = window.y[window.mask]
            count, size = count + counted.size, size + int(widths[counted].sum())
            carry, cost = self._step(params, carry, *parallel.shard(tuple(a[mine] for a in window)))
            nats += float(pending)  # of the window before, while this one runs
            pending = cost
            progress((i + 1) / len(windows))
            if parallel.agree(stop()):
                return None
        nats += float(pending)
        assert count == end - begin, f"{count} targets counted of {end - begin}"
        return Score(split, protocol(lanes, warmup, max_symbols), Tally(nats, count), size)


def protocol(lanes: int, warmup: int, max_symbols: int) -> str:
    """The name of a way to read a part: figures compare only under the same one, or the exact one."""
    how = f"{lanes} lanes, {warmup} warm-up" if lanes > 1 else "1 lane"
    return f"carry, {how}" + (f", first {max_symbols} symbols" if max_symbols else "")
