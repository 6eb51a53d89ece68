"""Split any bytes into symbols of a vocabulary and escapes: the bytes that it lacks, and where they stood.

The escapes are a run of records: the number of symbols since the last record, the number of bytes that follow (both in
LEB128), and these bytes. They are deflated, and empty where the vocabulary has every symbol.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from rnnlm.data.vocabulary import Vocabulary, code_points


def split(vocabulary: Vocabulary, data: bytes) -> tuple[NDArray[np.int32], bytes]:
    """Split a text: -> (its symbols [N] that the vocabulary has, in order; the escapes)."""
    if vocabulary.kind == "char":
        # Bytes that are no UTF-8 become surrogates, which no vocabulary has.
        codes = code_points(data.decode("utf-8", "surrogateescape"))
    else:
        codes = np.frombuffer(data, np.uint8)
    ids = vocabulary.table[codes]
    lacking = np.flatnonzero(ids < 0)
    if not len(lacking):
        return ids, b""
    records, last = bytearray(), 0
    for run in np.split(lacking, np.flatnonzero(np.diff(lacking) > 1) + 1):
        raw = codes[run[0] : run[-1] + 1].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        escaped = raw.encode("utf-8", "surrogateescape") if vocabulary.kind == "char" else raw.encode("latin-1")
        records += encode_varint(int(run[0]) - last) + encode_varint(len(escaped)) + escaped
        last = int(run[-1]) + 1
    return ids[ids >= 0], zlib.compress(bytes(records), 9)


def join(vocabulary: Vocabulary, ids: NDArray[np.int32], escapes: bytes) -> bytes:
    """Join what `split` has split. Raises ValueError or zlib.error for damaged escapes."""
    if not escapes:
        return vocabulary.decode(ids)
    records, offset, out, read = zlib.decompress(escapes), 0, [], 0
    while offset < len(records):
        before, offset = decode_varint(records, offset)
        length, offset = decode_varint(records, offset)
        if offset + length > len(records) or read + before > len(ids):
            raise ValueError("the escapes are cut off")
        out += [vocabulary.decode(ids[read : read + before]), records[offset : offset + length]]
        read, offset = read + before, offset + length
    return b"".join([*out, vocabulary.decode(ids[read:])])


def encode_varint(n: int) -> bytes:
    """Encode an unsigned integer in LEB128."""
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def decode_varint(data: bytes, offset: int) -> tuple[int, int]:
    """Decode an unsigned LEB128 integer: -> (its value, the offset after it). Raises ValueError where it is cut off."""
    n = shift = 0
    while offset < len(data):
        n |= (data[offset] & 127) << shift
        offset, shift = offset + 1, shift + 7
        if data[offset - 1] < 128:
            return n, offset
    raise ValueError("the escapes are cut off")
