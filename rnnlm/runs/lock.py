"""The lock of a run folder, which the process that trains there holds and the others can name."""

import errno
import json
import os
import socket
import time
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

from rnnlm.errors import UserError
from rnnlm.files import make_folder
from rnnlm.runs.layout import RunDir

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Error numbers of a file system that has no locks, such as NFS without its lock service."""


def lock_run_dir(folder: Path) -> AbstractContextManager[object]:
    """Make the run folder and lock it until the returned context ends; the kernel frees the lock of a dead process.

    Raises UserError if another process holds the lock, or if the folder cannot be made, written or locked.
    """
    path = RunDir(folder).lock
    # A soft lock, which is a mere file, would outlive a process that was killed.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        make_folder(folder)
        held = lock.acquire(blocking=False)
        path.write_text(json.dumps(describe_process()) + "\n")
        return held
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


def describe_process() -> dict[str, str | int]:
    """Describe this process and the time for the lock file."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def describe_holder(path: Path) -> str:
    """Return who holds a lock file in words, with a leading space; nothing for that of an older version."""
    try:
        held = json.loads(path.read_text())
        return f" (process {held['pid']} on {held['host']}, since {held['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
