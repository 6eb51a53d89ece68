"""Any bytes as symbols of a vocabulary and, on the side, the bytes that it lacks and where they stood.

The side is a run of records: how many symbols come before it since the last record, how many bytes it has (both in
LEB128), and the bytes. It is kept deflated, and empty where the vocabulary has all.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from rnnlm.data.vocabulary import Vocabulary, code_points


def split(vocabulary: Vocabulary, data: bytes) -> tuple[NDArray[np.int32], bytes]:
    """-> (the symbols [N] that the vocabulary has, in order; the side)."""
    if vocabulary.kind == "char":
        # Bytes that are no UTF-8 become surrogates, which no vocabulary has.
        codes = code_points(data.decode("utf-8", "surrogateescape"))
    else:
        codes = np.frombuffer(data, np.uint8)
    ids = vocabulary.table[codes]
    lacking = np.flatnonzero(ids < 0)
    if not len(lacking):
        return ids, b""
    side, last = bytearray(), 0
    for run in np.split(lacking, np.flatnonzero(np.diff(lacking) > 1) + 1):
        raw = codes[run[0] : run[-1] + 1].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        here = raw.encode("utf-8", "surrogateescape") if vocabulary.kind == "char" else raw.encode("latin-1")
        side += encode_varint(int(run[0]) - last) + encode_varint(len(here)) + here
        last = int(run[-1]) + 1
    return ids[ids >= 0], zlib.compress(bytes(side), 9)


def join(vocabulary: Vocabulary, ids: NDArray[np.int32], side: bytes) -> bytes:
    """The bytes again. Raises ValueError or zlib.error for a damaged side."""
    if not side:
        return vocabulary.decode(ids)
    records, at, out, read = zlib.decompress(side), 0, [], 0
    while at < len(records):
        before, at = decode_varint(records, at)
        length, at = decode_varint(records, at)
        if at + length > len(records) or read + before > len(ids):
            raise ValueError("the side is cut off")
        out += [vocabulary.decode(ids[read : read + before]), records[at : at + length]]
        read, at = read + before, at + length
    return b"".join([*out, vocabulary.decode(ids[read:])])


def encode_varint(n: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def decode_varint(data: bytes, at: int) -> tuple[int, int]:
    n = shift = 0
    while at < len(data):
        n |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return n, at
    raise ValueError("the side is cut off")
