"""Texts as symbol ids: memory-mapped files seen through a vocabulary, and slices of them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnlm.data.cache import make_once
from rnnlm.data.vocabulary import Vocabulary, code_points, decode_utf8
from rnnlm.errors import UserError
from rnnlm.files import reading

CHUNK_BYTES = 1 << 20
"""Bytes that are read from a file at a time."""


@dataclass(frozen=True)
class Text:
    """Hold a text as symbols: `units` [N] hold bytes that `table` maps to ids, or ids if `table` is None."""

    vocabulary: Vocabulary
    units: NDArray[Any]
    table: NDArray[np.int32] | None

    def __len__(self) -> int:
        return len(self.units)

    @property
    def bos_id(self) -> int:
        """Return the input before the first symbol of the text."""
        return self.vocabulary.bos_id

    def encode(self, position: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the symbol ids at some positions, in the shape of `position`."""
        units = self.units[position]
        return units.astype(np.int32) if self.table is None else self.table[units]

    @classmethod
    def from_text(cls, vocabulary: Vocabulary, text: str | bytes) -> "Text":
        """Encode a text in memory. Raises UserError for symbols that the vocabulary lacks."""
        return cls(vocabulary, vocabulary.encode(text), None)


@dataclass(frozen=True)
class TextSlice:
    """Mark the symbols begin..end of a text; `split` names them in messages and results."""

    text: Text
    begin: int
    end: int
    split: str = "text"

    def __len__(self) -> int:
        return self.end - self.begin

    def subrange(self, start: int, stop: int = 0) -> "TextSlice":
        """Return the slice's symbols start..stop, where stop=0 is its end. Raises UserError if there are none."""
        begin, end = self.begin + start, min(self.end, self.begin + stop) if stop else self.end
        if start < 0 or stop < 0 or begin >= end:
            raise UserError(
                f"There are no symbols {start}..{stop or 'end'} in {self.split}, which has {len(self)}: give a "
                "beginning before the end."
            )
        return replace(self, begin=begin, end=end)

    def raw(self) -> Iterator[bytes]:
        """Yield the bytes of the slice in chunks."""
        for begin in range(self.begin, self.end, CHUNK_BYTES):
            units = self.text.units[begin : min(begin + CHUNK_BYTES, self.end)]
            yield units.tobytes() if self.text.table is not None else self.text.vocabulary.decode(units)


def open_text(path: Path, sha256: str, vocabulary: Vocabulary) -> Text:
    """Memory-map a text file through a vocabulary.

    Bytes are mapped as they are. Characters of more than one byte need a file of ids, which is written once into the
    cache under the digests of text and vocabulary. Raises UserError if the file cannot be read.
    """
    if vocabulary.kind != "char" or all(code < 128 for code in vocabulary.codes):
        return Text(vocabulary, memory_map(path, np.uint8), vocabulary.table[:256])
    dtype = np.uint16 if len(vocabulary) <= 2**16 else np.uint32

    def encode(_: list[int]) -> Iterator[bytes]:
        return (vocabulary.encode_codes(chunk).astype(dtype).tobytes() for chunk in characters(path))

    codes = hashlib.sha256(repr(vocabulary.codes).encode()).hexdigest()
    encoded = make_once("char", ["char", sha256, codes, dtype().itemsize], encode)
    return Text(vocabulary, memory_map(encoded.path, dtype), None)


def memory_map(path: Path, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """Memory-map a file of unsigned integers for reading: [N]. Raises UserError if it cannot be read."""
    with reading(path):
        return np.memmap(path, dtype, "r")


def vocabulary_of(path: Path, kind: str) -> Vocabulary:
    """Make the vocabulary of a corpus file: all bytes, the bytes seen in it, or the characters seen in it."""
    if kind == "byte":
        return Vocabulary(kind, tuple(range(256)))
    seen: set[int] = set()
    if kind == "byte_seen":
        for chunk in chunks(path):
            seen.update(chunk.translate(None, bytes(seen)))
    else:
        for codes in characters(path):
            seen.update(np.unique(codes).tolist())
    return Vocabulary(kind, tuple(sorted(seen)))


def chunks(path: Path, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield the bytes begin..end of a file, CHUNK_BYTES at a time. Raises UserError if the file cannot be read."""
    with reading(path), path.open("rb") as file:
        file.seek(begin)
        left = (path.stat().st_size if end is None else end) - begin
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def characters(path: Path) -> Iterator[NDArray[np.uint32]]:
    """Yield the code points of a UTF-8 file in arrays. Raises UserError if it cannot be read or is not UTF-8."""
    rest, offset = b"", 0
    for chunk in chunks(path):
        data = rest + chunk
        cut = next((i for i in range(len(data) - 1, max(-1, len(data) - 5), -1) if data[i] & 0xC0 != 0x80), 0)
        yield code_points(decode_utf8(data[:cut], str(path), offset))
        rest, offset = data[cut:], offset + cut
    yield code_points(decode_utf8(rest, str(path), offset))


def count_characters(path: Path, end: int) -> int:
    """Count the characters that begin in the first `end` bytes of a UTF-8 file."""
    return sum(int(np.count_nonzero(np.frombuffer(chunk, np.uint8) & 0xC0 != 0x80)) for chunk in chunks(path, 0, end))
