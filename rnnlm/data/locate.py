"""Find the text of a run by its size and digest, wherever it lies now."""

import contextlib
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnlm.config import DataConfig
from rnnlm.data.corpora import (
    NAMES,
    Corpus,
    any_match,
    by_name,
    files_digest,
    from_files,
    joined_path,
    matches,
    open_files,
    patterns,
)
from rnnlm.data.published import search_dirs
from rnnlm.errors import UserError


def find_corpus(config: DataConfig, known: Corpus, near: Sequence[Path] = (), data: str = "") -> Corpus:
    """Find the text that has the size and digest of `known`.

    If `data` (a file, folder or glob) is given, only it is looked at. Else these are, in order: data.files and the path
    of `known` as they are, both under each of the folders `near`, the file's name in the folders of published texts,
    the cache, and the corpus by its name. Raises UserError if the text is not found or is another one.
    """
    if data:
        return open_given(known, data)
    tried: set[tuple[Path, ...]] = set()
    for names in candidates(config, known, near):
        files = files_of_size(names, known.size)
        key = tuple(path.resolve() for path in files)
        if files and key not in tried and has_digest(files, known.sha256):
            return open_files(known.name, files, known.sha256)
        tried.add(key)
    if not config.files and config.corpus in NAMES:
        corpus = by_name(config.corpus)
    elif any_match(config.files):
        corpus = from_files(config.files)
    else:
        raise UserError(
            f"The run's text {known.name} ({known.size:,} bytes, sha256 {known.sha256}) is no longer at {known.path}, "
            "nor near the run folder: say where it is with --data=PATH."
        )
    if corpus.sha256 != known.sha256:
        raise UserError(
            f"{corpus.name} has changed since the run began: the sha256 of {corpus.path} was {known.sha256} and is "
            f"{corpus.sha256}. Put the old text back, say where it is with --data=PATH, or train in a new folder."
        )
    return corpus


def open_given(known: Corpus, data: str) -> Corpus:
    """Open the text that --data names. Raises UserError if it does not have the digest of `known`."""
    files = [path for pattern in patterns(data) for path in sorted(matches(pattern))]
    if not files:
        raise UserError(f"--data={data} names no file: give the file, folder or glob of the run's text.")
    sha256 = files_digest(files)
    if sha256 != known.sha256:
        raise UserError(
            f"{data} is another text than the run's: its sha256 is {sha256}, but that of {known.name} is "
            f"{known.sha256}."
        )
    return open_files(known.name, files, known.sha256)


def files_of_size(names: Sequence[str], size: int) -> list[Path]:
    """Return the files of some patterns in order if their sizes add up to `size` bytes, else an empty list."""
    files: list[Path] = []
    total = 0
    with contextlib.suppress(OSError):  # what cannot be listed does not match
        for pattern in names:
            found = []
            for path in matches(pattern):
                total += path.stat().st_size
                if total > size:
                    return []
                found.append(path)
            files += sorted(found)
    return files if total == size else []


def has_digest(files: list[Path], sha256: str) -> bool:
    """Return whether files can be read and have a digest, joined."""
    try:
        return files_digest(files) == sha256
    except UserError:
        return False


def candidates(config: DataConfig, known: Corpus, near: Sequence[Path]) -> Iterator[list[str]]:
    """Yield the patterns of each place where a text may lie, the likeliest first."""
    named = [patterns(config.files), [str(known.path)]] if config.files else [[str(known.path)]]
    yield from named
    for folder in near:
        for names in named:
            yield from relocate(folder, names)
    for folder in search_dirs():
        yield [str(folder / known.path.name)]
    yield [str(joined_path(known.sha256))]


def relocate(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the patterns with their last parts under another folder: first all parts, at last the file name alone.

    A glob that begins with a wildcard and holds `**` is left out, so that no whole disk is walked.
    """
    parts = [[part for part in Path(name).expanduser().parts if part != Path(name).anchor] for name in names]
    for length in range(max(map(len, parts)), 0, -1):
        tails = [tail[-length:] for tail in parts]
        if not any("**" in tail and glob.has_magic(tail[0]) for tail in tails):
            yield [str(folder.joinpath(*tail)) for tail in tails]
