"""Run `rnnlm ARGS` in a process forked from one that has imported jax, which saves two seconds of its start."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["rnnlm.language_model", "rnnlm.training.loop"])


def run(args: list[str], cwd: Path, env: Mapping[str, str], timeout: float) -> tuple[int, str, str]:
    """Run a command line: -> its exit code, standard output and standard error. Raises TimeoutError.

    The variables of jax and Python in `env` count in the first call alone, as they are read where jax is imported.
    """
    with mock.patch.dict(os.environ, env):
        forkserver.ensure_running()
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = FORKING.Process(target=run_here, args=(args, cwd, dict(env), out, err))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"rnnlm {' '.join(args)} ran for more than {timeout} s")
        return process.exitcode, out.read_text(), err.read_text()


def run_here(args: list[str], cwd: Path, env: dict[str, str], out: Path, err: Path) -> None:
    """Run a command line as the main program of this process."""
    from rnnlm.commands.main import main

    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for path, fd in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), fd)
    sys.argv = ["rnnlm", *args]
    sys.exit(main())
