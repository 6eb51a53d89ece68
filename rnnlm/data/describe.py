"""Describe the corpora, and one of them or one's own files: bytes, digest, symbols, splits."""

import difflib
from pathlib import Path
from typing import Any

from rnnlm.config import DataConfig
from rnnlm.data import corpora, published, splits, text
from rnnlm.data.patterns import any_match
from rnnlm.errors import UserError

Row = dict[str, Any]


def list_corpora() -> list[Row]:
    """Return a row for each corpus: its name, bytes, and the path of it or the URL, None where there is none."""
    rows: list[Row] = []
    for name, source in published.SOURCES.items():
        path = published.find_local(name)
        rows.append({"name": name, "bytes": source.size, "path": path and str(path), "url": source.url})
    return [*rows, {"name": "stdlib", "bytes": None, "path": None, "url": None}]


def describe_text(name: str | Path, binary: bool = False) -> Row:
    """Describe a corpus by its name, or one's own files: paths, folders and globs, separated by commas.

    A corpus is downloaded if need be, compressed files are unpacked unless `binary` takes all as they are. The row has
    name, path, files, unpacked (files), source_bytes (on the disk), bytes, sha256, symbols (their number by kind; char
    is None where the text is not UTF-8, and `no_char` says why) and splits (byte offsets by spec and split). Raises
    UserError if there is no such text, or where training would refuse it.
    """
    corpus = open_text(str(name), binary)
    origin = corpus.origin
    symbols: dict[str, int | None] = {"byte": 256, "byte_seen": len(text.vocabulary_of(corpus.path, "byte_seen"))}
    no_char = ""
    try:
        symbols["char"] = len(text.vocabulary_of(corpus.path, "char"))
    except UserError as error:
        symbols["char"], no_char = None, str(error)
    specs = ["graves_96_4", "std_90_5_5"] if corpus.size == 100_000_000 else []
    return {
        "name": corpus.name,
        "path": str(corpus.path),
        "files": len(corpus.file_ends),
        "unpacked": origin.unpacked if origin else 0,
        "source_bytes": origin.size if origin else corpus.size,
        "bytes": corpus.size,
        "sha256": corpus.sha256,
        "symbols": symbols,
        "no_char": no_char,
        "splits": {spec: splits.split_offsets(spec, corpus) for spec in [*specs, DataConfig.split]},
    }


def open_text(name: str, binary: bool) -> corpora.Corpus:
    """Open a corpus by its name, or one's own files. Raises UserError if it is neither, or cannot be opened."""
    if name in corpora.NAMES:
        return corpora.by_name(name)
    if not any_match(name) and not Path(name).exists():
        if set(name.split(",")) <= set(corpora.NAMES):
            raise UserError(f"Corpora are described one at a time: name one of {name.replace(',', ', ')}.")
        near = difflib.get_close_matches(name, corpora.NAMES, n=1)
        hint = (
            f"did you mean {near[0]}?" if near else f"choose one of {', '.join(corpora.NAMES)}, or name your own files."
        )
        raise UserError(f"There is no corpus {name!r} and no such file: {hint}")
    return corpora.from_files(name, binary)
