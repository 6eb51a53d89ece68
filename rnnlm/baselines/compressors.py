"""General compressors on a text, each alone on it or after the training text; in compressed bytes."""

import bz2
import lzma
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import brotli
import zstandard

from rnnlm.errors import UserError


class Brotli:
    """Under the names that the others have."""

    def __init__(self) -> None:
        self._inner = brotli.Compressor(quality=11, lgwin=24)

    def compress(self, data: bytes) -> bytes:
        return bytes(self._inner.process(data))

    def flush(self) -> bytes:
        return bytes(self._inner.finish())


class Ppmd:
    """PPMd by the program 7z (Debian's p7zip-full), which reads and writes files.

    Order 8 is within 0.5 % of the best order on War and Peace and on enwik8's head, the whole and the test part.
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
            try:
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            except subprocess.CalledProcessError as error:
                raise UserError(f"7z failed with code {error.returncode}: make room in {folder}.") from None
            return (Path(folder) / "out.7z").read_bytes()


# wbits 31 is the gzip format, header and checksum included.
QUICK: dict[str, Callable[[], Any]] = {
    "gzip -9": lambda: zlib.compressobj(9, zlib.DEFLATED, 31),
    "bzip2 -9": lambda: bz2.BZ2Compressor(9),
    "xz -9e": lambda: lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME),
}
ALL = QUICK | {
    "zstd --ultra -22": lambda: zstandard.ZstdCompressor(level=22).compressobj(),
    "brotli -q 11": Brotli,
}


def available() -> dict[str, Callable[[], Any]]:
    """All, and PPMd where there is a 7z."""
    return ALL | ({"ppmd -o 8": Ppmd} if shutil.which("7z") else {})


def sizes(data: Iterable[bytes], compressors: dict[str, Callable[[], Any]] = QUICK) -> dict[str, int]:
    """The size of the file that each would write, from chunks of the text."""
    made = {name: make() for name, make in compressors.items()}
    found = dict.fromkeys(made, 0)
    for chunk in data:
        for name, compressor in made.items():
            found[name] += len(compressor.compress(chunk))
    return {name: found[name] + len(compressor.flush()) for name, compressor in made.items()}
