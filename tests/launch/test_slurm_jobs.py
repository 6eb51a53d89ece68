"""Jobs in a real Slurm: several processes, requeued jobs, time limits, arrays, failures."""

import json
import subprocess
import sys

import pytest

from rnnlm.runs.checkpoint import steps as saved
from tests.conftest import ROOT, environment, leaves, rows, same_bits, start, train
from tests.launch.slurm_cluster import cluster, missing, slurm, wait_until
from tests.test_run import last_complete_step, near

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

LONG = ("--config.train.steps=1500", "--config.eval.every=500", "--config.checkpoint.every=70", "--config.log.every=10")


@pytest.fixture(scope="module", autouse=True)
def running_slurm(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("slurm")):
        yield


def launch(script, *args, code=0):
    """Run a launcher, check its exit code: -> what it prints."""
    command = [sys.executable, str(ROOT / "launch" / script), *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr if code == 2 else done.stdout


def submit(workdir, text, *args):
    """Submit a run: -> the number of its job."""
    command = ("run", "--config=tests/tiny.py", f"--workdir={workdir}", f"--config.data.files={text}", *args)
    return launch("slurm.py", *command).split()[1].rstrip(";")


def wait_for_end(workdir):
    """Wait until the job of a folder has left the queue: -> its log."""
    number = json.loads((workdir / ".slurm.json").read_text())["jobs"][-1]["number"]
    wait_until(lambda: not slurm("squeue", "--noheader", f"--jobs={number}").strip())
    return (workdir / f"slurm-{number}.out").read_text()


def test_a_job_of_two_processes_equals_one_process(tmp_path, text_file):
    workdir, text = tmp_path / 'a folder\'s $HOME, 50% "x"', tmp_path / 'it\'s $(a), "b" \\ #.txt'
    text.write_bytes(text_file.read_bytes())
    comment = 'it\'s $(a), "b" \\ #1, 50%'
    number = submit(workdir, text, "--tasks=2", "--time=10", "--job_name=two.of_us-1", f"--sbatch=--comment={comment}")
    assert f"Comment={comment} " in slurm("scontrol", "show", "job", number)
    train(tmp_path / "one", text_file, "--cpu_devices=1")
    log = wait_for_end(workdir)
    assert "done: step 30" in log and log.count("done") == 1
    near(tmp_path / "one", workdir)
    assert "done at step 30 of 30" in launch("slurm.py", "status", workdir)


def test_a_requeued_job_ends_bit_for_bit_as_an_undisturbed_one(tmp_path, text_file):
    number = submit(tmp_path / "requeued", text_file, "--requeue", "--site=tests/launch/site.sh", *LONG)
    wait_until(lambda: last_complete_step(tmp_path / "requeued") > 200)
    slurm("scontrol", "requeue", number)
    train(tmp_path / "undisturbed", text_file, *LONG)
    log = wait_for_end(tmp_path / "requeued")
    assert log.count("going on from step") == 1
    assert rows(tmp_path / "requeued") == rows(tmp_path / "undisturbed")
    same_bits(leaves(tmp_path / "requeued", 1500), leaves(tmp_path / "undisturbed", 1500))
    assert log.count("site of") == 2


def test_a_run_that_meets_its_time_limit_saves_and_goes_on_by_itself(tmp_path, text_file):
    endless = (*LONG[1:], "--config.train.steps=10000000")
    number = submit(tmp_path / "limited", text_file, "--time=1", "--save_before=20", "--requeue", *endless)
    log = tmp_path / "limited" / f"slurm-{number}.out"
    wait_until(lambda: log.exists() and "stopped at step" in log.read_text())
    wait_until(lambda: "pending" in launch("slurm.py", "status", tmp_path / "limited"))
    stopped = saved(tmp_path / "limited" / "checkpoints")[-1]
    undisturbed = start(
        "train",
        "--config=tests/tiny.py",
        f"--workdir={tmp_path / 'undisturbed'}",
        f"--config.data.files={text_file}",
        *endless,
    )
    wait_until(lambda: last_complete_step(tmp_path / "undisturbed") > stopped + 200)
    undisturbed.terminate()
    wait_until(lambda: last_complete_step(tmp_path / "limited") > stopped + 200)
    assert "running" in launch("slurm.py", "status", tmp_path / "limited")
    assert f"{number} cancelled" in launch("slurm.py", "cancel", tmp_path / "limited")
    undisturbed.communicate(timeout=60)
    limited, whole = (rows(tmp_path / name) for name in ("limited", "undisturbed"))
    common = min(limited[-1]["step"], whole[-1]["step"])
    assert common > stopped + 100
    assert [row for row in limited if row["step"] <= common] == [row for row in whole if row["step"] <= common]
    assert f"going on from step {stopped}" in wait_for_end(tmp_path / "limited")
    wait_until(lambda: "has ended (CANCELLED)" in launch("slurm.py", "status", tmp_path / "limited", code=1))


def test_an_array_of_trials_of_which_one_fails(tmp_path, text_file):
    sweep = tmp_path / "rates"
    args = ("--config=tests/tiny.py", f"--config.data.files={text_file}", "--name=rates", f"--dir={tmp_path}")
    grid = ("--grid", "optim.learning_rate=1e-3,1e30", "seed=0,1")
    out = launch("sweep.py", *args, "--on=slurm", "--jobs=2", "--requeue", *grid)
    number = out.split()[1].rstrip(";")
    assert "ArrayTaskThrottle=2" in slurm("scontrol", "show", "job", number)
    assert f"{sweep} is in Slurm's queue already" in launch("sweep.py", *args, "--on=slurm", *grid, code=2)
    wait_until(lambda: not slurm("squeue", "--noheader", f"--jobs={number}").strip())
    out = launch("slurm.py", "status", sweep, code=1)
    assert out.count(": done") == 2 and out.count(": failed") == 2 and "the run has diverged" in out
    train(tmp_path / "alone", text_file, "--config.optim.learning_rate=1e-3", "--config.seed=1")
    same_bits(leaves(sweep / "learning_rate=0.001,seed=1", 30), leaves(tmp_path / "alone", 30))
    before = (sweep / "learning_rate=0.001,seed=1" / "run.json").read_text()
    again = launch("slurm.py", "resubmit", sweep)
    assert f"{sweep}: job" in again
    wait_until(lambda: not slurm("squeue", "--noheader", f"--jobs={again.split()[-1]}").strip())
    assert launch("slurm.py", "status", sweep, code=1).count(": failed") == 2
    assert (sweep / "learning_rate=0.001,seed=1" / "run.json").read_text() == before
