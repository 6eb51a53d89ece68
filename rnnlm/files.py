"""Files written whole or not at all."""

import os
from collections.abc import Iterable
from pathlib import Path

from rnnlm.errors import UserError


def store(path: Path, chunks: Iterable[bytes]) -> None:
    """Write to a part file beside the path, and move it into place at once. Raises OSError, leaving nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            for chunk in chunks:
                out.write(chunk)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
