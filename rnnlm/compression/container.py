"""Write and read compressed files: their layout, their header and its versions.

A file holds b"RNZ1", a CRC-32 of all that follows, the length of the header (both 4 bytes, little-endian), the header
(deflated JSON), the escapes (`escape`), and the range coder's 32-bit words (`coder`).
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any

from rnnlm.compression.coder import TOTAL
from rnnlm.errors import UserError

Header = dict[str, Any]

MAGIC = b"RNZ1"
VERSION = 2
"""The version of new headers. A header without one is of version 1, which differs by nothing else."""
MAX_HEADER = 2**20
MAX_THREADS = 4096
DICTIONARY = b"""{"bytes":0,"crc":0,"dynamic":[20,0.0001,0.001],"fingerprint":{"constriction":"0.5.0",\
"cores":1,"cpu":"","device":"cpu","flags":"","jax":"0.10.2","jaxlib":"0.10.2","optax":"0.2.8","params":"",\
"quantizer":"floor 2^24","statistics":"","step":1000},"lanes":1,"online":{"model":{"cell":"lstm","dropout":0.0,\
"dropout_input":0.0,"dropout_mask":"step","dropout_output":0.0,"dtype":"float32","embedding":0,"forget_bias":1.0,\
"hidden":256,"layers":1,"sizes":[],"tied":false},"optim":{"b1":0.9,"b2":0.999,"clip_norm":1.0,"clip_value":0.0,\
"decay":0.97,"decay_after":10.0,"ema":0.0,"eps":1e-08,"final":0.1,"learning_rate":0.002,"momentum":0.9,"name":"adam",\
"schedule":"constant","warmup":0,"weight_decay":0.01},"seed":0,"segment":20,"updates":1},"side":0,"symbols":0}"""
"""A preset dictionary (RFC 1950) for deflate, so that usual headers take little room. Files need every byte of it."""


@dataclass(frozen=True)
class CompressedFile:
    """Hold a header, the escapes and the coder's words. The header keeps the length of the escapes as "side"."""

    header: Header
    escapes: bytes
    words: bytes

    @property
    def threads(self) -> int:
        """Return how many threads shared out the encoder's products; 0 where the header does not say."""
        threads: int = self.header["fingerprint"].get("cores", 0)
        return threads

    def to_bytes(self) -> bytes:
        """Write the file, with this version and the length of the escapes in its header."""
        header = self.header | {"side": len(self.escapes), "version": VERSION}
        deflate = zlib.compressobj(9, zdict=DICTIONARY)
        body = deflate.compress(json.dumps(header, sort_keys=True, separators=(",", ":")).encode()) + deflate.flush()
        body = len(body).to_bytes(4, "little") + body + self.escapes + self.words
        return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "CompressedFile":
        """Read a file, called `name` in errors. Raises UserError where it is another kind of file, damaged or newer."""
        if data[: len(MAGIC)] != MAGIC:
            raise UserError(f"{name} is no file of `rnnlm compress`: it does not begin with {MAGIC.decode()}.")
        crc, size = (int.from_bytes(data[i : i + 4], "little") for i in (4, 8))
        if len(data) < 12 + size or zlib.crc32(data[8:]) != crc:
            raise UserError(f"{name} is damaged: its checksum does not match. Get another copy.")
        try:
            inflate = zlib.decompressobj(zdict=DICTIONARY)
            header = json.loads(inflate.decompress(data[12 : 12 + size], MAX_HEADER))
            refuse_newer(header.get("version", 1), name)
            body = data[12 + size :]
            file = cls(header, body[: header["side"]], body[header["side"] :])
            file.check()
        except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
            raise UserError(
                f"{name} was not written by this version of `rnnlm compress` ({type(error).__name__}: {error}): "
                "decompress it with the program that wrote it, or get another copy."
            ) from None
        return file

    def check(self) -> None:
        """Raise KeyError, TypeError or ValueError for what no encoder writes, before anything is allocated for it."""
        h = self.header
        size, symbols, lanes, escapes = (h[name] for name in ("bytes", "symbols", "lanes", "side"))
        if (
            any(type(n) is not int for n in (size, symbols, lanes, escapes, h["crc"]))
            or type(h["fingerprint"]) is not dict
        ):
            raise TypeError("the header's entries are of other types")
        # A symbol takes at least 1 / TOTAL of a bit.
        most = 2 * TOTAL * (8 * len(self.words) + 64)
        if not (0 <= symbols <= min(size, most) and 1 <= lanes <= max(1, symbols) and escapes == len(self.escapes)):
            raise ValueError(f"{symbols} symbols in {lanes} lanes for {size} bytes in {len(self.words)}")
        online, dynamic = h.get("online", {}), h.get("dynamic", [])
        required = {"model", "optim", "seed", "segment", "updates"}
        if online.keys() - {"version"} not in (set(), required) or len(dynamic) not in (0, 3):
            raise ValueError("the header names an unknown kind of prediction")
        if type(self.threads) is not int or not 0 <= self.threads <= MAX_THREADS:
            raise ValueError(f"{self.threads} threads")
        if len(self.words) % 4:
            raise ValueError("the coder's words are cut off")


def refuse_newer(version: Any, name: str) -> None:
    """Raise UserError for a header of a version later than `VERSION`."""
    if type(version) is not int or version > VERSION:
        raise UserError(
            f"{name} has a header of version {version}, but this rnnlm reads versions up to {VERSION}: decompress it "
            "with the rnnlm that wrote it, or a newer one."
        )
