"""The columns of char-rnn's loader, in which each split has a share of every stretch of a text.

A text is cut into B equal streams, each read `time` bytes at a time; the first columns of windows train, the next
validate and the last test (util/CharSplitLMMinibatchLoader.lua). So each split has B pieces. What does not fill a
window of all streams is left out.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from rnnlm.errors import UserError

SPEC = re.compile(r"columns_(\d+)x(\d+)_(.*)")


class Columns(NamedTuple):
    """Hold the parsed split spec columns_STREAMSxTIME_TRAIN/VALID/TEST: its shares are exact fractions."""

    streams: int
    time: int
    shares: tuple[Fraction, Fraction, Fraction]

    def windows(self, size: int, name: str) -> tuple[int, int, int]:
        """Return the windows of a stream that train, validate and test in a text of `size` bytes.

        The shares of train and valid are rounded down; where the test has none, valid takes what is left. Raises
        UserError if nothing trains.
        """
        count = size // (self.streams * self.time)
        train, valid = (int(share * count) for share in self.shares[:2])
        if not self.shares[2]:
            valid = count - train
        if not train:
            raise UserError(
                f"{name} has {size:,} bytes, of which columns of {self.streams} streams of windows of {self.time} "
                "leave no window for training: choose fewer streams or shorter windows."
            )
        return train, valid, count - train - valid

    def offsets(self, size: int) -> tuple[int, int]:
        """Return the bytes of train, and of train and valid, in a text of `size` bytes that lies in columns."""
        train, valid, _ = self.windows(size, "")
        return train * self.streams * self.time, (train + valid) * self.streams * self.time

    def pieces(self, size: int, name: str) -> Iterator[tuple[int, int]]:
        """Yield the offsets (begin, end) of the pieces of a text, those of the training split first."""
        counts = self.windows(size, name)
        begin = 0
        for count in counts:
            for stream in range(self.streams):
                first = (stream * sum(counts) + begin) * self.time
                yield first, first + count * self.time
            begin += count


def parse_columns(spec: str) -> Columns | None:
    """Parse a split spec of columns; None for another one. Raises UserError for impossible numbers."""
    if not spec.startswith("columns"):
        return None
    found = SPEC.fullmatch(spec)
    try:
        shares = [Fraction(share) for share in found[3].split("/")] if found else []
    except (ValueError, ZeroDivisionError):
        shares = []
    if found is None or len(shares) != 3 or sum(shares) != 1 or min(shares) < 0 or not int(found[1]) * int(found[2]):
        raise UserError(
            f"data.split={spec!r} is no split in columns: use columns_STREAMSxTIME_SHARES, where the shares of "
            "train/valid/test add up to 1, such as columns_50x50_0.9/0.05/0.05."
        )
    return Columns(int(found[1]), int(found[2]), (shares[0], shares[1], shares[2]))
