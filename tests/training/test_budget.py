"""Minutes become a number of steps once, and from then on the run is one of so many steps."""

import json
import shutil
import time

import pytest

import rnnlm as api
from rnnlm.data.splits import open_dataset
from rnnlm.errors import UserError
from rnnlm.runs.layout import load_run
from rnnlm.runtime.console import Console
from rnnlm.training import budget
from rnnlm.training.loop import Trainer
from tests import conftest
from tests.conftest import leaves, rows, same_bits, tiny

MINUTES, STEPS = 0.02, 35
COSINE = {"optim__schedule": "cosine", "eval__every": 20, "checkpoint__every": 15, "log__every": 5}


def config(text_file, **overrides):
    return tiny(**{"data__files": str(text_file), **COSINE, **overrides})


@pytest.fixture(scope="module")
def timed(tmp_path_factory, text_file):
    """Train a run whose measured steps are replaced by 35, however fast the machine is: -> its folder."""
    workdir, measure = tmp_path_factory.mktemp("timed") / "run", budget.measure_steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "measure_steps", lambda *args: STEPS if measure(*args) > 0 else 0)
        api.train(config(text_file, train__steps=0, train__minutes=MINUTES), workdir, show=False)
    return workdir


def test_the_steps_are_fixed_and_saved(timed):
    saved = json.loads((timed / "config.json").read_text())["train"]
    assert (saved["minutes"], saved["steps"]) == (MINUTES, STEPS)
    assert json.loads((timed / "result.json").read_text())["step"] == STEPS == rows(timed)[-1]["step"]


def test_more_minutes_are_more_steps(text_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(budget, "MEASURED_SECONDS", 0.1)
    found = []
    for minutes in (0.01, 5.0, 5000.0):
        given = config(text_file, train__steps=0, train__minutes=minutes)
        trainer = Trainer(given, tmp_path, open_dataset(given.data), Console(), None)
        found.append(budget.measure_steps(trainer, time.perf_counter()))
        assert f"train.minutes={minutes:g}: {found[-1]:,} steps, at " in capsys.readouterr().out
    assert 1 <= found[0] < found[1] < found[2]


def test_the_run_equals_one_of_so_many_steps(timed, tmp_path, text_file):
    """Also its first rates, by a schedule that depends on the number of steps."""
    api.train(config(text_file, train__steps=STEPS), tmp_path / "run", show=False)
    assert rows(tmp_path / "run") == rows(timed)
    same_bits(leaves(tmp_path / "run", STEPS), leaves(timed, STEPS))


def test_it_is_resumed_by_the_same_command_and_by_its_folder(timed, tmp_path, text_file, monkeypatch):
    monkeypatch.setattr(budget, "measure_steps", lambda *_: pytest.fail("measured again"))
    for name, given in {
        "command": config(text_file, train__steps=0, train__minutes=MINUTES),
        "folder": None,
    }.items():
        run = shutil.copytree(timed, tmp_path / name)
        shutil.rmtree(run / "checkpoints" / str(STEPS))
        result = api.train(given, run, show=False)
        assert result is not None and result["step"] == STEPS
        assert rows(run) == rows(timed)
        same_bits(leaves(run, STEPS), leaves(timed, STEPS))


def test_it_is_measured_again_where_nothing_was_fixed(tmp_path, text_file, monkeypatch):
    given, numbers = config(text_file, train__steps=0, train__minutes=MINUTES), iter([3, 4])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").touch()  # what a kill while measuring leaves
    monkeypatch.setattr(budget, "measure_steps", lambda *_: next(numbers))
    for _ in range(2):
        api.train(given, tmp_path / "run", show=False)
        assert load_run(tmp_path / "run").config.train.steps == 3


def test_a_timed_run_is_lengthened_by_steps(timed, tmp_path, text_file):
    run = shutil.copytree(timed, tmp_path / "run")
    with pytest.raises(UserError, match="steps, whose number minutes do not change any more"):
        api.train(config(text_file, train__steps=0, train__minutes=1.0), run, show=False)
    with pytest.raises(UserError, match="beyond train.steps=2"):
        api.train(config(text_file, train__steps=2, train__minutes=MINUTES), run, show=False)
    for more, minutes in ((5, MINUTES), (10, 0.0)):
        result = api.train(config(text_file, train__steps=STEPS + more, train__minutes=minutes), run, show=False)
        assert result is not None and result["step"] == STEPS + more
        assert load_run(run).config.train.minutes == minutes


def test_steps_and_minutes_exclude_each_other_in_a_new_run(tmp_path, text_file):
    with pytest.raises(UserError, match="train.steps=30 and train.minutes=2 are both set: choose one"):
        api.train(config(text_file, train__minutes=2.0), tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="train.steps=10000 and train.minutes=2 are both set"):
        api.train(config(text_file, train__steps=10_000, train__minutes=2.0), tmp_path / "run", show=False)
    assert budget.keep_steps(tmp_path, None, tiny(train__steps=0)).train.steps == 10_000


@pytest.mark.slow
def test_two_processes_take_the_same_number_of_steps(timed, tmp_path, text_file):
    """They measure together, and begin with the same parent."""
    with conftest.free_port() as port:
        address = f"127.0.0.1:{port}"
    workdir = tmp_path / "run"
    given = (f"--config.train.init_from={timed}", "--config.train.steps=0", "--config.train.minutes=0.3")
    command = ("train", "--config=tests/tiny.py", f"--workdir={workdir}", f"--config.data.files={text_file}", *given)
    flags = ("--config.log.every=500", "--config.eval.every=500", "--config.checkpoint.every=500")
    together = (f"--coordinator={address}", "--processes=2")
    both = [conftest.start(*command, *flags, *together, f"--process={i}") for i in range(2)]
    try:
        ends = [process.communicate(timeout=200) for process in both]
    finally:
        for process in both:
            conftest.kill_group(process)
    assert [process.returncode for process in both] == [0, 0], ends
    steps = load_run(workdir).config.train.steps
    assert f"train.minutes=0.3: {steps:,} steps" in ends[0][0] and f"done: step {steps} " in ends[0][0]
    assert steps >= 1 and "22 of 22 symbols kept" in ends[0][0]
