"""Sweeps as a person runs them: launch/sweep.py as a process, but for what is refused at once."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from launch.command import run_command
from launch.folder import SweepDir
from launch.sweep import Source, main
from tests.conftest import ROOT, environment, leaves, rows, same_bits

GRID = ["--grid", "model.hidden=6,8", "optim.learning_rate=1e-3,2e-3,4e-3"]


def command(folder, text, *more):
    config = ["--config=tests/tiny.py", f"--config.data.files={text}", "--config.sample.every=0"]
    return [sys.executable, "launch/sweep.py", *config, "--name=s", f"--dir={folder}", *map(str, more)]


def start(folder, text, *more):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(folder, text, *more), cwd=ROOT, env=environment(), start_new_session=True, **pipes)


def sweep(folder, text, *more, code=0):
    """Run a sweep, check its exit code: -> what it printed, the errors where the code is 2."""
    process = start(folder, text, *more)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err
    return err if code == 2 else out


def states(folder):
    found = SweepDir(folder / "s")
    return {trial.id: found.state(trial) for trial in found.trials()}


def starts(folder):
    """Return at which steps each trial was started."""
    runs = {path.parent.name: json.loads(path.read_text())["starts"] for path in (folder / "s").glob("*/run.json")}
    return {name: [start["step"] for start in run] for name, run in runs.items()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory, text_file):
    """Run a sweep of two trials, side by side: -> (its folder, what it printed)."""
    folder = tmp_path_factory.mktemp("pair")
    return folder, sweep(folder, text_file, "--grid=model.hidden=6,8", f"--jobs={min(2, len(os.sched_getaffinity(0)))}")


def test_a_sweep_trains_each_trial_in_a_run_folder_of_its_own(pair):
    folder, out = pair
    assert states(folder) == {"hidden=6": "done", "hidden=8": "done"}
    assert out.count(" done ") == 2 and "report:" in out
    for name, hidden in (("hidden=6", 6), ("hidden=8", 8)):
        assert json.loads((folder / "s" / name / "config.json").read_text())["model"]["hidden"] == hidden
        assert rows(folder / "s" / name)[-1]["step"] == 30
        assert "valid" in (folder / "s" / name / "trial.log").read_text()


def test_a_sweep_that_is_run_again_does_nothing(pair, text_file):
    folder, _ = pair
    before = starts(folder)
    assert " done " not in sweep(folder, text_file, "--grid=model.hidden=6,8")
    assert starts(folder) == before == {"hidden=6": [0], "hidden=8": [0]}


def test_the_page_ranks_the_trials(pair):
    folder, out = pair
    page = (folder / "s" / "report.html").read_text()
    results = {
        name: json.loads((folder / "s" / name / "result.json").read_text())["valid_bpc"] for name in states(folder)
    }
    best, worst = sorted(results.values())
    assert f"{best:.4f} bpc" in out
    assert page.index(f"{best:.4f}") < page.index(f"{worst:.4f}") and page.count("data:image/png;base64,") == 3


def test_a_sweep_of_another_config_is_refused(pair, text_file):
    folder, _ = pair
    before = (folder / "s" / "sweep.json").read_bytes()
    err = sweep(folder, text_file, "--config.train.batch=2", "--grid=model.hidden=6,8", code=2)
    assert "train.batch: 4 there, 2 here" in err
    assert (folder / "s" / "sweep.json").read_bytes() == before


def test_a_dry_run_prints_the_commands_and_writes_nothing(tmp_path, text_file):
    out = sweep(tmp_path, text_file, "--dry_run", "--eval=test", *GRID, "--seeds=2")
    assert len(out.splitlines()) == 24 and out.count("rnnlm train") == 12
    assert "hidden=6,learning_rate=0.001,seed=0" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid=model.hiden=1,2"], "no config key model.hiden; did you mean model.hidden?"),
        (["--grid=model.hidden="], "has no values"),
        (["--grid"], "--grid is without values"),
        ([], "Nothing is swept"),
        (["--grid=model.hidden=1,2", "--zip=model.hidden=3"], "model.hidden is swept twice"),
        (["--grid=model.hidden=1,2", "--config.model.hidden=3"], "is swept, and set for all trials"),
        (["--grid=model.hidden=1,2", "--seeds=2", "--zip=seed=1,2"], "seed is swept twice"),
        (["--grid=model.hidden=1,x"], "does not fit"),
        (["--grid=model.cell=lstm,foo"], "model.cell is 'foo'"),
        (["--grid=train.window=8,100000"], "a window takes train.window=100000"),
        (["--grid=optim.learning_rate=log:1e-3:1e-1"], "is a range: list values, or draw N from it by --random N"),
        (["--grid=data.split=0.8/0.2/0,0.8/0.1/0.1", "--eval=test"], "data.split=0.8/0.2/0 has no split 'test'"),
        (["--grid=model.hidden=1,2", "--name=a/b"], "--name is given twice"),
        (["--grid=model.hidden=1,2", "--jobs=4096"], "more than the"),
        (["--grid=model.hidden=1,2", "--seed=2"], "Unknown command line flag 'seed'"),
        (["--grid=model.hidden=1,2", "--sampler=random"], "--sampler has no effect without --optuna=N"),
        (["--grid=model.hidden=1,2", "--random_seed=1"], "--random_seed has no effect without --random or --optuna"),
        (["--grid", "model.hidden=1,2", "-jobs=2"], "'-jobs=2' was not expected"),
        (["--optuna=-3", "--space=model.hidden=1,2"], "--optuna=-3"),
        (["--space=model.hidden=1,2"], "add --optuna=N"),
        (["--optuna=3"], "is without --space"),
        (["--optuna=3", "--space=model.hiden=1,2"], "no config key model.hiden"),
        (["--optuna=3", "--space=model.hidden=int:0:2"], "impossible"),
        (["--optuna=3", "--space=model.hidden=1,2", "--study=nonsense://x"], "cannot be opened"),
        (["--optuna=3", "--space=model.hidden=1,2", "--config.eval.every=0"], "eval.every=0 makes none"),
        (["--optuna=3", "--space=model.hidden=1,2", "--seeds=2"], "does not go with --seeds"),
    ],
)
def test_bad_input_costs_a_sentence_and_writes_nothing(tmp_path, text_file, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(ROOT)
    assert run_command("sweep", main, command(tmp_path, text_file, *arguments)[2:]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("sweep: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_config_file_that_lists_no_trial_says_so(tmp_path, text_file, capsys):
    config = tmp_path / "mine.py"
    config.write_text("from tests.tiny import get_config\ndef sweep():\n    return []\n")
    argv = [f"--config={config}", f"--config.data.files={text_file}", "--name=s", f"--dir={tmp_path / 'runs'}"]
    assert run_command("sweep", main, argv) == 2
    assert "nothing is left to run" in capsys.readouterr().err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "-x", "a$b"])
def test_a_name_that_is_no_safe_folder_is_refused(tmp_path, text_file, name):
    words = [f"--name={name}" if word == "--name=s" else word for word in command(tmp_path, text_file, *GRID)]
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "no safe name" in done.stderr and list(tmp_path.iterdir()) == []


def test_a_sweep_without_a_name_is_refused(tmp_path, text_file):
    words = [word for word in command(tmp_path, text_file, *GRID) if word != "--name=s"]
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "--name is missing" in done.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_trial_that_fails_is_reported_and_retried_when_asked(tmp_path, text_file):
    rates = "--grid=optim.learning_rate=1e-3,1e30"  # the second one diverges
    out = sweep(tmp_path, text_file, rates, "--config.optim.name=sgd", code=1)
    assert states(tmp_path) == {"learning_rate=0.001": "done", "learning_rate=1e+30": "failed"}
    assert "has diverged" in out and "--retry_failed" in out
    assert "has diverged" in (tmp_path / "s" / "report.html").read_text()
    again = sweep(tmp_path, text_file, rates, "--config.optim.name=sgd", code=1)
    assert "has diverged" not in again
    retried = sweep(tmp_path, text_file, rates, "--config.optim.name=sgd", "--retry_failed", code=1)
    assert "has diverged" in retried


def test_a_config_file_may_list_the_trials(tmp_path, text_file):
    config = tmp_path / "mine.py"
    config.write_text(
        "from tests.tiny import get_config\n"
        "def sweep():\n"
        "    for hidden in (4, 5):\n"
        "        yield {'model.hidden': hidden, 'sample.prompt': 'a\\\\b', 'model.sizes': (hidden, 3)}\n"
    )
    words = command(tmp_path / "runs", text_file, "--dry_run")
    words[2] = f"--config={config}"
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2 and "hidden=4,prompt=a-b~" in done.stdout and "sizes=5+3" in done.stdout


FOUR_TRIALS = ["--grid", "model.hidden=6,8", "optim.learning_rate=1e-3,2e-3", "--config.train.steps=600", "--jobs=2"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, text_file):
    folder = tmp_path_factory.mktemp("undisturbed")
    sweep(folder, text_file, *FOUR_TRIALS)
    return folder


def stop_in_mid_run(launcher, folder, deadline):
    """Stop a sweep by SIGSTOP while a trial that has saved a checkpoint is running: -> the processes of its trials."""
    while time.monotonic() < deadline and launcher.poll() is None:
        launcher.send_signal(signal.SIGSTOP)  # first, so that it starts no further trial
        found = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True).stdout.split()
        trials = [int(trial) for trial in found]
        for trial in trials:
            os.kill(trial, signal.SIGSTOP)
        saved = {}  # the newest step of each trial; one that has saved its last step has no more to do
        for path in folder.glob("s/*/checkpoints/[0-9]*[0-9]"):
            saved[path.parts[-3]] = max(int(path.name), saved.get(path.parts[-3], 0))
        if any(step < 500 and states(folder)[trial] == "running" for trial, step in saved.items()):
            return trials
        for process in (*trials, launcher.pid):
            os.kill(process, signal.SIGCONT)
        time.sleep(0.05)
    raise AssertionError("No trial was found in mid-run.")


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two cores")
@pytest.mark.parametrize("whom", ["launcher", "all"])
def test_a_killed_sweep_that_is_started_again_ends_as_an_undisturbed_one(undisturbed, tmp_path, text_file, whom):
    process = start(tmp_path, text_file, *FOUR_TRIALS)
    deadline = time.monotonic() + 120
    while "done" not in (states(tmp_path).values() if (tmp_path / "s" / "sweep.json").exists() else ()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    trials = stop_in_mid_run(process, tmp_path, deadline)
    process.send_signal(signal.SIGKILL)
    for trial in trials:
        os.kill(trial, signal.SIGKILL if whom == "all" else signal.SIGCONT)
    process.communicate()
    sweep(tmp_path, text_file, *FOUR_TRIALS)
    assert states(tmp_path) == states(undisturbed) and set(states(tmp_path).values()) == {"done"}
    for name in states(undisturbed):
        a, b = (folder / "s" / name for folder in (undisturbed, tmp_path))
        assert rows(a) == rows(b)
        same_bits(leaves(a, 600), leaves(b, 600))
    begun = starts(tmp_path).values()
    if whom == "launcher":  # its trials have trained on
        assert all(steps == [0] for steps in begun)
    else:
        assert all(steps == sorted(steps) for steps in begun) and any(len(steps) > 1 for steps in begun)


@pytest.mark.slow
def test_ctrl_c_saves_the_trials_and_the_same_command_goes_on(tmp_path, text_file):
    steps = "--config.train.steps=1500"
    arguments = ["--grid=model.hidden=6,8", steps, "--config.eval.every=500", "--config.checkpoint.every=1500"]
    process = start(tmp_path, text_file, *arguments)
    log = tmp_path / "s" / "hidden=6" / "metrics.jsonl"
    while not log.exists() or log.stat().st_size < 2000:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on" in out and states(tmp_path) == {"hidden=6": "stopped", "hidden=8": "waiting"}
    sweep(tmp_path, text_file, *arguments)
    assert states(tmp_path) == {"hidden=6": "done", "hidden=8": "done"}
    first, second = starts(tmp_path)["hidden=6"]
    assert first == 0 < second


@pytest.mark.slow
def test_two_launchers_share_the_trials_of_a_sweep(tmp_path, text_file):
    both = [start(tmp_path, text_file, *FOUR_TRIALS[:3]) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{out}\n{err}"
    assert set(states(tmp_path).values()) == {"done"}
    assert set(map(tuple, starts(tmp_path).values())) == {(0,)}


@pytest.mark.slow
def test_a_trial_can_be_run_alone(tmp_path, text_file):
    folder = SweepDir(tmp_path / "s")
    source = Source(str(ROOT / "tests/tiny.py"), [f"--config.data.files={text_file}"], False)
    folder.write(
        source.base, source.resolve([{"model.hidden": "6"}, {"optim.name": "sgd", "optim.learning_rate": "1e30"}]), ""
    )

    def trial(*words):
        arguments = [sys.executable, "-m", "launch.trial", str(folder.path), *words]
        return subprocess.run(arguments, cwd=ROOT, env=environment(), capture_output=True, text=True)

    done = trial("hidden=6")
    assert done.returncode == 0 and done.stdout == "hidden=6: done\n"
    assert trial("--index=0").returncode == 0 and starts(tmp_path) == {"hidden=6": [0]}
    failed = trial("--index=1")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    for words in (["nothing"], ["--index=2"], ["hidden=6", "--index=0"], []):
        wrong = trial(*words)
        assert wrong.returncode == 2 and wrong.stderr.startswith("trial: ")
