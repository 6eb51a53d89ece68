"""Find the text of a run by its size and digest, wherever it lies now."""

import contextlib
import glob
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rnnlm.config import DataConfig
from rnnlm.data.cache import text_path
from rnnlm.data.corpora import (
    DEFAULT,
    NAMES,
    Corpus,
    Origin,
    files_digest,
    open_corpus,
    open_files,
    open_packed,
    reorder,
)
from rnnlm.data.formats import detect_compressions
from rnnlm.data.patterns import any_match, find_matches, split_patterns
from rnnlm.data.published import search_dirs
from rnnlm.errors import UserError
from rnnlm.files import reading


def find_corpus(config: DataConfig, known: Corpus, near: Sequence[Path] = (), data: str = "") -> Corpus:
    """Find the text that has the size and digest of `known`, or the files of which it was made.

    If `data` (a file, folder or glob) is given, only it is looked at. Else these are, in order: data.files and the path
    of `known` as they are, both under each of the folders `near`, the file's name in the folders of published texts,
    the cache, and the corpus by its name. A text that was unpacked or shuffled is looked for in the cache first, then
    its files are, by their own size and digest, and it is made of them again. Raises UserError if the text is not found
    or is another one.
    """
    if data:
        return open_given(config, known, data)
    tried: set[tuple[Path, ...]] = set()
    for names in candidates(config, known, near):
        files = files_of_size(names, {known.size, known.origin.size if known.origin else known.size})
        key = tuple(path.resolve() for path in files)
        if files and key not in tried:
            found = open_known(config, known, files)
            if found:
                return found
        tried.add(key)
    if (not config.files and (config.corpus or DEFAULT) in NAMES) or any_match(config.files):
        corpus = open_corpus(replace(config, shuffle_seed=known.origin.seed if known.origin else 0))
    else:
        where = config.files or original_path(known)
        gone = "is another one now" if Path(where).is_file() else "is no longer there"
        raise UserError(
            f"The run's text {known.name} ({known.size:,} bytes, sha256 {known.sha256}) was {where}, which {gone}, and "
            "is not near the run folder: say where it is with --data=PATH."
        )
    if corpus.sha256 != known.sha256:
        what = "its text" if corpus.origin else str(corpus.path)
        raise UserError(
            f"{corpus.name} has changed since the run began: the sha256 of {what} was {known.sha256} and is "
            f"{corpus.sha256}. Put the old text back, say where it is with --data=PATH, or train in a new folder."
        )
    return corpus


def original_path(known: Corpus) -> str:
    """Return where a text was, or the file of which it was made."""
    return known.origin.path if known.origin else str(known.path)


def open_known(config: DataConfig, known: Corpus, files: list[Path]) -> Corpus | None:
    """Open files that are the text `known`, or those of which it was made; None if they are neither."""
    origin = known.origin
    try:
        sha256 = files_digest(files)
        if sha256 == known.sha256:
            return replace(open_files(known.name, files, sha256), origin=origin)
        made = remake(config, known.name, origin, files) if origin and sha256 == origin.sha256 else None
    except UserError:  # what cannot be read does not match
        return None
    return made if made and made.sha256 == known.sha256 else None


def remake(config: DataConfig, name: str, origin: Origin | None, files: list[Path]) -> Corpus:
    """Unpack files that are compressed, and shuffle their text as that of a run was. Raises UserError."""
    whole = open_packed(
        name, files, detect_compressions(files) if origin is None or origin.unpacked else [""] * len(files)
    )
    if origin is None or origin.shuffle == "none":
        return whole
    if origin.shuffle == "columns":
        return reorder(whole, config)
    return reorder(whole, replace(config, shuffle=origin.shuffle, shuffle_seed=origin.seed, separator=origin.separator))


def open_given(config: DataConfig, known: Corpus, data: str) -> Corpus:
    """Open the text that --data names, unpacked and shuffled as that of the run was.

    Raises UserError if it does not have the digest of `known`.
    """
    files = list_given(data)
    sha256 = files_digest(files)
    if sha256 == known.sha256:
        return replace(open_files(known.name, files, sha256), origin=known.origin)
    origin = known.origin
    if any(detect_compressions(files)) or (origin and origin.shuffle != "none"):
        corpus = remake(config, known.name, origin and replace(origin, unpacked=1), files)
        if corpus.sha256 == known.sha256:
            return corpus
        sha256 = corpus.sha256
    raise UserError(
        f"{data} is another text than the run's: its sha256 is {sha256}, but that of {known.name} is {known.sha256}."
    )


def list_given(data: str) -> list[Path]:
    """List the files that --data names. Raises UserError if there are none."""
    files: list[Path] = []
    for pattern in split_patterns(data):
        with reading(Path(pattern)):
            files += sorted(find_matches(pattern))
    if not files:
        raise UserError(f"--data={data} names no file: give the file, folder or glob of the run's text.")
    return files


def files_of_size(names: Sequence[str], sizes: set[int]) -> list[Path]:
    """Return the files of some patterns in order if their bytes add up to one of `sizes`, else an empty list."""
    files: list[Path] = []
    total = 0
    with contextlib.suppress(OSError):  # what cannot be listed does not match
        for pattern in names:
            found = []
            for path in find_matches(pattern):
                total += path.stat().st_size
                if total > max(sizes):
                    return []
                found.append(path)
            files += sorted(found)
    return files if total in sizes else []


def candidates(config: DataConfig, known: Corpus, near: Sequence[Path]) -> Iterator[list[str]]:
    """Yield the patterns of each place where a text may lie, the likeliest first."""
    if known.origin:  # the text itself, before the files of which it would have to be made
        yield from ([str(known.path)], [str(text_path(known.path.parent.name, known.sha256))])
    source = [original_path(known)]
    named = [split_patterns(config.files), source] if config.files else [source]
    yield from named
    for folder in near:
        for names in named:
            yield from relocate(folder, names)
    for folder in search_dirs():
        yield [str(folder / Path(original_path(known)).name)]
    yield [str(text_path("joined", known.sha256))]


def relocate(folder: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the patterns with their last parts under another folder: first all parts, at last the file name alone.

    A glob that begins with a wildcard and holds `**` is left out, so that no whole disk is walked.
    """
    parts = [[part for part in Path(name).expanduser().parts if part != Path(name).anchor] for name in names]
    for length in range(max(map(len, parts)), 0, -1):
        tails = [tail[-length:] for tail in parts]
        if not any("**" in tail and glob.has_magic(tail[0]) for tail in tails):
            yield [str(folder.joinpath(*tail)) for tail in tails]
