"""Draw whole records from a model whose text consists of records, and leave out those of its training split."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.generation.sampler import Sampler, SamplingOptions, join_text
from rnnlm.generation.stepper import Stepper

STREAMS = 128
"""Records that are drawn side by side, at most."""
CHUNK = 16
"""Symbols of one dispatch: records may be as short as names, and what is drawn after the last one's end is wasted."""
NOISE = 2**22
"""Random numbers that a dispatch draws, at most: a large vocabulary has fewer records side by side."""
LIMIT = 20
"""Records that are drawn for each new one that is asked for, at most."""


@dataclass(frozen=True)
class Records:
    """Hold records as bytes, `raw`, without the separators that end them.

    `drawn` records were drawn for them: more than they are where known ones were left out. `cut` of them did not end
    within the length, and were cut there.
    """

    raw: list[bytes]
    drawn: int
    cut: int

    @property
    def texts(self) -> list[str]:
        """Return the records as text; bytes that are no UTF-8 are replaced."""
        return [join_text([record]) for record in self.raw]


class RecordSampler:
    """Draw records with a `Stepper` and its folded params: each from a reset carry and the separator, to the next one.

    Raises UserError where the vocabulary has no separator.
    """

    def __init__(self, stepper: Stepper, params: Params, vocabulary: Vocabulary):
        if vocabulary.separator is None:
            raise UserError(
                "The text of this run has no records: train with data.separator, the symbol that ends one, as in "
                "--config.data.separator='\\n'."
            )
        self.sampler, self.params, self.vocabulary = Sampler(stepper, CHUNK), params, vocabulary
        self.separator = vocabulary.separator

    def stream(self, prompt: str, length: int, options: SamplingOptions, streams: int) -> Iterator[tuple[bytes, bool]]:
        """Yield records without end, and whether each was cut.

        But for rounding they do not depend on the number of streams drawn side by side. A record begins with the
        prompt, and is cut where no separator is among the `length` symbols drawn after it. Raises UserError for a
        prompt with a separator.
        """
        ids = self.vocabulary.prompt(prompt)
        if (ids[1:] == self.separator).any():
            raise UserError(f"The prompt {prompt!r} has the separator, where a record ends: leave it out.")
        begin = self.vocabulary.decode(ids[1:])
        for first in itertools.count(0, streams):
            for drawn in self._round(ids, length, options, streams, first):
                ends = np.flatnonzero(drawn == self.separator)
                whole = drawn[: ends[0]] if len(ends) else drawn
                yield begin + self.vocabulary.decode(whole), not len(ends)

    def _round(
        self, ids: NDArray[np.int32], length: int, options: SamplingOptions, streams: int, first: int
    ) -> NDArray[np.int32]:
        """Draw streams until each has the separator, `length` symbols at most: [K, up to length]."""
        drawn: list[NDArray[np.int32]] = []
        ended = np.zeros(streams, bool)
        for chunk in self.sampler.chunks(self.params, ids, length, options, streams, first):
            drawn.append(chunk)
            ended |= (chunk == self.separator).any(axis=1)
            if ended.all():
                break
        return np.concatenate(drawn, axis=1)

    def draw(
        self,
        num: int,
        prompt: str,
        length: int,
        options: SamplingOptions,
        train: Callable[[], Iterable[bytes]] | None,
        progress: Callable[[float], None],
    ) -> Records:
        """Draw `num` records.

        If `train` is given, it returns the chunks of the training split, and records found there are left out; at most
        LIMIT times `num` are drawn in all. The split is read once for each wave of records that are drawn to make up
        the number; in memory are one of its chunks and the records of a wave.
        """
        streams = max(1, min(STREAMS, num, NOISE // (CHUNK * len(self.vocabulary))))
        stream, limit = self.stream(prompt, length, options, streams), LIMIT * num
        separator = self.vocabulary.decode(np.array([self.separator]))
        kept: list[tuple[bytes, bool]] = []
        drawn = 0
        while len(kept) < num and drawn < limit:
            missing, new_share = num - len(kept), (len(kept) + 1) / (drawn + 1)
            size = min(math.ceil(missing / new_share), limit - drawn) if train else min(missing, 8 * streams)
            wave = list(itertools.islice(stream, size))
            known = find_records({record for record, _ in wave}, train(), separator) if train else set()
            for record, cut in wave:
                if len(kept) < num:
                    drawn += 1
                    kept += [(record, cut)] if record not in known else []
            progress(max(len(kept) / num, drawn / limit))
        return Records([record for record, _ in kept], drawn, sum(cut for _, cut in kept))


def find_records(records: set[bytes], chunks: Iterable[bytes], separator: bytes) -> set[bytes]:
    """Return the records that occur in a text, which is read chunk by chunk once."""
    found: set[bytes] = set()
    rest, most = b"", 1 + max(map(len, records), default=0)
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(separator)
        found |= records.intersection(whole)
        if len(rest) > most + len(separator):
            # Longer than any of the records, whatever follows. Its end may be the beginning of a separator.
            rest = bytes([separator[0] ^ 1]) * most + rest[-len(separator) :]
    return found | records.intersection([rest] if rest else [])
