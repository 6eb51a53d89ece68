"""Published texts: found on this machine or downloaded, and checked by size and digest."""

import contextlib
import http.client
import os
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rnnlm.data.text import CHUNK_BYTES
from rnnlm.errors import UserError
from rnnlm.files import cache_dir, file_digest, make_folder, writing, writing_cache


@dataclass(frozen=True)
class Source:
    """Describe a published text: `size` in bytes and `digest` ("algorithm:hex") are of the text itself.

    `member` is its name in a zip archive of `archive_size` bytes; empty if `url` is the text itself.
    """

    file: str
    url: str
    size: int
    digest: str
    member: str = ""
    archive_size: int = 0


SOURCES = {
    "enwik8": Source(
        "enwik8",
        "https://mattmahoney.net/dc/enwik8.zip",
        100_000_000,
        "sha256:2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
        "enwik8",
        36_445_475,
    ),
    "enwik9": Source(
        "enwik9",
        "https://mattmahoney.net/dc/enwik9.zip",
        1_000_000_000,
        "sha256:159b85351e5f76e60cbe32e04c677847a9ecba3adc79addab6f4c6c7aa3744bc",
        "enwik9",
        322_592_222,
    ),
    # Only an MD5 of the text itself is published.
    "text8": Source(
        "text8",
        "https://mattmahoney.net/dc/text8.zip",
        100_000_000,
        "md5:3bea1919949baf155f99411df5fada7e",
        "text8",
        31_344_016,
    ),
    "tinyshakespeare": Source(
        "tinyshakespeare.txt",
        "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
        "data/tinyshakespeare/input.txt",
        1_115_394,
        "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "warpeace": Source(
        "warpeace_input.txt",
        "https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt",
        3_258_246,
        "sha256:fb66ba999dafe24017cdd59e04c56d385a9c8466993d374fd4c6f08b2142985e",
    ),
}


def find_local(name: str) -> Path | None:
    """Return the path of a published text on this machine; None if it is not here."""
    paths = (folder / SOURCES[name].file for folder in search_dirs())
    return next((path for path in paths if path.is_file()), None)


def search_dirs() -> list[Path]:
    """Return the folders that are searched for texts, in order; two of them are relative to the working directory."""
    given, here = given_dir(), Path.cwd()
    nearby = [here / "data", here.parent / "shared" / "data"]
    return [*([given.absolute()] if given else []), *nearby, cache_dir() / "corpora"]


def given_dir() -> Path | None:
    """Return the folder that RNNLM_DATA_DIR names; None if it is not set."""
    given = os.environ.get("RNNLM_DATA_DIR")
    return Path(given) if given else None


def fetch(name: str) -> Path:
    """Download a published text into the cache, where it appears once it is whole and checked. Raises UserError."""
    source = SOURCES[name]
    target = cache_dir() / "corpora" / source.file
    part = target.with_name(f".{source.file}.{os.getpid()}.part")
    archive = target.with_name(f".{source.file}.{os.getpid()}.zip.part")
    try:
        with writing_cache(), writing(target):
            make_folder(target.parent)
        if source.member:
            with writing_cache():
                download(source.url, archive, source.archive_size)
                unzip(archive, source.member, part, source.size)
        else:
            with writing_cache():
                download(source.url, part, source.size)
        verify(part, source, f"What {source.url} sent", "try again later, or get it elsewhere and use RNNLM_DATA_DIR")
        with writing_cache(), writing(target):
            part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"Could not fetch {name} from {source.url}: {error}. "
            f"Put the file {source.file} ({source.size:,} bytes) into a folder and name that in RNNLM_DATA_DIR."
        ) from None
    finally:
        for left in (part, archive):
            with contextlib.suppress(OSError):
                left.unlink()
    return target


def download(url: str, path: Path, size: int) -> None:
    """Stream a URL to a file, one byte more than `size` at most. Raises OSError and WriteError."""
    with urllib.request.urlopen(url, timeout=30) as response:
        copy(response, path, size)


def unzip(archive: Path, member: str, path: Path, size: int) -> None:
    """Extract one member of a zip archive to a path, one byte more than `size` at most. Raises UserError."""
    try:
        with zipfile.ZipFile(archive) as folder, folder.open(member) as data:
            copy(data, path, size)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, RuntimeError) as error:
        raise UserError(
            f"What was downloaded is not a sound zip archive with a member {member} ({error}): try again later."
        ) from None


def copy(source: IO[bytes], path: Path, size: int) -> None:
    """Write a stream to a file, one byte more than `size` at most, so that excess is noticed. Raises WriteError."""
    left = size + 1
    with writing(path):
        path.write_bytes(b"")
    while left > 0 and (chunk := source.read(min(CHUNK_BYTES, left))):
        with writing(path), path.open("ab") as out:
            out.write(chunk)
        left -= len(chunk)


def verify(path: Path, source: Source, what: str, advice: str) -> None:
    """Raise UserError unless a file has the size and digest of a published text."""
    size = path.stat().st_size
    if size != source.size:
        more = " or more" if size > source.size else ""
        raise UserError(f"{what} should have {source.size:,} bytes but has {size:,}{more}: {advice}.")
    algorithm, expected = source.digest.split(":")
    digest = file_digest(path, algorithm)
    if digest != expected:
        raise UserError(f"{what} has the {algorithm} {digest}, but the published text has {expected}: {advice}.")
