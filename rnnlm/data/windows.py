"""Splits into [lane, time] windows: what is read when, as a pure function of the step. It knows no jax.

Targets are what is counted: a split of N symbols has N targets, and each is predicted from the symbol before it, also
where that symbol lies outside the split. Only the first symbol of a text has none before it; its input is `start`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnlm.data.vocabulary import Text
from rnnlm.errors import UserError


class Window(NamedTuple):
    """Symbols read, the symbols to predict, and where a lane starts afresh: all [B, T]."""

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    fresh: NDArray[np.bool_]


class EvalWindow(NamedTuple):
    """The same, and which targets count and where in the text they stand."""

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    fresh: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    position: NDArray[np.int64]


@dataclass(frozen=True)
class TrainWindows:
    """Truncated BPTT: `batch` contiguous lanes through symbols begin..end of a text, T at a time.

    A lane that comes to its end starts again at its beginning, in the middle of a window if need be, and `fresh`
    says so. The (end - begin) % batch symbols left over are not read. A lane also starts afresh at the beginning of a
    window with probability `drop_state`, by lots that `seed` and the step decide.
    """

    text: Text
    begin: int
    end: int
    batch: int
    time: int
    drop_state: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.lane_length < self.time:
            raise UserError(
                f"The training split has {self.end - self.begin} symbols, which is {self.lane_length} for each of "
                f"train.batch={self.batch} lanes, but a window takes train.window={self.time}: "
                "give more text, or a smaller batch or window."
            )

    @property
    def lane_length(self) -> int:
        return (self.end - self.begin) // self.batch

    @property
    def steps_per_epoch(self) -> float:
        return self.lane_length / self.time

    def window(self, step: int, lanes: slice) -> Window:
        """The window of the step, counted from 0, for those lanes."""
        first = self.begin + np.arange(self.batch)[lanes, None] * self.lane_length
        offset = (step * self.time + np.arange(self.time))[None, :] % self.lane_length
        x, y = read(self.text, first + offset)
        fresh = np.repeat(offset == 0, len(x), axis=0)
        if self.drop_state:
            lots = np.random.default_rng((self.seed, step)).random(self.batch)
            fresh[:, 0] |= (lots < self.drop_state)[lanes]
        return Window(x, y, fresh)


@dataclass(frozen=True)
class EvalWindows:
    """Symbols begin..end in order, `stride` counted targets at a time, each time afresh from `context` symbols before.

    Side by side in `lanes`, `time` symbols at a time. Every symbol is a counted target once. What would be read before
    `begin` is cut off by a fresh start at `begin`, so that what is near it has the exact carry. A lane also starts
    afresh where it reads the symbol `separator`, which so begins a record rather than ending one.
    """

    text: Text
    begin: int
    end: int
    stride: int
    context: int
    lanes: int
    time: int
    separator: int | None = None

    @property
    def lane_length(self) -> int:
        """Symbols that a lane reads; the last lanes may have fewer that count."""
        pieces = -(-(self.end - self.begin) // self.stride)
        return -(-pieces // self.lanes) * (self.context + self.stride)

    def __len__(self) -> int:
        return -(-self.lane_length // self.time)

    def window(self, index: int, lanes: slice) -> EvalWindow:
        """Window number `index` for those lanes; lanes beyond `lanes` have nothing that counts."""
        both = self.context + self.stride
        step = index * self.time + np.arange(self.time)[None, :]
        piece = np.arange(lanes.start, lanes.stop)[:, None] * (self.lane_length // both) + step // both
        offset = step % both - self.context
        position = self.begin + piece * self.stride + offset
        mask = (step < self.lane_length) & (offset >= 0) & (position < self.end)
        x, y = read(self.text, np.clip(position, self.begin, self.end - 1))
        fresh = (position == self.begin) | (offset == -self.context)
        if self.separator is not None:
            fresh |= x == self.separator
        return EvalWindow(x, y, fresh, mask, position)


def read(text: Text, position: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(the symbol before, the symbol at) each position."""
    y = text.encode(position)
    x = np.where(position == 0, text.bos_id, text.encode(np.maximum(position - 1, 0)))
    return x.astype(np.int32), y.astype(np.int32)
