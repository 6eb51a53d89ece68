"""Files and records of a text: where they end, and all of them in a random order."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnlm.config import DataConfig
from rnnlm.data.text import CHUNK_BYTES, chunks, memory_map
from rnnlm.errors import UserError


def separator_bytes(config: DataConfig) -> bytes:
    """Return the bytes of data.separator.

    Raises UserError unless it is one symbol: a character where data.symbols=char, else a byte.
    """
    text = config.separator
    data = text.encode("utf-8", "surrogateescape")
    count, unit = (len(text), "characters") if config.symbols == "char" else (len(data), "bytes")
    if text and count != 1:
        hint = ", or take data.symbols=char" if len(text) == 1 else ""
        raise UserError(
            f"The separator {text!r} has {count} {unit}, but exactly one symbol ({config.symbols}) ends a record, such "
            f"as '\\n': give one{hint}."
        )
    return data


def next_record(path: Path, separator: bytes, offset: int, size: int) -> int:
    """Return the first byte offset from `offset` on at which a record begins, or the size of the text."""
    if offset == 0:
        return 0
    at, rest = max(0, offset - len(separator)), b""
    for chunk in chunks(path, at):
        window = rest + chunk
        found = window.find(separator)
        if found >= 0:
            return at - len(rest) + found + len(separator)
        at += len(chunk)
        rest = window[len(window) - len(separator) + 1 :]  # a separator may begin here
    return size


def record_ends(data: NDArray[np.uint8], separator: bytes) -> NDArray[np.int64]:
    """Return the byte offsets after each separator of a text: [N] -> [R]."""
    ends = []
    for begin in range(0, len(data), CHUNK_BYTES):
        window = data[begin : begin + CHUNK_BYTES + len(separator) - 1]
        hit = np.ones(max(0, len(window) - len(separator) + 1), bool)
        for i, byte in enumerate(separator):
            hit &= window[i : i + len(hit)] == byte
        ends.append(np.flatnonzero(hit) + begin + len(separator))
    return np.concatenate(ends)


def random_order(count: int, seed: int) -> NDArray[np.int64]:
    """Return the numbers below `count` in a random order, the same in all versions of numpy: [count]."""
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")  # the raw draws are promised to stay


def shuffle_text(
    path: Path, file_ends: Sequence[int], by: str, separator: bytes, seed: int, new_ends: list[int]
) -> Iterator[bytes | memoryview]:
    """Yield a text in pieces, its files or its records in a random order, and append to `new_ends` where files end.

    A record also ends where a file ends. Where the separator is given and a file lacks it at its end, it is added.
    Raises UserError if the text cannot be read.
    """
    data = memory_map(path, np.uint8)
    ends = np.unique(np.array([end for end in file_ends if end], np.int64))
    unclosed = {end for end in ends.tolist() if separator and data[end - len(separator) : end].tobytes() != separator}
    if by == "records":
        ends = np.union1d(ends, record_ends(data, separator))
    begins = np.concatenate([[0], ends[:-1]])
    order = random_order(len(ends), seed)
    view, size = data.data, 0
    for begin, end in zip(begins[order].tolist(), ends[order].tolist(), strict=True):
        for at in range(begin, end, CHUNK_BYTES):
            yield view[at : min(at + CHUNK_BYTES, end)]
        if end in unclosed:
            yield separator
        size += end - begin + (len(separator) if end in unclosed else 0)
        if by == "files":
            new_ends.append(size)


def join_pieces(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yield some pieces of a text joined to chunks of CHUNK_BYTES or more, since they may be many and small."""
    ready: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        ready.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(ready)
            ready, size = [], 0
    yield b"".join(ready)
