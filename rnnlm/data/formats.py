"""Tell text from other files by their first bytes, and unpack compressed text."""

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import zstandard

from rnnlm.data.text import CHUNK_BYTES, chunks
from rnnlm.errors import UserError

HEAD_BYTES = 1 << 15
"""First bytes of a file that are looked at."""

COMPRESSED = {
    "gzip": rb"\x1f\x8b\x08",
    "xz": rb"\xfd7zXZ\0",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "zstd": rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18",
}
"""How the files of each compression begin that is unpacked, as a regular expression."""

FORMATS = {
    "UTF-32 text": rb"\xff\xfe\0\0|\0\0\xfe\xff",
    "UTF-16 text": rb"\xff\xfe|\xfe\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "RIFF": rb"RIFF.{4}(WAVE|WEBP|AVI )",
    "PDF": rb"%PDF-",
    "zip": rb"PK(\x03\x04|\x05\x06)",
    "tar": rb".{257}ustar",
    "7z": rb"7z\xbc\xaf\x27\x1c",
    "rar": rb"Rar!\x1a\x07",
    "lz4": rb"\x04\x22\x4d\x18",
    "lzip": rb"LZIP\x01",
    "compress": rb"\x1f\x9d",
    "ELF": rb"\x7fELF",
    "Python bytecode": rb".{2}\r\n[\0-\3]\0\0\0",
    "Java or Mach-O": rb"\xca\xfe\xba\xbe",
    "WebAssembly": rb"\0asm",
    "SQLite": rb"SQLite format 3\0",
    "NumPy": rb"\x93NUMPY",
    "HDF5": rb"\x89HDF\r\n",
    "Parquet": rb"PAR1\x15",
    "Ogg": rb"OggS\0",
    "FLAC": rb"fLaC\0",
    "MP3": rb"ID3[\x02-\x04]\0",
    "MP4": rb".{4}ftyp",
}
"""How files of formats that are no text, or not in bytes, begin."""

NAMED = 3
"""Files that are named where files are refused."""


def detect_compression(head: bytes) -> str:
    """Return by which of `COMPRESSED` a file is compressed that begins with some bytes; empty if by none."""
    return find_format(COMPRESSED, head)


def detect_foreign(head: bytes) -> str:
    """Return what a file that begins with some bytes is if it is no text: a format or "NUL bytes"; empty for text."""
    return find_format(FORMATS, head) or detect_compression(head) or ("NUL bytes" if b"\0" in head else "")


def find_format(formats: dict[str, bytes], head: bytes) -> str:
    """Return the first format whose regular expression fits the first bytes of a file; empty if none does."""
    if not re.match(b"|".join(formats.values()), head, re.DOTALL):  # one look at most texts, of which there are many
        return ""
    return next(name for name, pattern in formats.items() if re.match(pattern, head, re.DOTALL))


def check_files(files: Sequence[Path], name: str) -> list[str]:
    """Return how each file is compressed, empty where it is not.

    Raises UserError that names the files that are no text. Compressed ones are looked into only where others are
    refused: `refuse_foreign` looks into all.
    """
    kinds, sound = [], True
    for path in files:
        head = read_head(path)
        kinds.append(detect_compression(head))
        sound = sound and bool(kinds[-1] or not detect_foreign(head))
    if not sound:
        refuse_foreign(files, kinds, name)
    return kinds


def detect_compressions(files: Sequence[Path]) -> list[str]:
    """Return how each file is compressed, empty where it is not. Raises UserError if one cannot be read."""
    return [detect_compression(read_head(path)) for path in files]


def read_head(path: Path) -> bytes:
    """Read the first HEAD_BYTES of a file. Raises UserError."""
    return b"".join(chunks(path, 0, HEAD_BYTES))


def refuse_foreign(files: Sequence[Path], kinds: Sequence[str], name: str) -> None:
    """Raise UserError that names the files that are no text, also once unpacked by their `kinds` of compression."""
    refused = []
    for path, kind in zip(files, kinds, strict=True):
        found = detect_foreign(next(unpack(path, kind), b"")[:HEAD_BYTES])
        if found:
            refused.append((path, f"{found} in {kind}" if kind else found))
    if refused:
        raise UserError(describe_refused(refused, len(files), name))


def describe_refused(refused: list[tuple[Path, str]], count: int, name: str) -> str:
    """Say which of `count` files are no text, and what to do."""
    named = ", ".join(f"{path} ({found})" for path, found in refused[:NAMED])
    more = f" and {len(refused) - NAMED:,} more" if len(refused) > NAMED else ""
    advice = "name text alone, or take the bytes as they are with data.binary=True"
    if any(found.startswith("UTF-") for _, found in refused):
        advice = f"convert UTF-16 and UTF-32 to UTF-8, as `iconv -f UTF-16 -t UTF-8` does; {advice}"
    if count == 1:
        return f"{name} is no text but {refused[0][1]}: {advice}."
    verb = "is" if len(refused) == 1 else "are"
    return f"{len(refused):,} of the {count:,} files of {name} {verb} no text: {named}{more}. Please {advice}."


def unpack(path: Path, kind: str) -> Iterator[bytes]:
    """Yield the unpacked bytes of a file, about CHUNK_BYTES at a time, of all its parts one after another.

    `kind` says how it is compressed, empty if it is not. Raises UserError if the file cannot be read, ends early or is
    damaged.
    """
    if not kind:
        yield from chunks(path)
        return
    stream = UNPACKERS[kind](path)
    while True:
        try:
            chunk = next(stream, b"")
        except EOFError:
            raise UserError(
                f"{path} ends in the middle of its {kind} data: get a whole copy, or leave it out."
            ) from None
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the data
                raise UserError(f"{path} could not be read ({error.strerror}).") from error
            raise UserError(
                f"{path} cannot be unpacked, its {kind} data are damaged ({error}): get a sound copy, or leave it out."
            ) from None
        if not chunk:
            return
        yield chunk


def read_with(open_file: Callable[[Path], BufferedIOBase]) -> Callable[[Path], Iterator[bytes]]:
    """Return a function that yields the unpacked bytes of a path which `open_file` opens."""

    def read(path: Path) -> Iterator[bytes]:
        with open_file(path) as file:
            yield from iter(lambda: file.read(CHUNK_BYTES), b"")

    return read


def read_zstd(path: Path) -> Iterator[bytes]:
    """Yield the unpacked bytes of a zstd file. Raises EOFError where it ends early, which zstandard's reader does not.

    Input is fed in small pieces, since nothing else bounds what one piece becomes.
    """
    with path.open("rb") as file:
        stream: Any = None
        ready: list[bytes] = []
        while piece := file.read(1 << 12):
            while piece:
                if stream is None or stream.eof:
                    stream = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
                ready.append(stream.decompress(piece))
                piece = stream.unused_data if stream.eof else b""
            if sum(map(len, ready)) >= CHUNK_BYTES:
                yield b"".join(ready)
                ready = []
        if any(ready):
            yield b"".join(ready)
        if not stream.eof:
            raise EOFError


UNPACKERS: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "gzip": read_with(gzip.GzipFile),
    "xz": read_with(lzma.LZMAFile),
    "bzip2": read_with(bz2.BZ2File),
    "zstd": read_zstd,
}
