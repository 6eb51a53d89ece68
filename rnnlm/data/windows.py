"""Windows [lane, time] of a text slice as pure functions of a step or an index; knows no jax.

A slice of N symbols has N targets. Each is predicted from the symbol before it, also where that symbol lies outside
the slice. Only the first symbol of a text has none before it: its input is the text's `bos_id`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnlm.data.text import Text, TextSlice
from rnnlm.errors import UserError


class Window(NamedTuple):
    """Hold a training window, all [B, T]: inputs, targets, and where the carry is reset before the input is read."""

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    reset: NDArray[np.bool_]


class EvalWindow(NamedTuple):
    """Hold an evaluation window, all [B, T]: a `Window`, which targets count, and their positions in the text."""

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    reset: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    position: NDArray[np.int64]


@dataclass(frozen=True)
class TrainWindows:
    """Cut a text slice into `batch` contiguous lanes, read `time` symbols at a time (truncated BPTT).

    A lane that reaches its end begins again at its start, in the middle of a window if need be, with `reset` set
    there. The len(text_slice) % batch symbols left over are not read. A carry is also reset before the separator of
    the vocabulary is read, which begins the next record. With probability `drop_state`, sampled from (seed, step), a
    lane is also reset at the beginning of a window. Raises UserError if a lane is shorter than a window.
    """

    text_slice: TextSlice
    batch: int
    time: int
    drop_state: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.lane_length < self.time:
            raise UserError(
                f"The training split has {len(self.text_slice)} symbols, which is {self.lane_length} for each of "
                f"train.batch={self.batch} lanes, but a window takes train.window={self.time}: "
                "give more text, or a smaller batch or window."
            )

    @property
    def lane_length(self) -> int:
        """Return the number of symbols in each lane."""
        return len(self.text_slice) // self.batch

    @property
    def steps_per_epoch(self) -> float:
        """Return the number of windows in one pass over a lane, a fraction."""
        return self.lane_length / self.time

    def window(self, step: int, lanes: slice) -> Window:
        """Return the window of a step, counted from 0, for some of the lanes."""
        first = self.text_slice.begin + np.arange(self.batch)[lanes, None] * self.lane_length
        offset = (step * self.time + np.arange(self.time))[None, :] % self.lane_length
        x, y = read(self.text_slice.text, first + offset)
        reset = np.repeat(offset == 0, len(x), axis=0)
        if self.text_slice.text.vocabulary.separator is not None:
            reset |= x == self.text_slice.text.vocabulary.separator
        if self.drop_state:
            draws = np.random.default_rng((self.seed, step)).random(self.batch)
            reset[:, 0] |= (draws < self.drop_state)[lanes]
        return Window(x, y, reset)


@dataclass(frozen=True)
class EvalWindows:
    """Cut a text slice into windows in which every symbol is a counted target exactly once.

    The slice is cut into pieces of `stride` symbols. Each piece is read with a reset carry from `context` symbols
    before it, which do not count, or from the slice's begin if that is nearer. The pieces lie one after another in
    `lanes` lanes side by side, of which `time` symbols make one window. A carry is also reset before the input
    `separator` is read, so a separator begins the next record.
    """

    text_slice: TextSlice
    stride: int
    context: int
    lanes: int
    time: int
    separator: int | None = None

    @property
    def lane_length(self) -> int:
        """Return the number of symbols that a lane reads, of which fewer may count in the last lanes."""
        pieces = -(-len(self.text_slice) // self.stride)
        return -(-pieces // self.lanes) * (self.context + self.stride)

    def __len__(self) -> int:
        return -(-self.lane_length // self.time)

    def window(self, index: int, lanes: slice) -> EvalWindow:
        """Return window `index`, counted from 0, for a slice of lanes; beyond `self.lanes` nothing counts."""
        begin, end = self.text_slice.begin, self.text_slice.end
        both = self.context + self.stride
        step = index * self.time + np.arange(self.time)[None, :]
        piece = np.arange(lanes.start, lanes.stop)[:, None] * (self.lane_length // both) + step // both
        offset = step % both - self.context
        position = begin + piece * self.stride + offset
        mask = (step < self.lane_length) & (offset >= 0) & (position < end)
        x, y = read(self.text_slice.text, np.clip(position, begin, end - 1))
        reset = (position == begin) | (offset == -self.context)
        if self.separator is not None:
            reset |= x == self.separator
        return EvalWindow(x, y, reset, mask, position)


def read(text: Text, position: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (inputs, targets) at some positions of a text, both in the shape of `position`."""
    y = text.encode(position)
    x = np.where(position == 0, text.bos_id, text.encode(np.maximum(position - 1, 0)))
    return x.astype(np.int32), y.astype(np.int32)
