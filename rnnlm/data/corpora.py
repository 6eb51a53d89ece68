"""Corpora: published texts by name and own files, found on this machine or downloaded, and checked by digest."""

import hashlib
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rnnlm.config import DataConfig
from rnnlm.data.cache import CachedText, make_once
from rnnlm.data.columns import Columns, parse_columns
from rnnlm.data.formats import check_files, refuse_foreign, unpack
from rnnlm.data.patterns import list_files, make_absolute
from rnnlm.data.published import SOURCES, fetch, find_local, verify
from rnnlm.data.shuffle import join_pieces, separator_bytes, shuffle_text
from rnnlm.data.text import chunks, memory_map
from rnnlm.errors import UserError
from rnnlm.files import file_digest, reading

NAMES = (*SOURCES, "stdlib")
DEFAULT = "stdlib"
"""The corpus of a config that names no text."""


@dataclass(frozen=True)
class Origin:
    """Tell of which files a text was made if it is not simply these joined, and how.

    `size` and `sha256` are of the files as they lie on the disk, joined; `path` is that of one file, or of the text
    of several. `unpacked` counts those that were compressed. `text_sha256` is of the text before it was shuffled or
    put into columns, as `shuffle` says.
    """

    path: str
    files: int
    size: int
    sha256: str
    unpacked: int = 0
    text_sha256: str = ""
    shuffle: str = "none"
    separator: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Corpus:
    """Hold the path, size in bytes and digest of a text in one file on this machine.

    `file_ends` are the byte offsets at which its files end, where they are known; none for records in random order.
    """

    name: str
    path: Path
    size: int
    sha256: str
    origin: Origin | None = None
    file_ends: tuple[int, ...] = field(default=(), compare=False, repr=False)


def resolve(config: DataConfig) -> DataConfig:
    """Make the patterns of `data.files` absolute and name the corpus, so that a saved config stays valid elsewhere."""
    if config.files:
        return replace(config, files=make_absolute(config.files))
    return replace(config, corpus=config.corpus or DEFAULT)


def open_corpus(config: DataConfig) -> Corpus:
    """Open the text of a config, downloaded, unpacked and put into its order. Raises UserError if it cannot be had."""
    whole = from_files(config.files, config.binary) if config.files else by_name(config.corpus or DEFAULT)
    return reorder(whole, config)


def reorder(whole: Corpus, config: DataConfig) -> Corpus:
    """Shuffle a text or put it into columns, where the config says so. Raises UserError and WriteError."""
    if columns := parse_columns(config.split):
        return put_into_columns(whole, columns)
    return whole if config.shuffle == "none" else shuffle(whole, config)


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


def from_files(files: str, binary: bool = False) -> Corpus:
    """Open own files as a corpus: paths of files, folders or globs, separated by commas and joined in that order.

    Compressed files are unpacked, unless `binary` takes all as they are. Raises UserError if a pattern matches no file,
    or if a file is no text, is damaged or cannot be read.
    """
    found = list_files(files)
    name = files if len(files) <= 60 else f"...{files[-57:]}"
    return open_packed(name, found, [""] * len(found) if binary else check_files(found, name))


def read_file(path: Path, binary: bool) -> bytes:
    """Read one file whole, unpacked if it is compressed, unless `binary` takes it as it is.

    Raises UserError if it is no text, is damaged or cannot be read.
    """
    kind = "" if binary else check_files([path], str(path))[0]
    if kind:
        refuse_foreign([path], [kind], str(path))
    return b"".join(unpack(path, kind))


def open_packed(name: str, files: list[Path], kinds: Sequence[str]) -> Corpus:
    """Open files joined, those unpacked that are compressed, which is written once into the cache.

    `kinds` says how each is compressed, empty if it is not. Raises UserError, also for what is no text once unpacked,
    and WriteError.
    """
    if not any(kinds):
        return open_files(name, files)
    sizes, sha256 = file_sizes(files), files_digest(files)
    made = join_files(name, files, kinds, sizes, sha256)
    path = str(files[0] if len(files) == 1 else made.path)
    origin = Origin(path, len(files), sum(sizes), sha256, sum(map(bool, kinds)), made.sha256)
    corpus = open_file(name, made.path, made.sha256)
    return replace(corpus, origin=origin, file_ends=tuple(made.file_ends))


