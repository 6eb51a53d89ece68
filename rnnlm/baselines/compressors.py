"""General compressors on a text, each alone on it: gzip -9, bzip2 -9, xz -9e; in compressed bytes."""

import bz2
import lzma
import zlib
from collections.abc import Iterable
from typing import Any


def sizes(data: Iterable[bytes]) -> dict[str, int]:
    """The size of the file that each would write, from chunks of the text."""
    # wbits 31 is the gzip format, header and checksum included.
    compressors: dict[str, Any] = {
        "gzip -9": zlib.compressobj(9, zlib.DEFLATED, 31),
        "bzip2 -9": bz2.BZ2Compressor(9),
        "xz -9e": lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME),
    }
    found = dict.fromkeys(compressors, 0)
    for chunk in data:
        for name, compressor in compressors.items():
            found[name] += len(compressor.compress(chunk))
    return {name: found[name] + len(compressor.flush()) for name, compressor in compressors.items()}
