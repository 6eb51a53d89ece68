"""The vocabulary of a run: its symbols, and their ids."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnlm.errors import UserError


@dataclass(frozen=True)
class Vocabulary:
    """List the symbols of a run in the order of their ids.

    `kind` is "byte" (all 256), "byte_seen" (the bytes of the corpus) or "char" (its characters). `codes` are byte
    values, or code points where kind is "char", in ascending order.
    """

    kind: str
    codes: tuple[int, ...]

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
        """Return the input before the first symbol of a text: the id of the line break if it is a symbol, else 0."""
        return max(0, int(self.table[ord("\n")]))

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        """Encode a text as symbol ids: [N]. Raises UserError that names the first unknown symbol and its offset."""
        # Bytes that the command line could not decode arrive as surrogates: they become those bytes again.
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        if self.kind == "char":
            return self.encode_codes(code_points(decode_utf8(data, "The text")))
        return self.encode_codes(np.frombuffer(data, np.uint8))

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

    def prompt(self, text: str) -> NDArray[np.int32]:
        """Encode a prompt for sampling: [N], or [1] with `bos_id` if the text is empty."""
        return self.encode(text) if text else np.array([self.bos_id], np.int32)

    def decode(self, ids: NDArray[Any]) -> bytes:
        """Decode symbol ids [N] to bytes, which are UTF-8 if kind is "char"."""
        codes = np.array(self.codes)[np.asarray(ids)]
        if self.kind == "char":
            return codes.astype("<u4").tobytes().decode("utf-32-le").encode()
        return codes.astype(np.uint8).tobytes()

    def name(self, code: int) -> str:
        """Return a printable name of a code: the quoted character, or a byte in hexadecimal."""
        return repr(chr(code)) if self.kind == "char" or 32 <= code < 127 else f"0x{code:02x}"


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
