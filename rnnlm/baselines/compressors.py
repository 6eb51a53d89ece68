"""General compressors on a text, each alone on it: gzip -9, bzip2 -9, xz -9e; in compressed bytes."""

import bz2
import lzma
import zlib
from collections.abc import Iterable


def sizes(data: Iterable[bytes]) -> dict[str, int]:
    """The size of the file that each would write, from chunks of the text."""
    # wbits 31 is the gzip format, header and checksum included.
    gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
    bzip2 = bz2.BZ2Compressor(9)
    xz = lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)
    found = {"gzip -9": 0, "bzip2 -9": 0, "xz -9e": 0}
    for chunk in data:
        for name, compressor in zip(found, (gzip, bzip2, xz), strict=True):
            found[name] += len(compressor.compress(chunk))
    for name, compressor in zip(found, (gzip, bzip2, xz), strict=True):
        found[name] += len(compressor.flush())
    return found
