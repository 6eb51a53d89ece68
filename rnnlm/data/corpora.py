"""Where text comes from: names, files, folders and globs; found, fetched and checked."""

import contextlib
import glob
import hashlib
import http.client
import os
import sysconfig
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rnnlm.config import DataConfig
from rnnlm.data.text import CHUNK, chunks
from rnnlm.errors import UserError
from rnnlm.files import cache_dir, make_folder, reading, write_cached, writing, writing_cache


@dataclass(frozen=True)
class Source:
    """A published text. `digest` is of the text itself, as "algorithm:hex"; `member` names it in a zip archive."""

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
NAMES = (*SOURCES, "stdlib")


@dataclass(frozen=True)
class Corpus:
    """One text on this machine, as one file."""

    name: str
    path: Path
    size: int
    sha256: str


def open_corpus(config: DataConfig) -> Corpus:
    """The corpus that the config names, fetched if need be. Raises UserError where there is none to be had."""
    if config.files:
        return from_files(config.files)
    return by_name(config.corpus)


def by_name(name: str) -> Corpus:
    """A corpus by name: on this machine, or downloaded."""
    if name == "stdlib":
        return concatenate(name, stdlib_files(Path(sysconfig.get_path("stdlib"))))
    if name not in SOURCES:
        raise UserError(f"There is no corpus {name!r}: choose one of {', '.join(NAMES)}, or give data.files.")
    path = find_local(name)
    if path is None:
        path = fetch(name)
    else:
        verify(path, SOURCES[name], str(path), "remove it, or name another corpus")
    algorithm, digest = SOURCES[name].digest.split(":")
    return whole_file(name, path, digest if algorithm == "sha256" else "")


def find_local(name: str) -> Path | None:
    """Where a published text lies on this machine; None if nowhere."""
    found = (folder / SOURCES[name].file for folder in search_dirs())
    return next((path for path in found if path.is_file()), None)


def search_dirs() -> list[Path]:
    """The folders that are looked through for published texts, in order."""
    given = os.environ.get("RNNLM_DATA_DIR")
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return [*([Path(given)] if given else []), beside, cache_dir() / "corpora"]


def fetch(name: str) -> Path:
    """Download a published text into the cache: to a part file, checked, then moved into place at once."""
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
    """Stream a URL to a file of at most that size."""
    with urllib.request.urlopen(url, timeout=30) as response:
        copy(response, path, size)


def unzip(archive: Path, member: str, path: Path, size: int) -> None:
    """Read one named member of a zip archive, with a cap on its size; nothing else is unpacked."""
    try:
        with zipfile.ZipFile(archive) as folder, folder.open(member) as data:
            copy(data, path, size)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, RuntimeError) as error:
        raise UserError(
            f"What was downloaded is not a sound zip archive with a member {member} ({error}): try again later."
        ) from None


def copy(source: IO[bytes], path: Path, size: int) -> None:
    """Write a stream to a file, one byte more than `size` at most, so that a text too long shows. Raises WriteError."""
    left = size + 1
    with writing(path):
        path.write_bytes(b"")
    while left > 0 and (chunk := source.read(min(CHUNK, left))):
        with writing(path), path.open("ab") as out:
            out.write(chunk)
        left -= len(chunk)


def verify(path: Path, source: Source, what: str, advice: str) -> None:
    """Raises UserError unless the file is the published text to the last bit."""
    size = path.stat().st_size
    if size != source.size:
        more = " or more" if size > source.size else ""
        raise UserError(f"{what} should have {source.size:,} bytes but has {size:,}{more}: {advice}.")
    algorithm, expected = source.digest.split(":")
    found = file_digest(path, algorithm)
    if found != expected:
        raise UserError(f"{what} has the {algorithm} {found}, but the published text has {expected}: {advice}.")


def absolute(files: str) -> str:
    """The same files whatever the working directory is later."""
    return ",".join(os.path.abspath(Path(pattern).expanduser()) for pattern in patterns(files))


def patterns(files: str) -> list[str]:
    found = [pattern.strip() for pattern in files.split(",")] if files else []
    if not all(found):
        raise UserError(f"data.files={files!r} has an empty name in it: separate the names with single commas.")
    return found


def from_files(files: str) -> Corpus:
    """A corpus of one's own: paths of files, folders (all files below, in order of name) or globs, comma-separated."""
    found: list[Path] = []
    for pattern in patterns(files):
        path = Path(pattern).expanduser()
        if path.is_dir():
            matches = sorted(path.rglob("*"))
        else:
            matches = [path] if path.exists() else sorted(Path(p) for p in glob.glob(str(path), recursive=True))
        matches = [p for p in matches if p.is_file()]
        if not matches:
            raise UserError(f"data.files names {pattern!r}, but no file is there: give a file, a folder or a glob.")
        found += matches
    name = files if len(files) <= 60 else f"...{files[-57:]}"
    return whole_file(name, found[0]) if len(found) == 1 else concatenate(name, found)


def stdlib_files(root: Path) -> list[Path]:
    """The interpreter's own source code in sorted order, tests and installed packages left out."""
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    files = (p for p in root.rglob("*.py") if not left_out & set(p.relative_to(root).parts[:-1]))
    return sorted(files, key=lambda p: p.relative_to(root).as_posix())


def whole_file(name: str, path: Path, sha256: str = "") -> Corpus:
    with reading(path):
        size = path.stat().st_size
    sha256 = sha256 or file_digest(path, "sha256")
    if not size:
        raise UserError(f"{path} is empty: give a file with text in it.")
    return Corpus(name, path.absolute(), size, sha256)


def concatenate(name: str, files: list[Path]) -> Corpus:
    """Several files as one text, end to end, written once into the cache under its digest."""
    digest = hashlib.sha256()
    for file in files:
        for chunk in chunks(file):
            digest.update(chunk)
    sha256 = digest.hexdigest()
    path = cache_dir() / "joined" / f"{sha256}.txt"
    if not path.exists() or file_digest(path, "sha256") != sha256:
        write_cached(path, (chunk for file in files for chunk in chunks(file)))
    return whole_file(name, path, sha256)


def file_digest(path: Path, algorithm: str) -> str:
    """Digest a file in hexadecimal. Raises UserError where it cannot be read."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
