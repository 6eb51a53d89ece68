"""Corpora: published texts by name and own files, found on this machine or downloaded, and checked by digest."""

import glob
import hashlib
import os
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnlm.config import DataConfig
from rnnlm.data.published import SOURCES, fetch, file_digest, find_local, verify
from rnnlm.data.text import chunks
from rnnlm.errors import UserError
from rnnlm.files import cache_dir, reading, write_cached

NAMES = (*SOURCES, "stdlib")


@dataclass(frozen=True)
class Corpus:
    """Hold the path, size in bytes and digest of a text in one file on this machine."""

    name: str
    path: Path
    size: int
    sha256: str


def open_corpus(config: DataConfig) -> Corpus:
    """Find the corpus of a config, downloaded if need be. Raises UserError if it cannot be had."""
    if config.files:
        return from_files(config.files)
    return by_name(config.corpus)


def by_name(name: str) -> Corpus:
    """Find a corpus by its name on this machine, or download it. Raises UserError if it cannot be had or is damaged."""
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
    return open_file(name, path, digest if algorithm == "sha256" else "")


def absolute(files: str) -> str:
    """Make the patterns of `data.files` absolute, so that they stay valid in another working directory."""
    return ",".join(os.path.abspath(Path(pattern).expanduser()) for pattern in patterns(files))


def patterns(files: str) -> list[str]:
    """Split the value of `data.files` at its commas. Raises UserError for an empty name."""
    found = [pattern.strip() for pattern in files.split(",")] if files else []
    if not all(found):
        raise UserError(f"data.files={files!r} has an empty name in it: separate the names with single commas.")
    return found


def matches(pattern: str) -> Iterator[Path]:
    """Yield the files of one pattern, unsorted: a file, a folder (all files below it) or a glob. Raises OSError."""
    path = Path(pattern).expanduser()
    found: Iterable[Path] = [path]
    if path.is_dir():
        found = path.rglob("*")
    elif not path.exists():
        found = map(Path, glob.iglob(str(path), recursive=True))
    return (p for p in found if p.is_file())


def any_match(files: str) -> bool:
    """Return whether one of the patterns in data.files names a file that is there."""
    return any(any(matches(pattern)) for pattern in patterns(files))


def from_files(files: str) -> Corpus:
    """Open own files as a corpus: paths of files, folders or globs, separated by commas and joined in that order.

    Raises UserError if a pattern matches no file.
    """
    found: list[Path] = []
    for pattern in patterns(files):
        paths = sorted(matches(pattern))
        if not paths:
            raise UserError(f"data.files names {pattern!r}, but no file is there: give a file, a folder or a glob.")
        found += paths
    name = files if len(files) <= 60 else f"...{files[-57:]}"
    return open_files(name, found)


def open_files(name: str, files: list[Path], sha256: str = "") -> Corpus:
    """Open one file as it is, or several joined, with the digest of the whole if that is known."""
    return open_file(name, files[0], sha256) if len(files) == 1 else concatenate(name, files, sha256)


def stdlib_files(root: Path) -> list[Path]:
    """Return the Python files of a standard library in sorted order, without tests and installed packages."""
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    files = (p for p in root.rglob("*.py") if not left_out & set(p.relative_to(root).parts[:-1]))
    return sorted(files, key=lambda p: p.relative_to(root).as_posix())


def open_file(name: str, path: Path, sha256: str = "") -> Corpus:
    """Open one file as a corpus, with its digest if that is known. Raises UserError if it is empty or unreadable."""
    with reading(path):
        size = path.stat().st_size
    sha256 = sha256 or file_digest(path, "sha256")
    if not size:
        raise UserError(f"{path} is empty: give a file with text in it.")
    return Corpus(name, path.absolute(), size, sha256)


def concatenate(name: str, files: list[Path], sha256: str = "") -> Corpus:
    """Join files to one text, which is written once into the cache. Raises UserError and WriteError.

    `sha256` is the digest of the joined text, if that is known.
    """
    sha256 = sha256 or files_digest(files)
    path = joined_path(sha256)
    if not path.exists() or file_digest(path, "sha256") != sha256:
        write_cached(path, (chunk for file in files for chunk in chunks(file)))
    return open_file(name, path, sha256)


def joined_path(sha256: str) -> Path:
    """Return the cache's path of a joined text."""
    return cache_dir() / "joined" / f"{sha256}.txt"


def files_digest(files: list[Path]) -> str:
    """Return the sha256 of files joined end to end. Raises UserError if one cannot be read."""
    digest = hashlib.sha256()
    for file in files:
        for chunk in chunks(file):
            digest.update(chunk)
    return digest.hexdigest()
