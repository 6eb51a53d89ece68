"""The lock of a run folder: the process that trains there holds it, and its file says which one that is.

A process that ends in an orderly way adds when, and why if it failed; one that is killed cannot.
"""

import errno
import fcntl
import json
import os
import socket
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from rnnlm.errors import UserError
from rnnlm.files import make_folder
from rnnlm.runs.layout import RunDir

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Error numbers of a file system that has no locks, such as NFS without its lock service."""
HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}
"""Error numbers of a lock that another process holds."""
PATIENCE = 0.3
"""Seconds for which a process that would train waits for the lock."""


class RunLock(AbstractContextManager["RunLock"]):
    """Hold the lock of a run folder until the context ends, and write then how it ended."""

    def __init__(self, lock: FileLock, path: Path):
        self._lock, self._path = lock, path
        self._process = describe_process()
        self._write({})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = None
        if error is not None:
            failure = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".rstrip(": ")
        with suppress(OSError):  # a full disk: then nothing tells how it ended
            self._write({"ended": now(), "failure": failure})
        self._lock.release()

    def _write(self, end: dict[str, str | None]) -> None:
        self._path.write_text(json.dumps(self._process | end) + "\n")


def lock_run_dir(folder: Path, patience: float = PATIENCE) -> RunLock:
    """Make the run folder and lock it until the returned context ends; the kernel frees the lock of a dead process.

    Waits for `patience` seconds, since `is_locked` may hold the lock for an instant.

    Raises UserError if another process holds the lock, or if the folder cannot be made, written or locked.
    """
    path = RunDir(folder).lock
    # A soft lock, which is a mere file, would outlive a process that was killed.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        make_folder(folder)
        lock.acquire(timeout=patience, poll_interval=0.02)
        return RunLock(lock, path)
    except Timeout:
        raise UserError(
            f"Another process is training in {folder}{describe_holder(path)}: wait for it, or name another folder."
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--workdir={folder} is not a folder: name a new folder, or one that holds a run.") from None
    except OSError as error:
        lock.release()
        if error.errno in NO_LOCKS:
            raise UserError(
                f"--workdir={folder} lies on a file system that gives no locks ({error.strerror}), so that nothing "
                "would keep a second process from training there: name a folder on another disk."
            ) from None
        raise UserError(f"--workdir={folder} cannot be written ({error.strerror}): name another folder.") from None


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of a run folder, as the kernel of this machine sees it."""
    return is_held(RunDir(folder).lock)


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock file.

    Asks by a shared lock, which is free again at once: `lock_run_dir` waits longer than that.
    """
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                return error.errno in HELD
    except OSError:  # there is no such file, or none that may be read
        pass
    return False


def describe_process() -> dict[str, str | int | None]:
    """Describe this process and the time for the lock file."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}


def now() -> str:
    """Return the local time to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S")


def read_holder(path: Path) -> dict[str, Any]:
    """Read who holds a lock file, or has held it last: pid, host, since; ended and failure after an orderly end.

    Returns an empty dict where there is no such file, or that of an older version.
    """
    try:
        held = json.loads(path.read_text())
        return held if isinstance(held, dict) and {"pid", "host", "since"} <= held.keys() else {}
    except (OSError, ValueError):
        return {}


def describe_holder(path: Path) -> str:
    """Return who holds a lock file in words, with a leading space; nothing for that of an older version."""
    held = read_holder(path)
    return f" (process {held['pid']} on {held['host']}, since {held['since']})" if held else ""
