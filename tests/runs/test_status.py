"""What `rnnlm status` tells of a run is what its files and the kernel's lock say, and asking disturbs nobody."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

import pytest

import rnnlm
from rnnlm.commands import main
from rnnlm.errors import UserError
from rnnlm.runs.layout import RunDir
from rnnlm.runs.lock import is_locked, lock_run_dir
from rnnlm.runs.status import STATES, find_runs, read_status
from tests.conftest import ROOT, environment, start, tiny
from tests.runs.test_lock import hold
from tests.test_run import command, last_complete_step

ENDLESS = ("--config.train.steps=100000", "--config.eval.every=0", "--config.sample.every=0", "--cpu_devices=1")


@pytest.fixture(scope="module")
def done(tmp_path_factory, text_file):
    """A run of 20 steps with validations at steps 10 and 20."""
    folder = tmp_path_factory.mktemp("status") / "done"
    rnnlm.train(tiny(data__files=str(text_file), train__steps=20), folder, show=False)
    return folder


@pytest.fixture
def run(done, tmp_path):
    return shutil.copytree(done, tmp_path / "run")


def edit(path, **values):
    """Change entries of a JSON file of a run."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def lengthen(run, steps):
    config = json.loads((run / "config.json").read_text())
    edit(run / "config.json", train=config["train"] | {"steps": steps})


def test_a_run_that_is_done(done):
    status = read_status(done)
    rows = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    trained, valid = ([row for row in rows if key in row] for key in ("loss", "valid_bpc"))
    best = min(valid, key=lambda row: row["valid_bpc"])
    assert (status.state, status.alive, status.step, status.steps, status.seconds_left) == ("done", False, 20, 20, 0)
    assert (status.bpc, status.symbols_per_second) == (trained[-1]["bpc"], trained[-1]["symbols_per_second"])
    assert (status.valid_bpc, status.valid_step) == (valid[-1]["valid_bpc"], 20)
    assert (status.best_bpc, status.best_step) == (best["valid_bpc"], best["step"])
    assert status.seconds_per_step == pytest.approx((trained[-1]["seconds"] - trained[0]["seconds"]) / 19)
    assert (status.pid, status.host) == (os.getpid(), socket.gethostname()) and status.silent < 3600


def test_the_state_of_a_process_that_is_there_follows_its_files(run):
    lengthen(run, 40)
    assert read_status(run).state == "stopped" and read_status(run).seconds_left == pytest.approx(
        20 * read_status(run).seconds_per_step
    )
    process = hold(run)
    assert process.stdout.readline() == "locked\n"
    status = read_status(run)
    assert (status.state, status.alive, status.pid) == ("starting", True, process.pid)  # run.json is older
    starts = json.loads((run / "run.json").read_text())["starts"]
    for step, state in ((20, "starting"), (10, "running")):  # no row since the start at step 20, some since step 10
        edit(run / "run.json", starts=[*starts, starts[-1] | {"step": step}])
        assert read_status(run).state == "starting"  # rows may still be cut off
        (run / "metrics.jsonl").touch()
        assert read_status(run).state == state
    assert read_status(run).seconds_left < 20 * read_status(run).seconds_per_step  # it has been silent for a while
    process.send_signal(signal.SIGKILL)
    process.communicate()
    status = read_status(run)
    assert (status.state, status.alive, status.pid) == ("stopped", False, process.pid)


def test_the_end_of_a_process_is_known_on_every_machine(run):
    lengthen(run, 40)
    killed = {"pid": 7, "host": "elsewhere", "since": "2026-01-01 00:00:00"}
    for end, state, alive in (
        ({}, "unknown", None),
        ({"ended": "2026-01-01 00:00:01", "failure": None}, "stopped", False),
        ({"ended": "2026-01-01 00:00:01", "failure": "The disk is full."}, "failed", False),
    ):
        (run / "lock").write_text(json.dumps(killed | end))
        status = read_status(run)
        assert (status.state, status.alive, status.host) == (state, alive, "elsewhere")
        assert status.message == (end.get("failure") or "")
    (run / "lock").write_text("")  # as older versions leave it
    assert read_status(run).state == "stopped"


def test_a_failure_is_kept_until_the_next_start(tmp_path, text_file):
    def fail(row):
        raise ValueError("no more of this")

    config = tiny(data__files=str(text_file), train__steps=4)
    with pytest.raises(ValueError):
        rnnlm.train(config, tmp_path / "run", on_row=fail, show=False)
    status = read_status(tmp_path / "run")
    assert (status.state, status.message) == ("failed", "ValueError: no more of this")
    rnnlm.train(config, tmp_path / "run", show=False)
    assert (read_status(tmp_path / "run").state, read_status(tmp_path / "run").message) == ("done", "")


def test_folders_that_are_not_whole(run, tmp_path):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 21, "loss": 1.0, "bp')  # a row that is being written
    assert read_status(run).step == 20
    (run / "metrics.jsonl").write_text("")
    assert (read_status(run).step, read_status(run).bpc, read_status(run).seconds_left) == (0, None, None)
    (run / "metrics.jsonl").unlink()
    assert read_status(run).step == 0
    (run / "config.json").write_text("{")
    assert read_status(run).state == "damaged" and "config.json cannot be read" in read_status(run).message
    assert read_status(tmp_path / "nothing").state == "absent"
    assert {"damaged", "absent", "unknown", "starting"} < set(STATES)


