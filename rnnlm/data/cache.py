"""Keep texts in the cache that are made once, and tell and clean what the cache holds."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnlm.files import cache_dir, file_digest, write_cached, writing, writing_cache

CONTENTS = {
    "corpora": "downloaded texts",
    "joined": "texts of several files",
    "unpacked": "texts of compressed files",
    "shuffled": "reordered texts",
    "char": "texts as characters",
    "compiled": "compiled programs",
}
"""What each folder of the cache holds."""

KEPT = ("corpora",)
"""Folders that cleaning keeps, since only a download brings their files back."""

PART_SECONDS = 3600
"""Age from which a file that was being written is taken for left over."""


@dataclass(frozen=True)
class CachedText:
    """Hold a text that was made: its path, digest, and the byte offsets at which its files end."""

    path: Path
    sha256: str
    file_ends: list[int]


def text_path(folder: str, sha256: str) -> Path:
    """Return the cache's path of a text that was made."""
    return cache_dir() / folder / f"{sha256}.txt"


def make_once(folder: str, recipe: object, make: Callable[[list[int]], Iterator[bytes]]) -> CachedText:
    """Make a text and write it into a folder of the cache, unless it was made by the same recipe before.

    `make` yields the text and appends to its argument where files end. The recipe, which JSON can hold, says all that
    the text depends on. Raises UserError and WriteError.
    """
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    index = cache_dir() / folder / f"{key}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # what is not there or damaged is made again
        saved = json.loads(index.read_text())
        made = CachedText(text_path(folder, saved["sha256"]), saved["sha256"], saved["file_ends"])
        if made.path.exists() and file_digest(made.path, "sha256") == made.sha256:
            return made
    digest = hashlib.sha256()
    file_ends: list[int] = []

    def hashed() -> Iterator[bytes]:
        for chunk in make(file_ends):
            digest.update(chunk)
            yield chunk

    part = index.with_suffix(f".{os.getpid()}.part")
    try:
        write_cached(part, hashed())
        made = CachedText(text_path(folder, digest.hexdigest()), digest.hexdigest(), file_ends)
        with writing_cache(), writing(made.path):
            part.replace(made.path)
    finally:
        part.unlink(missing_ok=True)
    write_cached(index, [json.dumps({"sha256": made.sha256, "file_ends": file_ends}).encode()])
    return made


def describe_cache() -> list[dict[str, Any]]:
    """Return a row for each folder of the cache: its name, what it holds, its path, files and bytes."""
    return [describe_folder(name, list_files(name)) for name in CONTENTS]


def describe_folder(name: str, files: dict[Path, os.stat_result]) -> dict[str, Any]:
    """Return the row of a folder of the cache with these files in it."""
    size = sum(stat.st_size for stat in files.values())
    path = str(cache_dir() / name)
    return {"name": name, "about": CONTENTS[name], "path": path, "files": len(files), "bytes": size}


def clean_cache() -> list[dict[str, Any]]:
    """Remove from the cache what can be made again, which is all but downloaded texts.

    Returns a row for each folder: its name, what it holds, its path, the files and bytes that it had, and the bytes
    `freed`. Raises WriteError where a file cannot be removed.
    """
    rows = []
    for name in CONTENTS:
        files, freed = list_files(name), 0
        for path, stat in files.items():
            if is_removable(name, path, stat):
                with writing(path):
                    path.unlink(missing_ok=True)
                freed += stat.st_size
        rows.append(describe_folder(name, files) | {"freed": freed})
    return rows


def is_removable(folder: str, path: Path, stat: os.stat_result) -> bool:
    """Return whether cleaning removes a file: what can be made again, and what was left half written."""
    if path.suffix == ".part":
        return time.time() - stat.st_mtime > PART_SECONDS
    return folder not in KEPT


def list_files(name: str) -> dict[Path, os.stat_result]:
    """List the files in a folder of the cache; links are not followed."""
    found = {}
    for folder, _, names in os.walk(cache_dir() / name):
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # another process has removed it
                found[path] = path.lstat()
    return found
