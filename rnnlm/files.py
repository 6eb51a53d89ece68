"""Files written whole or not at all."""

import os
from collections.abc import Iterable
from pathlib import Path

from rnnlm.errors import UserError


def store(path: Path, chunks: Iterable[bytes]) -> None:
    """Write to a part file beside the path, and move it into place at once. Raises OSError, leaving nothing.

    A link stays one; a pipe or a device is written as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as out:
            out.writelines(chunks)
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            out.writelines(chunks)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: Path, flag: str, *sources: Path) -> None:
    """Raises UserError where `store` would fail on the path or destroy one of the sources; before work is begun."""
    if path.is_dir():
        raise UserError(f"{flag}={path} is a folder: name a file.")
    if any(path.exists() and source.exists() and path.samefile(source) for source in sources):
        raise UserError(f"{flag}={path} is the very file that is read: name another one.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{flag}={path} cannot be written: there is no folder {path.parent}.")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise UserError(f"{flag}={path} cannot be written: you have no right to.")


def cache() -> Path:
    """The user's cache folder for rnnlm."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnlm"


def store_in_cache(path: Path, chunks: Iterable[bytes]) -> None:
    """`store`, where a failure is the user's to mend."""
    try:
        store(path, chunks)
    except OSError as error:
        raise UserError(
            f"The cache {cache()} could not be written ({error.strerror}): make room, or name another in "
            "XDG_CACHE_HOME."
        ) from None