def test_asking_disturbs_neither_who_trains_nor_who_starts(tmp_path):
    assert not is_locked(tmp_path) and not RunDir(tmp_path).lock.exists()  # asking makes no file
    asking = """
import sys
from pathlib import Path
from rnnlm.runs.lock import is_locked
print("asking", flush=True)
while True:
    is_locked(Path(sys.argv[1]))
"""
    command = [sys.executable, "-c", asking, str(tmp_path)]
    askers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert all(asker.stdout.readline() == "asking\n" for asker in askers)
        for _ in range(50):
            with lock_run_dir(tmp_path):  # raises UserError if it is refused
                assert is_locked(tmp_path)
                with pytest.raises(UserError, match="Another process is training"):
                    lock_run_dir(tmp_path, patience=0)
    finally:
        for asker in askers:
            asker.kill()
            asker.communicate()
    assert not is_locked(tmp_path)


def test_a_folder_of_runs_is_searched(done, tmp_path):
    sweep = tmp_path / "sweep"
    for name in ("b", "a", "deep/c"):
        shutil.copytree(done, sweep / name)
    (sweep / ".hidden").mkdir()
    (sweep / "a" / "logs" / "checkpoints").mkdir(parents=True)
    (sweep / "lock").write_text((done / "lock").read_text())  # of the sweep itself
    (sweep / "new").mkdir()
    with lock_run_dir(sweep / "new"):  # a run that has just begun
        assert [str(path.relative_to(sweep)) for path in find_runs(sweep)] == ["a", "b", "deep/c", "new"]
        assert [status.state for status in rnnlm.status(sweep)] == ["done", "done", "done", "starting"]
    assert [status.run for status in rnnlm.status([done, sweep / "a"])] == [str(done), str(sweep / "a")]


@pytest.mark.parametrize(
    "args, complaint",
    [
        ([], "Name run folders"),
        (["/no/run"], "There is no folder /no/run"),
        (["README.md"], "There is no folder README.md"),
        (["tests/runs"], "tests/runs holds no run"),
        (["--jsn", "x"], "jsn"),
    ],
)
def test_bad_input(capsys, args, complaint):
    assert main.main(["status", *args]) == 2
    message = capsys.readouterr().err
    assert complaint in message and message.count("\n") == 1


def test_the_command_says_what_python_returns(capsys, done, run):
    (run / "config.json").write_text("{")
    assert main.main(["status", str(done), str(run), "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["step"], first["state"], second["state"]) == (20, "done", "damaged")
    assert main.main(["status", str(done), str(run)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert f"{done}: done, step 20 of 20" in first and "silent" not in first and "process" not in first
    assert f"{run}: damaged" in second and "config.json cannot be read" in second


def test_asking_does_not_import_jax(done):
    code = f"import rnnlm, sys; rnnlm.status({str(done)!r}); assert not {{'jax', 'orbax'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=True)


@pytest.mark.parametrize("width, missing", [(80, "valid"), (200, "")])
def test_the_table_fits_the_terminal(done, tmp_path, width, missing):
    shutil.copytree(done, tmp_path / ("a long name of a run " * 5))
    long = shutil.copytree(done, tmp_path / ("a long name of a run " * 4))
    lengthen(long, 2_000_000)
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    args = [sys.executable, "-m", "rnnlm", "status", str(tmp_path)]
    env = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
    subprocess.run(args, cwd=ROOT, stdout=terminal, env=env | {"TERM": "xterm"}, check=True)
    os.close(terminal)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", os.read(ours, 10_000).decode()).splitlines()
    os.close(ours)
    header, *rows = lines[:3]
    assert all(len(line) <= width for line in lines[:3]) and header.split()[:3] == ["run", "state", "step"]
    assert (missing not in header.split()) if missing else lines[3:] == []
    assert any("20/2000000" in row for row in rows) and len(rows) == 2


@pytest.mark.slow
def test_a_real_run_is_watched(tmp_path, text_file):
    """A run is watched from its start, killed, resumed, and stopped by SIGTERM."""
    workdir = tmp_path / "run"
    seen = []
    for number, state in ((signal.SIGKILL, "stopped"), (signal.SIGTERM, "stopped")):
        process = start(*command(workdir, text_file, *ENDLESS))
        begin = last_complete_step(workdir) if workdir.exists() else 0
        while process.poll() is None and (not workdir.exists() or last_complete_step(workdir) < begin + 20):
            status = read_status(workdir)
            if status.state not in ("absent", *seen[-1:]) and status.alive:
                seen.append(status.state)
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
        status = read_status(workdir)
        assert (status.state, status.alive, status.pid) == (state, False, process.pid)
        assert status.step >= 20 and status.steps == 100_000 and status.seconds_left > 0
    assert seen == ["starting", "running", "starting", "running"]
    assert "ended" in json.loads((workdir / "lock").read_text())
