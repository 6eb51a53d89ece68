"""The vocabulary of a run: its symbols, their ids, and which of them ends a record."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnlm.errors import UserError


@dataclass(frozen=True)
class Vocabulary:
    """List the symbols of a run in the order of their ids.

    `kind` is "byte" (all 256), "byte_seen" (the bytes of the corpus) or "char" (its characters). `codes` are byte
    values, or code points where kind is "char", in ascending order. `separator` is the id of the symbol that ends a
    record, if the texts consist of records; it is not saved with the vocabulary, since the config holds it.
    """

    kind: str
    codes: tuple[int, ...]
    separator: int | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def as_dict(self) -> dict[str, Any]:
        """Return the vocabulary as it is saved in JSON."""
        return {"kind": self.kind, "codes": list(self.codes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Vocabulary":
        """Make a vocabulary from its JSON form. Raises KeyError, TypeError or ValueError if it is invalid."""
        vocabulary = cls(values["kind"], tuple(values["codes"]))
        codes, limit = vocabulary.codes, 0x110000 if vocabulary.kind == "char" else 256
        if vocabulary.kind not in ("byte", "byte_seen", "char") or not all(isinstance(code, int) for code in codes):
            raise ValueError("unknown kind of symbols")
        if not codes or list(codes) != sorted(set(codes)) or not 0 <= codes[0] <= codes[-1] < limit:
            raise ValueError("symbols out of order or range")
        return vocabulary

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """Return the symbol ids by code, -1 for a code that is no symbol: [256], or [0x110000] for characters."""
        table = np.full(0x110000 if self.kind == "char" else 256, -1, np.int32)
        table[np.array(self.codes)] = np.arange(len(self.codes))
        return table

    @cached_property
    def byte_lengths(self) -> NDArray[np.int64]:
        """Return the number of bytes of each symbol: [V]."""
        if self.kind != "char":
            return np.ones(len(self.codes), np.int64)
        return np.array([len(chr(code).encode("utf-8", "surrogatepass")) for code in self.codes])

    @property
    def bos_id(self) -> int:
        """Return the input before the first symbol of a text: the separator, else the line break, or 0 without one."""
        return max(0, int(self.table[ord("\n")])) if self.separator is None else self.separator

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        """Encode a text as symbol ids: [N]. Raises UserError that names the first unknown symbol and its offset."""
        return self.encode_codes(self.codes_of(text))

    def codes_of(self, text: str | bytes) -> NDArray[Any]:
        """Return the codes of a text, which may be no symbols: [N]. Raises UserError where "char" reads no UTF-8."""
        data = to_bytes(text) if isinstance(text, str) else text
        return code_points(decode_utf8(data, "The text")) if self.kind == "char" else np.frombuffer(data, np.uint8)

    def encode_codes(self, codes: NDArray[Any]) -> NDArray[np.int32]:
        """Map codes to symbol ids: [N] -> [N]. Raises UserError that names the first unknown code and its offset."""
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
        """Encode a text of exactly one symbol as its id. Raises UserError for any other text."""
        ids = self.encode(text)
        if len(ids) != 1:
            raise UserError(f"One symbol is read here, but {text!r} has {len(ids)}: give them one by one.")
        return int(ids[0])

    def separator_id(self, separator: str) -> int:
        """Return the id of a symbol that ends records. Raises UserError unless it is exactly one of the vocabulary."""
        codes = self.codes_of(separator)
        if len(codes) != 1:
            unit = "characters" if self.kind == "char" else "bytes"
            raise UserError(
                f"The separator {separator!r} has {len(codes)} {unit}, but exactly one symbol ({self.kind}) ends a "
                "record, such as '\\n': give one."
            )
        if self.table[codes[0]] < 0:
            raise UserError(
                f"The separator {separator!r} is not among the {len(self)} symbols ({self.kind}) of the text: give the "
                "one that ends its records, such as '\\n'."
            )
        return int(self.table[codes[0]])

    @property
    def separator_text(self) -> str:
        """Return the symbol that ends records as text, "" if there is none."""
        if self.separator is None:
            return ""
        return self.decode(np.array([self.separator])).decode("utf-8", "surrogateescape")

    def with_separator(self, separator: str) -> "Vocabulary":
        """Return the vocabulary with the symbol that ends records, "" for none. Raises UserError as `separator_id`."""
        return replace(self, separator=self.separator_id(separator) if separator else None)

    def prompt(self, text: str) -> NDArray[np.int32]:
        """Encode a prompt for sampling, N > 0: [N]. It begins with the separator, since that begins a record.

        Without a separator an empty prompt is `bos_id`.
        """
        if text and self.separator is None:
            return self.encode(text)
        return np.append(np.int32(self.bos_id), self.encode(text))

    def decode(self, ids: NDArray[Any]) -> bytes:
        """Decode symbol ids [N] to bytes, which are UTF-8 if kind is "char"."""
        codes = np.array(self.codes)[np.asarray(ids)]
        if self.kind == "char":
            return codes.astype("<u4").tobytes().decode("utf-32-le").encode()
        return codes.astype(np.uint8).tobytes()

    def name(self, code: int) -> str:
        """Return a printable name of a code: the quoted character, or a byte in hexadecimal."""
        return repr(chr(code)) if self.kind == "char" or 32 <= code < 127 else f"0x{code:02x}"


def to_bytes(text: str) -> bytes:
    """Encode a text as UTF-8; bytes that the command line could not decode, and holds as surrogates, as themselves."""
    return text.encode("utf-8", "surrogateescape")


def decode_utf8(data: bytes, where: str, offset: int = 0) -> str:
    """Decode UTF-8. Raises UserError that names `where` and the first invalid byte, counted from `offset`."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} is not UTF-8: byte 0x{data[error.start]:02x} at offset {offset + error.start} begins no "
            "character. Use data.symbols=byte for text in other encodings."
        ) from None


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the Unicode code points of a string: [N]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
