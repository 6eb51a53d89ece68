"""Find the files that patterns name: files, folders and globs, separated by commas."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from rnnlm.errors import UserError
from rnnlm.files import raise_error, reading


def make_absolute(files: str) -> str:
    """Make the patterns of `data.files` absolute, so that they stay valid in another working directory."""
    return ",".join(os.path.abspath(Path(pattern).expanduser()) for pattern in split_patterns(files))


def split_patterns(files: str) -> list[str]:
    """Split the value of `data.files` at its commas. Raises UserError for an empty name."""
    found = [pattern.strip() for pattern in files.split(",")] if files else []
    if not all(found):
        raise UserError(f"data.files={files!r} has an empty name in it: separate the names with single commas.")
    return found


def list_files(files: str) -> list[Path]:
    """List the files of all patterns in data.files in order, those of one pattern sorted.

    Raises UserError if a pattern names no file, or if a folder cannot be listed.
    """
    found: list[Path] = []
    for pattern in split_patterns(files):
        try:
            paths = sorted(find_matches(pattern))
        except OSError as error:
            raise UserError(f"{error.filename or pattern} could not be read ({error.strerror or error}).") from error
        if not paths:
            raise UserError(f"data.files names {pattern!r}, but no file is there: give a file, a folder or a glob.")
        found += paths
    return found


def any_match(files: str) -> bool:
    """Return whether one of the patterns in data.files names a file. Raises UserError if a folder cannot be listed."""
    with reading(Path(files)):
        return any(any(find_matches(pattern)) for pattern in split_patterns(files))


def find_matches(pattern: str) -> Iterator[Path]:
    """Yield the files of one pattern, unsorted: a file, a folder (all files below it) or a glob. Raises OSError."""
    path = Path(pattern).expanduser()
    found: Iterable[Path] = [path]
    if path.is_dir():
        found = (Path(folder, name) for folder, _, names in os.walk(path, onerror=raise_error) for name in names)
    elif not path.exists():
        found = map(Path, dict.fromkeys(expand(str(path))))
    return (p for p in found if p.is_file())


def expand(pattern: str) -> Iterator[str]:
    """Yield the paths of a glob as `glob.iglob` does, but walk no folder again that a symbolic link leads back to."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index("**")
    rest = parts[at + 1 :] or ("*",)
    for top in filter(os.path.isdir, glob.iglob(str(Path(*parts[:at]))) if at else ["."]):
        for folder in walk(top):
            yield from expand(str(Path(glob.escape(folder), *rest)))


def walk(top: str) -> Iterator[str]:
    """Yield a folder and all below it but for hidden ones and links to a folder on the way to them. Raises OSError."""
    for folder, names, _ in os.walk(top, onerror=raise_error, followlinks=True):
        yield folder
        visible = (name for name in names if not name.startswith("."))
        names[:] = [name for name in visible if not leads_back(top, os.path.join(folder, name))]


def leads_back(top: str, folder: str) -> bool:
    """Return whether a folder below `top` is a link to one of the folders on the way to it."""
    if not os.path.islink(folder):
        return False
    ancestors = Path(folder).relative_to(top).parents
    return os.path.realpath(folder) in {os.path.realpath(Path(top, part)) for part in ancestors}