def shuffle(whole: Corpus, config: DataConfig) -> Corpus:
    """Bring the files or records of a text into the random order of a config, which is written once into the cache.

    Raises UserError if there are fewer than two, and WriteError.
    """
    separator, by, seed = separator_bytes(config), config.shuffle, config.shuffle_seed
    if by == "files" and len(whole.file_ends) < 2:
        raise UserError(
            f"data.shuffle=files has nothing to shuffle: {whole.name} is one file. Shuffle its records by "
            "data.shuffle=records and data.separator, or name several files."
        )
    recipe = ["shuffled", whole.sha256, whole.file_ends, by, separator.hex(), seed]

    def make(file_ends: list[int]) -> Iterator[bytes]:
        yield from join_pieces(shuffle_text(whole.path, whole.file_ends, by, separator, seed, file_ends))
        refuse_changed(whole.name, file_digest(whole.path, "sha256"), whole.sha256)

    made = make_once("shuffled", recipe, make)
    origin = whole.origin or Origin(str(whole.path), len(whole.file_ends), whole.size, whole.sha256)
    origin = replace(origin, text_sha256=whole.sha256, shuffle=by, separator=config.separator, seed=seed)
    return replace(open_file(whole.name, made.path, made.sha256), origin=origin, file_ends=tuple(made.file_ends))


def put_into_columns(whole: Corpus, columns: Columns) -> Corpus:
    """Bring a text into the order of char-rnn's loader, which is written once into the cache.

    Raises UserError if it is too short, and WriteError.
    """
    pieces = list(columns.pieces(whole.size, whole.name))

    def make(file_ends: list[int]) -> Iterator[bytes]:
        data = memory_map(whole.path, np.uint8).data
        yield from join_pieces(data[begin:end] for begin, end in pieces)
        refuse_changed(whole.name, file_digest(whole.path, "sha256"), whole.sha256)

    made = make_once("shuffled", ["columns", whole.sha256, pieces], make)
    origin = whole.origin or Origin(str(whole.path), len(whole.file_ends), whole.size, whole.sha256)
    origin = replace(origin, text_sha256=whole.sha256, shuffle="columns")
    return replace(open_file(whole.name, made.path, made.sha256), origin=origin)


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
        raise UserError(f"{name} is empty: give a file with text in it.")
    return Corpus(name, path.absolute(), size, sha256, file_ends=(size,))


def concatenate(name: str, files: list[Path], sha256: str = "") -> Corpus:
    """Join files to one text, which is written once into the cache. Raises UserError and WriteError.

    `sha256` is the digest of the joined text, if that is known.
    """
    sizes, sha256 = file_sizes(files), sha256 or files_digest(files)
    joined = join_files(name, files, [""] * len(files), sizes, sha256)
    return replace(open_file(name, joined.path, sha256), file_ends=tuple(joined.file_ends))


def join_files(name: str, files: Sequence[Path], kinds: Sequence[str], sizes: Sequence[int], sha256: str) -> CachedText:
    """Join files, unpacked by their `kinds` of compression, to one text, which is written once into the cache.

    `sizes` and `sha256` are of the files as they lie on the disk. Raises UserError if what was unpacked is no text, or
    if the files change while they are read, and WriteError.
    """
    folder = "unpacked" if any(kinds) else "joined"

    def make(file_ends: list[int]) -> Iterator[bytes]:
        if any(kinds):
            refuse_foreign(files, kinds, name)
        size = 0
        for path, kind in zip(files, kinds, strict=True):
            for chunk in unpack(path, kind):
                size += len(chunk)
                yield chunk
            file_ends.append(size)
        refuse_changed(name, files_digest(files), sha256)

    return make_once(folder, [folder, sha256, sizes], make)


def refuse_changed(name: str, now: str, before: str) -> None:
    """Raise UserError if files had another digest when they were read again."""
    if now != before:
        raise UserError(f"The files of {name} changed while they were read: run the command again.")


def file_sizes(files: Sequence[Path]) -> list[int]:
    """Return the bytes of each file. Raises UserError if one is gone."""
    sizes = []
    for path in files:
        with reading(path):
            sizes.append(path.stat().st_size)
    return sizes


def files_digest(files: Sequence[Path]) -> str:
    """Return the sha256 of files joined end to end. Raises UserError if one cannot be read."""
    digest = hashlib.sha256()
    for file in files:
        for chunk in chunks(file):
            digest.update(chunk)
    return digest.hexdigest()
