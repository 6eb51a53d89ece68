"""Scripts for Slurm are right word for word, values reach the command unharmed, and mistakes cost a sentence."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch import slurm, sweep
from launch.command import run_command
from launch.folder import SweepDir
from launch.slurm_script import SlurmOptions, array_script, ranges, run_script, seconds_of
from tests.conftest import ROOT, environment
from tests.launch.slurm_cluster import missing, wait_until
from tests.test_run import last_complete_step

HEAD = """\
#!/bin/bash
#SBATCH --job-name=first
#SBATCH --chdir={cwd}
#SBATCH --output={folder}/first/slurm-%j.out
#SBATCH --open-mode=append
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --partition=gpu
#SBATCH --account=me
#SBATCH --time=12:00:00
#SBATCH "--constraint=a100&nvlink"
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
#SBATCH --qos=x
#SBATCH "--comment=two words"

# The site's lines may change these: the interpreter, and a command to put before it, such as that of a container.
python={python}
prefix=()
module load cuda
prefix=(apptainer exec --nv rnnlm.sif)

"""


def dry_run(capsys, *args):
    assert run_command("slurm", slurm.main, ["run", "--dry_run", "--config=tests/tiny.py", *map(str, args)]) == 0
    return capsys.readouterr().out


def refused(capsys, *args):
    assert run_command("slurm", slurm.main, [str(arg) for arg in args]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("slurm: ") and captured.err.count("\n") == 1
    return captured.err


def test_the_script_of_a_job(capsys, tmp_path, text_file):
    site = tmp_path / "site.sh"
    site.write_text("module load cuda\nprefix=(apptainer exec --nv rnnlm.sif)\n")
    flags = "--nodes=2 --gpus=4 --cpus=8 --partition=gpu --account=me --time=12:00:00 --requeue --save_before=300"
    script = dry_run(
        capsys,
        f"--workdir={tmp_path / 'first'}",
        f"--config.data.files={text_file}",
        "--config.train.batch=8",
        *flags.split(),
        "--constraint=a100&nvlink",
        "--sbatch=--qos=x",
        "--sbatch=--comment=two words",
        f"--site={site}",
    )
    assert script.startswith(HEAD.format(cwd=ROOT, folder=tmp_path, python=sys.executable))
    train = f"--config={tmp_path}/first/.slurm-config.json --workdir={tmp_path}/first --coordinator=auto"
    assert (
        f'srun --kill-on-bad-exit=1 --cpus-per-task=8 "${{prefix[@]}}" "$python" -m rnnlm train {train} &\n' in script
    )
    assert not (tmp_path / "first").exists()


def test_a_job_of_one_process_needs_no_coordinator(capsys, tmp_path, text_file):
    script = dry_run(capsys, f"--workdir={tmp_path / 'first'}", f"--config.data.files={text_file}", "--gpus=1")
    assert "#SBATCH --gpus-per-node=1\n#SBATCH --no-requeue\n" in script and "coordinator" not in script


def test_an_array_names_its_tasks():
    script = array_script(Path("/runs/lr"), ["-m", "launch.trial", "/runs/lr"], SlurmOptions(), "python3", "0-3,7%2")
    assert "#SBATCH --output=/runs/lr/slurm-%A_%a.out\n" in script and "#SBATCH --array=0-3,7%2\n" in script
    assert '"$python" -m launch.trial /runs/lr --index="$SLURM_ARRAY_TASK_ID" &\n' in script
    assert ranges([7, 0, 1, 2, 3, 9, 10]) == "0-3,7,9-10" and ranges([]) == ""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """Make a folder with an srun that runs its command and an interpreter that prints its arguments."""
    folder = tmp_path_factory.mktemp("stubs")
    for name, line in {"srun": 'shift; exec "$@"', "python": "printf '%s\\0' \"$@\""}.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_values_pass_the_shell_unharmed(stubs, words):
    words = [*words, "a b'c\"d,e$HOME`f`\\ *~#!\n"]
    script = run_script(Path("/runs/first"), words, SlurmOptions(), str(stubs / "python"))
    environment = os.environ | {"PATH": f"{stubs}:{os.environ['PATH']}", "SLURM_JOB_ID": "1"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize(
    "time, seconds",
    [("90", 5400), ("1:30", 90), ("2:00:01", 7201), ("1-12", 129600), ("1-0:30", 88200), ("0-0:0:5", 5)],
)
def test_times_are_those_of_slurm(time, seconds):
    assert seconds_of(time) == seconds


@pytest.mark.parametrize(
    "flags, complaint",
    [
        (["--time=1h"], "--time=1h is no time limit: write minutes, H:M:S or D-H:M:S"),
        (["--time=2"], "--time=2 leaves no time before --save_before=120 seconds"),
        (["--job_name=a b"], "--job_name='a b' is no safe name of a job"),
        (["--sbatch=qos=x"], "--sbatch=qos=x is no option of sbatch: write it with its dashes"),
        (["--gpus=4", "--tasks=2"], "processes that train together have one GPU each"),
        (["--nodes=3"], "A batch of 4 lanes cannot be split evenly over 3 processes"),
        (["--nodes=0"], "nodes"),
        (["--site=/no/such/file"], "/no/such/file could not be read"),
        (["--config.model.hiden=3"], "did you mean model.hidden?"),
        (["--workdir=a\nb"], "characters that sbatch does not take"),
        (["--workdir=a\\b"], "characters that sbatch does not take"),
    ],
)
def test_a_mistake_submits_nothing(capsys, tmp_path, text_file, flags, complaint):
    workdir = [] if flags[0].startswith("--workdir") else [f"--workdir={tmp_path / 'run'}"]
    args = ["run", "--config=tests/tiny.py", *workdir, f"--config.data.files={text_file}", *flags]
    assert complaint in refused(capsys, *args)
    assert not (tmp_path / "run").exists()


def test_what_the_job_would_refuse_is_refused_now(capsys, tmp_path, text_file):
    args = ("run", "--config=tests/tiny.py", f"--workdir={tmp_path}")
    assert "/no/such.txt" in refused(capsys, *args, "--config.data.files=/no/such.txt")
    (tmp_path / "thesis.tex").touch()
    assert "holds no run, but other files (thesis.tex)" in refused(capsys, *args, f"--config.data.files={text_file}")


@pytest.mark.slow
def test_a_trial_under_slurm_saves_upon_the_signal_that_its_processes_get(tmp_path, text_file):
    """Slurm signals each process of a step, so the launcher must not signal the run a second time, which kills it."""
    longer = ("--config.train.steps=100000", "--config.checkpoint.every=100000")
    source = sweep.Source("tests/tiny.py", [f"--config.data.files={text_file}", *longer], trust_code=False)
    folder = SweepDir(tmp_path / "s")
    [trial] = folder.write(source.base, [source.trial({"seed": 1})], "")
    command = [sys.executable, "-m", "launch.trial", str(folder.path), "--index=0"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment() | {"SLURM_STEP_ID": "0"})
    run = folder.run_dir(trial)
    wait_until(lambda: last_complete_step(run) > 50)
    for pid in (json.loads((run / "lock").read_text())["pid"], process.pid):
        os.kill(pid, signal.SIGTERM)
    assert process.wait(60) == 0 and folder.state(trial) == "stopped"
    assert "stopped at step" in folder.log(trial).read_text()


def test_commands_want_a_folder_with_a_job(capsys, tmp_path):
    assert "Name what to do: run, status, cancel, resubmit, not 'start'" in refused(capsys, "start")
    for command in ("status", "cancel", "resubmit"):
        assert "Name a folder" in refused(capsys, command)
        assert f"{tmp_path} has no job" in refused(capsys, command, tmp_path)


def test_a_machine_without_slurm_is_said_so(capsys, tmp_path, text_file, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    run = ("run", "--config=tests/tiny.py", f"--workdir={tmp_path / 'run'}", f"--config.data.files={text_file}")
    assert "There is no sbatch on this machine" in refused(capsys, *run)


@pytest.mark.slow  # Slurm tries for 9 s
@pytest.mark.skipif("there is no" in missing(), reason=missing())
def test_a_controller_that_does_not_answer_is_said_so(capsys, tmp_path, text_file, monkeypatch):
    (tmp_path / "slurm.conf").write_text(
        "ClusterName=x\nSlurmctldHost=x(127.0.0.1)\nSlurmctldPort=9\nAuthType=auth/none\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    run = ("run", "--config=tests/tiny.py", f"--workdir={tmp_path / 'run'}", f"--config.data.files={text_file}")
    assert "Slurm's sbatch failed: Batch job submission failed: Unable to contact slurm controller" in refused(
        capsys, *run
    )
