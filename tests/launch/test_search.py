"""A search by Optuna: its study continues after a kill, and its best config trains on its own."""

import json
import os
import signal
import sqlite3
import subprocess
import time

import optuna
import pytest

from launch import axes, search
from launch.folder import SweepDir
from rnnlm.config import Config
from rnnlm.errors import UserError
from tests.conftest import rnnlm, rows
from tests.launch.test_sweep import start, starts, states, sweep

SPACE = ["--space", "optim.learning_rate=log:1e-5:3e-2", "model.hidden=int:4:16:4"]
RARELY = ["--config.log.every=10", "--config.eval.every=50", "--config.checkpoint.every=50"]


def trials(folder):
    """Return the trials of a sweep's study."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 's' / 'study.db'}").trials


def test_ranges_become_distributions_within_their_bounds():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    specs = {"a": ["log", 1e-4, 1e-2], "b": ["lin", -1.0, 1.0], "c": ["int", 64, 500, 64], "d": ["of", ["x", "y"]]}
    space = dict(search.make_distribution(key, spec) for key, spec in specs.items())
    drawn = [study.ask(space).params for _ in range(50)]
    assert all(1e-4 <= p["a"] <= 1e-2 and -1 <= p["b"] <= 1 for p in drawn)
    assert {p["c"] for p in drawn} == set(range(64, 500, 64)) and {p["d"] for p in drawn} == {"x", "y"}
    assert 10 < sum(p["a"] < 1e-3 for p in drawn) < 40


@pytest.mark.parametrize("space", ["model.hidden=8,24", "model.hidden=int:8:16", "model.hidden=log:8:16"])
def test_a_study_is_not_continued_in_a_space_that_optuna_refuses(tmp_path, space):
    study = search.open_study(SweepDir(tmp_path), Config(), search.SearchOptions(2, []))
    study.ask(dict([search.make_distribution(*axes.parse_range("model.hidden=8,16", "--space"))]))
    same, other = (
        dict([search.make_distribution(*axes.parse_range(s, "--space"))]) for s in ("model.hidden=8,16", space)
    )
    search.check_space(study, same)
    with pytest.raises(UserError, match="--space model.hidden is of another kind"):
        search.check_space(study, other)
    assert len(study.trials) == 1


def test_a_database_that_is_damaged_under_way_costs_a_sentence(tmp_path):
    study = search.open_study(SweepDir(tmp_path), Config(), search.SearchOptions(2, []))
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("drop table trials")
    with pytest.raises(UserError, match="The study cannot be read or written"), search.storage_errors():
        study.ask()


@pytest.mark.slow
def test_a_trial_that_outlives_its_launcher_is_told_to_the_study(tmp_path, text_file):
    arguments = [*SPACE, *RARELY, "--optuna=1", "--config.train.steps=400"]
    process = start(tmp_path, text_file, *arguments)
    while not list((tmp_path / "s").glob("0000*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    sweep(tmp_path, text_file, *arguments)
    [trial] = trials(tmp_path)
    assert trial.state.name == "COMPLETE" and [steps[0] for steps in starts(tmp_path).values()] == [0]


@pytest.mark.slow
def test_a_search_continues_after_a_kill_and_its_best_config_reproduces_its_bpc(tmp_path, text_file):
    arguments = [*SPACE, *RARELY, "--optuna=6", "--config.train.steps=150", "--random_seed=1"]
    process = start(tmp_path, text_file, *arguments)
    deadline = time.monotonic() + 200
    while "done" not in (states(tmp_path).values() if (tmp_path / "s" / "sweep.json").exists() else ()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    time.sleep(2)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    for number in [process.pid, *map(int, children)]:
        os.kill(number, signal.SIGKILL)
    process.communicate()
    before = {trial.number: trial.params for trial in trials(tmp_path)}
    assert before
    out = sweep(tmp_path, text_file, *arguments)
    after = trials(tmp_path)
    assert [trial.number for trial in after] == list(range(6)) and len(starts(tmp_path)) == 6
    assert {n: after[n].params for n in before} == before
    assert {trial.state.name for trial in after} <= {"COMPLETE", "PRUNED"}
    best = min((trial for trial in after if trial.state.name == "COMPLETE"), key=lambda trial: trial.value)
    assert f"{best.value:.4f} bpc" in out
    rnnlm("train", f"--config={tmp_path / 's' / 'best.json'}", f"--workdir={tmp_path / 'again'}")
    assert json.loads((tmp_path / "again" / "result.json").read_text())["best_valid_bpc"] == best.value
    assert rows(tmp_path / "again") == rows(tmp_path / "s" / best.user_attrs["rnnlm_id"])


@pytest.mark.slow
def test_a_pruned_trial_stops_within_a_validation(tmp_path, text_file):
    sweep(
        tmp_path,
        text_file,
        "--optuna=7",
        "--jobs=2",
        "--space=optim.learning_rate=1e-2,1e-9",
        "--sampler=random",
        "--random_seed=10",
        "--config.train.steps=2000",
        "--config.eval.every=1000",
        "--config.checkpoint.every=2000",
        "--config.log.every=100",
    )
    pruned = [trial for trial in trials(tmp_path) if trial.state.name == "PRUNED"]
    assert pruned and all(trial.params["optim.learning_rate"] == "1e-9" for trial in pruned)
    found = SweepDir(tmp_path / "s")
    for trial in pruned:
        saved = [int(path.name) for path in (found.path / trial.user_attrs["rnnlm_id"] / "checkpoints").iterdir()]
        assert max(trial.intermediate_values) <= max(saved) < max(trial.intermediate_values) + 1000
    assert sorted(states(tmp_path).values()).count("pruned") == len(pruned)
