"""Read and write files: a written file is complete or absent, and survives a power loss."""

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import IO, Any

from rnnlm.errors import UserError, WriteError

NOT_SYNCABLE = {errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.EPERM}
"""Error numbers of a folder that may not be opened, or whose file system has no fsync for folders."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a UserError that says the path could not be read."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} could not be read ({error.strerror or error}).") from error


def import_file(path: str) -> Any:
    """Import a Python file, whatever its name: -> the module."""
    name = "rnnlm_imported_file"
    spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, path))
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def file_digest(path: Path, algorithm: str) -> str:
    """Return the digest of a file in hexadecimal. Raises UserError if it cannot be read."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a WriteError that says the path could not be written."""
    try:
        yield
    except BrokenPipeError:  # the reader of a pipe closed it early, which is no failure
        raise
    except OSError as error:
        raise WriteError(f"{path} could not be written ({error.strerror or error}).") from error


def write_atomic(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file by `open_atomic`.

    An iterator that reads another file wraps that in `reading`, so that a failed read is not reported as a failed
    write. Raises WriteError and leaves no temporary file.
    """
    with open_atomic(path) as out:
        out.writelines(chunks)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside the path to write to; sync it and rename it into place at the end of the block.

    A symbolic link stays one; a pipe or a device is written directly. Raises WriteError and leaves no temporary file.
    """
    with writing(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as out:
                yield out
            return
        target = path.resolve()
        make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with temporary.open("wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, and sync them to the disk. Raises OSError."""
    path = path.absolute()
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Sync the entries of a folder to the disk, if its file system supports that. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in NOT_SYNCABLE:
            raise


def sync_tree(path: Path) -> None:
    """Sync a folder, with all files and folders in it, to the disk. Raises OSError."""
    for folder, _, files in os.walk(path, onerror=raise_error):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(folder))
    sync_folder(path.parent)


def raise_error(error: OSError) -> None:
    """Raise the error: os.walk with this as `onerror` does not skip folders that it cannot list."""
    raise error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; empty if there is none. Raises ValueError if a line is no JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_line(path: Path, line: bytes) -> None:
    """Append one line to a file and sync it; an incomplete last line is ended first. Raises WriteError."""
    with writing(path), path.open("a+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def check_writable(path: Path, flag: str, *sources: Path) -> None:
    """Raise UserError if writing the path would fail or overwrite one of the sources."""
    if path.is_dir():
        raise UserError(f"{flag}={path} is a folder: name a file.")
    if any(path.exists() and source.exists() and path.samefile(source) for source in sources):
        raise UserError(f"{flag}={path} is the very file that is read: name another one.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{flag}={path} cannot be written: there is no folder {path.parent}.")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise UserError(f"{flag}={path} cannot be written: you have no right to.")


def check_absent(path: Path, flag: str, force: bool) -> None:
    """Raise UserError if a file has the path, unless it may be replaced; pipes and devices are written to."""
    if path.is_file() and not force:
        raise UserError(f"{path} exists, and is kept: give --force to replace it, or name another file ({flag}).")


def cache_dir() -> Path:
    """Return the user's cache folder for rnnlm."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnlm"


def write_cached(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file of the cache as `write_atomic` does. Raises WriteError that says how to move the cache."""
    with writing_cache():
        write_atomic(path, chunks)


@contextlib.contextmanager
def writing_cache() -> Iterator[None]:
    """Add to a WriteError of the block how to move the cache."""
    try:
        yield
    except WriteError as error:
        raise WriteError(f"{error} Make room, or name another cache than {cache_dir()} in XDG_CACHE_HOME.") from None
