"""Text as integer symbols: the vocabulary that a run keeps, and a memory-mapped text seen through it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnlm.errors import UserError
from rnnlm.files import cache_dir, reading, write_cached

CHUNK = 1 << 20


@dataclass(frozen=True)
class Vocabulary:
    """The symbols in order of their codes, which are byte values, or code points where kind is "char"."""

    kind: str
    codes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "codes": list(self.codes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Vocabulary":
        """From `as_dict`. Raises KeyError, TypeError or ValueError where it is none."""
        vocabulary = cls(values["kind"], tuple(values["codes"]))
        codes, limit = vocabulary.codes, 0x110000 if vocabulary.kind == "char" else 256
        if vocabulary.kind not in ("byte", "byte_seen", "char") or not all(isinstance(code, int) for code in codes):
            raise ValueError("unknown kind of symbols")
        if not codes or list(codes) != sorted(set(codes)) or not 0 <= codes[0] <= codes[-1] < limit:
            raise ValueError("symbols out of order or range")
        return vocabulary

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """Code -> symbol, -1 where there is none."""
        table = np.full(0x110000 if self.kind == "char" else 256, -1, np.int32)
        table[np.array(self.codes)] = np.arange(len(self.codes))
        return table

    @cached_property
    def byte_lengths(self) -> NDArray[np.int64]:
        """Bytes of each symbol: [V]."""
        if self.kind != "char":
            return np.ones(len(self.codes), np.int64)
        return np.array([len(chr(code).encode("utf-8", "surrogatepass")) for code in self.codes])

    @property
    def bos_id(self) -> int:
        """What stands before the first symbol of a text: a line break where the vocabulary has one, else symbol 0."""
        return max(0, int(self.table[ord("\n")]))

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        """-> [N]. Raises UserError that names a symbol which the vocabulary lacks, and its offset."""
        # What the command line could not decode it gives as surrogates, which stand for the bytes that they were.
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if self.kind == "char":
            return self.encode_codes(code_points(decoded(data, "The text")))
        return self.encode_codes(np.frombuffer(data, np.uint8))

    def encode_codes(self, codes: NDArray[Any]) -> NDArray[np.int32]:
        """The same for codes."""
        ids = self.table[codes]
        if (ids < 0).any():
            offset = int(np.argmax(ids < 0))
            unit = "character" if self.kind == "char" else "byte"
            raise UserError(
                f"The {unit} {self.name(int(codes[offset]))} at offset {offset} is not among the {len(self)} symbols "
                f"({self.kind}) that the model knows: leave it out, or train with data.symbols=byte, which has all 256."
            )
        return ids

    def encode_one(self, text: str | bytes) -> int:
        """The number of one symbol. Raises UserError where the text is none, or more than one."""
        ids = self.encode(text)
        if len(ids) != 1:
            raise UserError(f"One symbol is read here, but {text!r} has {len(ids)}: give them one by one.")
        return int(ids[0])

    def prompt(self, text: str) -> NDArray[np.int32]:
        """What a model reads before it draws: the text, or where it is empty what stands before any text."""
        return self.encode(text) if text else np.array([self.bos_id], np.int32)

    def decode(self, ids: NDArray[Any]) -> bytes:
        """[N] -> the text as bytes (UTF-8 where kind is "char")."""
        codes = np.array(self.codes)[np.asarray(ids)]
        if self.kind == "char":
            return codes.astype("<u4").tobytes().decode("utf-32-le").encode()
        return codes.astype(np.uint8).tobytes()

    def name(self, code: int) -> str:
        return repr(chr(code)) if self.kind == "char" or 32 <= code < 127 else f"0x{code:02x}"


@dataclass(frozen=True)
class Text:
    """A text on disk as symbols. `units` is memory-mapped: bytes, or symbols already where `table` is None."""

    vocabulary: Vocabulary
    units: NDArray[Any]
    table: NDArray[np.int32] | None

    def __len__(self) -> int:
        return len(self.units)

    @property
    def bos_id(self) -> int:
        return self.vocabulary.bos_id

    def encode(self, position: NDArray[np.int64]) -> NDArray[np.int32]:
        """The symbols at those positions."""
        units = self.units[position]
        return units.astype(np.int32) if self.table is None else self.table[units]

    @classmethod
    def from_text(cls, vocabulary: Vocabulary, text: str | bytes) -> "Text":
        """A text in memory."""
        return cls(vocabulary, vocabulary.encode(text), None)


def open_text(path: Path, sha256: str, vocabulary: Vocabulary) -> Text:
    """Memory-map a file of text through the vocabulary of its corpus.

    Bytes are mapped as they are. Characters of more than one byte need a file of symbols, which is written once into
    the cache under the digests of text and vocabulary.
    """
    if vocabulary.kind != "char" or all(code < 128 for code in vocabulary.codes):
        return Text(vocabulary, memory_map(path, np.uint8), vocabulary.table[:256])
    dtype = np.uint16 if len(vocabulary) <= 2**16 else np.uint32
    codes = hashlib.sha256(repr(vocabulary.codes).encode()).hexdigest()
    encoded = cache_dir() / "char" / f"{sha256[:32]}-{codes[:16]}.u{8 * dtype().itemsize}"
    if not encoded.exists():
        write_cached(encoded, (vocabulary.encode_codes(chunk).astype(dtype).tobytes() for chunk in characters(path)))
    return Text(vocabulary, memory_map(encoded, dtype), None)


def memory_map(path: Path, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """Map a file of numbers into memory, for reading. Raises UserError where that cannot be."""
    with reading(path):
        return np.memmap(path, dtype, "r")


def vocabulary_of(path: Path, kind: str) -> Vocabulary:
    """The vocabulary of a corpus: all bytes, the bytes seen, or the characters seen."""
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
    """Read the bytes begin..end of a file, a little at a time. Raises UserError where the file cannot be read."""
    with reading(path), path.open("rb") as file:
        file.seek(begin)
        left = (path.stat().st_size if end is None else end) - begin
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk


def characters(path: Path) -> Iterator[NDArray[np.uint32]]:
    """The code points of a UTF-8 file, a little at a time."""
    rest, offset = b"", 0
    for chunk in chunks(path):
        data = rest + chunk
        cut = next((i for i in range(len(data) - 1, max(-1, len(data) - 5), -1) if data[i] & 0xC0 != 0x80), 0)
        yield code_points(decoded(data[:cut], str(path), offset))
        rest, offset = data[cut:], offset + cut
    yield code_points(decoded(rest, str(path), offset))


def count_characters(path: Path, end: int) -> int:
    """How many characters begin in the first `end` bytes of a UTF-8 file."""
    return sum(int(np.count_nonzero(np.frombuffer(chunk, np.uint8) & 0xC0 != 0x80)) for chunk in chunks(path, 0, end))


def decoded(data: bytes, where: str, offset: int = 0) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} is not UTF-8: byte 0x{data[error.start]:02x} at offset {offset + error.start} begins no "
            "character. Use data.symbols=byte for text in other encodings."
        ) from None


def code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
