"""Measure how many bytes general compressors make of a text."""

import bz2
import lzma
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import brotli
import zstandard

from rnnlm.errors import UserError


class Compressor(Protocol):
    """Describe a compressor that reads a text in chunks, as zlib.compressobj does."""

    def compress(self, data: bytes, /) -> bytes:
        """Read a chunk; return the compressed bytes that are ready."""

    def flush(self) -> bytes:
        """Return the remaining compressed bytes."""


class Brotli:
    """Compress by Brotli at its best quality."""

    def __init__(self) -> None:
        self._inner = brotli.Compressor(quality=11, lgwin=24)

    def compress(self, data: bytes) -> bytes:
        return bytes(self._inner.process(data))

    def flush(self) -> bytes:
        return bytes(self._inner.finish())


class Ppmd:
    """Compress by PPMd of the program 7z (Debian's p7zip-full), which reads and writes files.

    Order 8 is within 0.5 % of the best order on War and Peace and on enwik8's head, whole and test split alike.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._text = (Path(self._folder.name) / "text").open("wb")

    def compress(self, data: bytes) -> bytes:
        self._text.write(data)
        return b""

    def flush(self) -> bytes:
        self._text.close()
        with self._folder as folder:
            command = ["7z", "a", "-bd", "-m0=PPMd:o=8:mem=256m", "out.7z", "text"]
            done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                message = " ".join(done.stderr.split())[:120]
                raise UserError(
                    f"7z failed with exit status {done.returncode} ({message or 'no message'}): it needs 256 MiB of "
                    f"memory and room for the text in {tempfile.gettempdir()}; set TMPDIR for another folder."
                )
            return (Path(folder) / "out.7z").read_bytes()


# wbits 31 is the gzip format, header and checksum included.
QUICK: dict[str, Callable[[], Compressor]] = {
    "gzip -9": lambda: zlib.compressobj(9, zlib.DEFLATED, 31),
    "bzip2 -9": lambda: bz2.BZ2Compressor(9),
    "xz -9e": lambda: lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME),
}
ALL: dict[str, Callable[[], Compressor]] = QUICK | {
    "zstd --ultra -22": lambda: zstandard.ZstdCompressor(level=22).compressobj(),
    "brotli -q 11": Brotli,
}


def available() -> dict[str, Callable[[], Compressor]]:
    """Return all compressors by name, PPMd among them if the program 7z is there."""
    return ALL | ({"ppmd -o 8": Ppmd} if shutil.which("7z") else {})


def sizes(data: Iterable[bytes], compressors: dict[str, Callable[[], Compressor]] = QUICK) -> dict[str, int]:
    """Compress the chunks of a text with each compressor: -> compressed bytes by name."""
    started = {name: make() for name, make in compressors.items()}
    totals = dict.fromkeys(started, 0)
    for chunk in data:
        for name, compressor in started.items():
            totals[name] += len(compressor.compress(chunk))
    return {name: totals[name] + len(compressor.flush()) for name, compressor in started.items()}
