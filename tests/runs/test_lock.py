"""One process trains in a run folder; the others are told which, and somebody's own folder is left alone."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from rnnlm.errors import UserError
from rnnlm.runs.layout import RunDir, refuse_foreign_files
from rnnlm.runs.lock import lock_run_dir
from tests.conftest import ROOT
from tests.test_disk import STRACE, failing

HOLD = """
import sys
from pathlib import Path
from rnnlm.errors import UserError
from rnnlm.runs.lock import lock_run_dir
try:
    with lock_run_dir(Path(sys.argv[1])):
        print("locked", flush=True)
        sys.stdin.read()
except UserError as error:
    print(error)
"""


def hold(folder, prefix=()):
    """Start a process that locks a folder until it is killed."""
    command = [*prefix, sys.executable, "-c", HOLD, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_holder_is_named_and_a_killed_one_does_not_block(tmp_path):
    folder = tmp_path / "runs" / "a"
    process = hold(folder)
    assert process.stdout.readline() == "locked\n"
    for _ in range(2):  # who is refused leaves the name of the holder
        with pytest.raises(UserError) as refused:
            lock_run_dir(folder)
        where = re.escape(f"(process {process.pid} on {socket.gethostname()}, since ")
        assert re.search(f"Another process is training in .*{where}[-0-9: ]{{19}}\\)", str(refused.value))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with lock_run_dir(folder):
        assert f'"pid": {os.getpid()}' in RunDir(folder).lock.read_text()
    with lock_run_dir(folder):  # again, once it was released
        RunDir(folder).lock.write_text("")  # as older versions leave it
        with pytest.raises(UserError, match=r"Another process is training in .*a: wait for it"):
            lock_run_dir(folder)


@pytest.mark.skipif(not STRACE, reason="there is no strace here")
@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_a_file_system_without_locks_is_not_called_another_process(tmp_path, error):
    process = hold(tmp_path / "run", failing("flock", f"error={error}"))
    said, _ = process.communicate(timeout=60)
    assert "gives no locks (" in said and "on another disk" in said and "Another process" not in said


def test_a_folder_of_somebodys_files_is_refused(tmp_path):
    folder = tmp_path / "thesis"
    refuse_foreign_files(folder)  # which is not there
    folder.mkdir()
    for name in (".DS_Store", "slurm-17.out", "train.log"):
        (folder / name).write_text("")
        refuse_foreign_files(folder)
    (folder / "config.json").write_text("{}")  # of another program, for there is no lock
    with pytest.raises(
        UserError, match=r"holds no run, but other files \(config.json\): name a new or an empty folder"
    ):
        refuse_foreign_files(folder)
    for name in ("lock", "vocab.json", "events.out.tfevents.1.host", ".run.json.17.part"):  # of a start that was killed
        (folder / name).write_text("")
    refuse_foreign_files(folder)
    for name in ("thesis.tex", "thesis.bib", "notes", "x.png"):
        (folder / name).write_text("")
    with pytest.raises(UserError, match=r"\(notes, thesis.bib, thesis.tex and 1 more\)"):
        refuse_foreign_files(folder)
