"""A part of a text, read under a named protocol, as one tally."""

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.config import ModelConfig
from rnnlm.data.text import TextSlice
from rnnlm.data.windows import EvalWindow, EvalWindows
from rnnlm.errors import UserError
from rnnlm.evaluation import tally
from rnnlm.evaluation.tally import BLOCK, Blocks, Tally
from rnnlm.nn import model
from rnnlm.runtime import parallel

TIME = 128
MOST_LANES = 128


@dataclass(frozen=True)
class EvalProtocol:
    """How a part is read. Figures compare only under the same one, or under one that is exact.

    carry    from its first symbol to its last with the carry; cut into `lanes` parts side by side (0: as many as make
             the warm-up an eighth of the work at most), each warmed on the `warmup` symbols before it
    windows  `window` symbols at a time, each time afresh; the last `stride` of a window count, so that every symbol
             has at least window - stride before it, but for the part's first ones (what transformer papers report)
    records  as carry, and afresh at each symbol `separator`, which is read first in the record that follows it; exact
             where no record is longer than the warm-up, or in one lane
    """

    name: str = "carry"
    lanes: int = 0
    warmup: int = 512
    window: int = 512
    stride: int = 256
    separator: str = ""

    def __post_init__(self) -> None:
        """Raises UserError for what is no protocol."""
        if self.name not in ("carry", "windows", "records"):
            raise UserError(f"There is no protocol {self.name!r}: it is carry, windows or records.")
        if min(self.lanes, self.warmup) < 0 or not 0 < self.stride <= self.window:
            raise UserError(
                f"Cannot read in lanes={self.lanes} with warmup={self.warmup}, window={self.window}, "
                f"stride={self.stride}: lanes and warm-up are from 0 up, the stride from 1 up to the window."
            )
        if bool(self.separator) != (self.name == "records"):
            raise UserError("The protocol records, and no other one, takes a separator: the symbol that ends a record.")

    def of(self, symbols: int) -> "EvalProtocol":
        """The same with its lanes chosen for that many symbols."""
        most = self.lanes or MOST_LANES
        if self.name == "windows":
            return EvalProtocol("windows", min(most, -(-symbols // self.stride)), 0, self.window, self.stride)
        lanes = min(self.lanes or max(1, min(most, symbols // (8 * max(1, self.warmup)))), symbols)
        return EvalProtocol(self.name, lanes, self.warmup if lanes > 1 else 0, separator=self.separator)

    def windows(self, text_slice: TextSlice) -> EvalWindows:
        """Return the windows that read a slice, of a protocol whose lanes are chosen."""
        symbols = len(text_slice)
        if self.name == "windows":
            stride, context = min(self.stride, symbols), min(self.window - self.stride, symbols)
            return EvalWindows(text_slice, stride, context, self.lanes, TIME)
        stride, vocabulary = -(-symbols // self.lanes), text_slice.text.vocabulary
        separator = vocabulary.encode_one(self.separator) if self.separator else None
        return EvalWindows(text_slice, stride, min(self.warmup, symbols), self.lanes, TIME, separator)

    def __str__(self) -> str:
        if self.name == "windows":
            return f"windows of {self.window}, stride {self.stride}"
        lanes = f"{self.lanes} lanes, {self.warmup} warm-up" if self.lanes > 1 else "1 lane"
        after = f" after {self.separator!r}" if self.separator else ""
        return f"{self.name}{after}, {lanes}"


class ResolvedProtocol(typing.Protocol):
    """A protocol of any kind, with its lanes chosen; as a string it says all that a figure depends on."""

    @property
    def lanes(self) -> int: ...
    @property
    def warmup(self) -> int: ...


@dataclass(frozen=True)
class Score:
    """What a part of a text costs, and how that was found out: its symbols begin..end, counted from the part's own."""

    split: str
    protocol: ResolvedProtocol
    begin: int
    end: int
    whole: bool
    blocks: Blocks
    bytes: int

    @classmethod
    def of(cls, whole: TextSlice, scored: TextSlice, protocol: ResolvedProtocol, blocks: Blocks, size: int) -> "Score":
        """Make the score of a subrange of a slice."""
        begin, end = scored.begin - whole.begin, scored.end - whole.begin
        return cls(scored.split, protocol, begin, end, len(scored) == len(whole), blocks, size)

    @property
    def tally(self) -> Tally:
        return self.blocks.tally

    @property
    def how(self) -> str:
        """The protocol, and which symbols where it is not all of them."""
        return f"{self.protocol}" + ("" if self.whole else f", symbols {self.begin}..{self.end}")

    def as_dict(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "protocol": self.how,
            "count": self.tally.count,
            "nats": self.tally.nats,
            "bpc": self.tally.bpc,
            "bpb": self.tally.per(self.bytes),
            "stderr": self.blocks.stderr(),
        }


class Evaluator:
    """Scores texts under one model; the compiled step is kept."""

    def __init__(self, config: ModelConfig, vocab: int):
        self.config = config
        forward = model.apply(config, vocab)

        def step(params: Params, carry: model.Stack, x: jax.Array, y: jax.Array, reset: jax.Array) -> Any:
            carry, logits_BTV = forward(params, carry, x, reset)
            return carry, tally.nats(logits_BTV, y)

        self._step = parallel.per_device(step, (None, 0, 0, 0, 0), (0, 0), donate=(1,))

    def __call__(
        self,
        params: Params,
        text_slice: TextSlice,
        protocol: EvalProtocol,
        only: tuple[int, int] = (0, 0),
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Score | None:
        """Score a slice of a text: each symbol is a target once. Return None if `stop()` became true before its end.

        `params` are replicated. `only` = (from, to) restricts the score to those symbols of the slice, to=0 for its
        end; UserError is raised if there are none.
        """
        scored = text_slice.subrange(*only)
        protocol = protocol.of(len(scored))
        windows = protocol.windows(scored)
        padded = -(-protocol.lanes // parallel.count()) * parallel.count()
        mine = parallel.local_lanes(padded)
        carry = parallel.shard(model.zero_carry(self.config, mine.stop - mine.start))

        def read(window: EvalWindow) -> jax.Array:
            nonlocal carry
            mapped = parallel.shard(tuple(a[mine] for a in (window.x, window.y, window.reset)))
            carry, nats_BT = self._step(params, carry, *mapped)
            return nats_BT

        found = accumulate_nats(windows, padded, read, parallel.gather, progress, stop)
        return found and Score.of(text_slice, scored, protocol, *found)


def accumulate_nats(
    windows: EvalWindows,
    lanes: int,
    read: Callable[[EvalWindow], jax.Array],
    fetch: Callable[[jax.Array], NDArray[np.float32]],
    progress: Callable[[float], None],
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Blocks, int] | None:
    """-> (the cost of all symbols that count, their bytes); None if `stop` said so before the end.

    `read` starts on a window and gives its targets' nats, which `fetch` brings here as [B, T].
    """
    text_slice = windows.text_slice
    symbols, byte_lengths = len(text_slice), text_slice.text.vocabulary.byte_lengths
    nats, count, size = np.zeros(-(-symbols // BLOCK)), 0, 0

    def add(window: EvalWindow, nats_BT: jax.Array) -> None:
        block = (window.position[window.mask] - text_slice.begin) // BLOCK
        nats[:] += np.bincount(block, fetch(nats_BT)[window.mask], len(nats))

    pending: tuple[Any, ...] = ()
    for i in range(len(windows)):
        window = windows.window(i, slice(0, lanes))
        counted = window.y[window.mask]
        count, size = count + counted.size, size + int(byte_lengths[counted].sum())
        nats_BT = read(window)
        if pending:
            add(*pending)  # the window before, while this one runs
        pending = window, nats_BT
        progress((i + 1) / len(windows))
        if parallel.any_process(stop()):
            return None
    add(*pending)
    assert count == symbols, f"{count} targets counted of {symbols}"
    return Blocks(nats, count), size
