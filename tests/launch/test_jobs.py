"""The processes of trials: how their ends are recorded, and who stops them."""

import sys
import time

import pytest

from launch.folder import SweepDir
from launch.jobs import Pool, visible_gpus
from launch.sweep import Source
from tests.conftest import ROOT

SAVES_ON_SIGTERM = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])

def receive(number, frame):
    signal.signal(number, signal.SIG_DFL)
    (folder / "saving").touch()

signal.signal(signal.SIGTERM, receive)
(folder / "ready").touch()
while not ((folder / "saving").exists() and (folder / "go").exists()):
    time.sleep(0.01)
(folder / "saved").touch()
"""
"""A program that, as a training does, saves after a first SIGTERM and is ended by a second one."""


class StubSweepDir(SweepDir):
    """A sweep whose trials run a program of the test."""

    program: list[str]

    def commands(self, trial, evaluated=None):
        return [self.program]


@pytest.fixture
def sweep(tmp_path):
    source = Source(str(ROOT / "tests/tiny.py"), ["--config.data.files=x"], False)
    made = StubSweepDir(tmp_path / "s")
    made.write(source.base, source.resolve([{"model.hidden": 6}]), "")
    return made


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def test_a_failure_is_recorded_before_another_launcher_may_take_the_trial(sweep, monkeypatch):
    [trial] = sweep.trials()
    sweep.program = [sys.executable, "-c", "raise SystemExit(3)"]
    held, record = [], sweep.record_end

    def spy(*arguments):
        held.append(sweep.is_running(trial.id))
        record(*arguments)

    monkeypatch.setattr(sweep, "record_end", spy)
    pool = Pool(sweep, 1)
    assert pool.start(trial)
    [(_, state)] = wait_for(pool.ended)
    assert state == sweep.state(trial) == "failed" and held == [True]


def test_a_job_that_is_saving_is_not_signalled_again(sweep, tmp_path):
    [trial] = sweep.trials()
    sweep.program = [sys.executable, "-c", SAVES_ON_SIGTERM, str(tmp_path)]
    pool = Pool(sweep, 1)
    job = pool.start(trial)
    wait_for((tmp_path / "ready").exists)
    job.prune()
    wait_for((tmp_path / "saving").exists)
    job.stop()
    (tmp_path / "go").touch()
    [(_, state)] = pool.stop()
    assert state == "pruned" and (tmp_path / "saved").exists()


def test_a_launcher_that_fails_stops_its_jobs(sweep):
    [trial] = sweep.trials()
    sweep.program = ["sleep", "600"]
    with pytest.raises(ZeroDivisionError), Pool(sweep, 1) as pool:
        job = pool.start(trial)
        raise ZeroDivisionError
    assert job.process.poll() is not None and sweep.state(trial) == "waiting"


def test_a_signal_that_comes_before_the_program_handles_it_is_no_failure(sweep):
    [trial] = sweep.trials()
    sweep.program = [sys.executable, "-c", "import time; time.sleep(60)"]
    pool = Pool(sweep, 1)
    job = pool.start(trial)
    job.process.terminate()
    assert wait_for(pool.ended) == [(job, "stopped")] and sweep.state(trial) == "waiting"


@pytest.mark.parametrize(("named", "gpus"), [("0,2", ["0", "2"]), ("-1", []), ("1,-1,2", ["1"]), ("NoDevFiles", [])])
def test_gpus_are_counted_as_cuda_counts_them(monkeypatch, named, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus
