"""Jobs in a real Slurm: several nodes, requeued jobs, time limits, arrays, failures.

All jobs are submitted before the first test, since most of their time is spent waiting.
"""

import json
import subprocess
import sys

import pytest

from launch.slurm_jobs import JobDir
from rnnlm.runs.checkpoint import steps as saved
from tests.conftest import ROOT, environment, leaves, rows, same_bits, start, train
from tests.launch.slurm_cluster import cluster, missing, slurm, wait_until
from tests.test_run import last_complete_step, near

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

LONG = ("--config.train.steps=1500", "--config.eval.every=500", "--config.checkpoint.every=70", "--config.log.every=10")
ENDLESS = ("--config.train.steps=10000000", *LONG[1:])
QUOTED = 'it\'s $(a), "b" #1 50%'
"""Characters that mean something to a shell or to sbatch."""
SWEEP = ("--grid", "optim.learning_rate=1e-3,1e30", "seed=0,1")
"""Four trials, of which the last two diverge."""


def launch(script, *args, code=0):
    """Run a launcher, check its exit code: -> what it prints."""
    command = [sys.executable, str(ROOT / "launch" / script), *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr if code == 2 else done.stdout


def submit(workdir, text, *args):
    """Submit a run."""
    launch("slurm.py", "run", "--config=tests/tiny.py", f"--workdir={workdir}", f"--config.data.files={text}", *args)


def number_of(folder):
    """Return the number of the newest job of a folder."""
    return json.loads((folder / ".slurm.json").read_text())["jobs"][-1]["number"]


def wait_for_end(folder):
    """Wait until the job of a folder has left the queue: -> its number."""
    wait_until(lambda: not slurm("squeue", "--noheader", f"--jobs={number_of(folder)}").strip())
    return number_of(folder)


def wait_for_step(folder, step):
    """Wait until the run of a folder has gone beyond a step, or until its job has ended."""
    numbers = f"--jobs={number_of(folder)}"
    wait_until(lambda: last_complete_step(folder) > step or not slurm("squeue", "--noheader", numbers).strip())
    assert last_complete_step(folder) > step, log_of(folder)


def log_of(folder):
    return (folder / f"slurm-{number_of(folder)}.out").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, text_file):
    """Start Slurm, and submit a job to each folder in the one that is returned."""
    folder = tmp_path_factory.mktemp("jobs")
    text = folder / f"{QUOTED.replace(',', '')}.txt"  # a comma separates names of files
    text.write_bytes(text_file.read_bytes())
    with cluster(tmp_path_factory.mktemp("slurm")):
        submit(folder / "limited", text, "--time=1", "--save_before=20", "--requeue", *ENDLESS)
        flags = ("--nodes=2", "--time=10", "--job_name=two.of_us-1", f"--sbatch=--comment={QUOTED} \\")
        submit(folder / QUOTED, text, *flags)
        sweep = (f"--config.data.files={text}", "--name=rates", f"--dir={folder}", "--on=slurm", "--jobs=2")
        launch("sweep.py", "--config=tests/tiny.py", *sweep, *SWEEP)
        submit(folder / "requeued", text, "--requeue", "--site=tests/launch/site.sh", *LONG)  # last, as it must not end
        yield folder


def test_a_requeued_job_ends_bit_for_bit_as_an_undisturbed_one(folder, text_file):
    requeued, undisturbed = folder / "requeued", folder / "undisturbed"
    wait_for_step(requeued, 200)
    slurm("scontrol", "requeue", number_of(requeued))
    train(undisturbed, text_file, *LONG)
    wait_for_end(requeued)
    log = log_of(requeued)
    assert log.count("going on from step") == 1 and log.count("the site's lines of job") == 2
    assert rows(requeued) == rows(undisturbed)
    same_bits(leaves(requeued, 1500), leaves(undisturbed, 1500))


def test_a_job_on_two_nodes_equals_one_process(folder, text_file):
    """The names of its folder and of its text, and a comment, hold quotes, a dollar, commas, spaces."""
    described = slurm("scontrol", "show", "job", number_of(folder / QUOTED))
    assert f"Comment={QUOTED} \\ " in described and "NumNodes=2" in described and "JobName=two.of_us-1" in described
    train(folder / "one", text_file, "--cpu_devices=1")
    wait_for_end(folder / QUOTED)
    assert log_of(folder / QUOTED).count("done: step 30") == 1
    near(folder / "one", folder / QUOTED)
    assert "done at step 30 of 30" in launch("slurm.py", "status", folder / QUOTED)


def test_an_array_of_trials_of_which_two_fail(folder, text_file):
    sweep = folder / "rates"
    assert "ArrayTaskThrottle=2" in slurm("scontrol", "show", "job", number_of(sweep))
    wait_for_end(sweep)
    shown = launch("slurm.py", "status", sweep, code=1)
    assert shown.count(": done") == 2 and shown.count(": failed") == 2 and "the run has diverged" in shown
    good = sweep / "learning_rate=0.001,seed=1"
    train(folder / "alone", text_file, "--config.optim.learning_rate=1e-3", "--config.seed=1")
    same_bits(leaves(good, 30), leaves(folder / "alone", 30))
    starts = (good / "run.json").read_text()
    slurm("scontrol", "update", "PartitionName=debug", "State=DOWN")  # so that the job waits
    assert f"{sweep}: job" in launch("slurm.py", "resubmit", sweep)
    assert f"{sweep} is in Slurm's queue already" in launch("slurm.py", "resubmit", sweep, code=2)
    slurm("scontrol", "update", "PartitionName=debug", "State=UP")
    assert JobDir(sweep).jobs()[-1]["options"] == ["--array=2-3%2"]
    wait_for_end(sweep)
    assert launch("slurm.py", "status", sweep, code=1).count(": failed") == 2
    assert (good / "run.json").read_text() == starts


def test_a_run_that_meets_its_time_limit_saves_and_goes_on_by_itself(folder, text_file):
    limited = folder / "limited"
    wait_for_step(limited, 200)
    wait_until(lambda: "going on from step" in log_of(limited))
    resumed = saved(limited / "checkpoints")[-1]
    wait_for_step(limited, resumed + 200)
    assert "cancelled" in launch("slurm.py", "cancel", limited)
    wait_for_end(limited)
    stopped = saved(limited / "checkpoints")[-1]
    args = ("--config=tests/tiny.py", f"--workdir={folder / 'whole'}", f"--config.data.files={text_file}", *ENDLESS)
    whole = start("train", *args)
    wait_until(lambda: last_complete_step(folder / "whole") > stopped)
    whole.terminate()
    whole.communicate(timeout=60)
    reached = [row for row in rows(limited) if row["step"] <= stopped]
    assert reached[-1]["step"] > resumed + 100 and reached == rows(folder / "whole")[: len(reached)]
    shown = launch("slurm.py", "status", limited, code=1)
    assert "of 10,000,000; job" in shown and "has ended (CANCELLED)" in shown
    assert f"stopped at step {stopped};" in log_of(limited)
