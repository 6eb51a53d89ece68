"""Commands for a TPU pod are right word for word, and values reach the workers unharmed."""

import os
import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch import sweep, tpu
from launch.command import run_command
from launch.tpu import Pod

POD = ("--tpu=pod", "--zone=us-east5-b")
GCLOUD = "gcloud compute tpus"
SSH = f"{GCLOUD} tpu-vm ssh pod --zone=us-east5-b --worker=all"
TRAIN = "../rnnlm-venv/bin/python -m rnnlm train"


def printed(capsys, verb, *flags):
    assert run_command("tpu", tpu.main, [verb, *POD, *flags]) == 0
    return capsys.readouterr().out


def started(job):
    quoted = f"'\"'\"'{job}'\"'\"'"
    redirected = "~/rnnlm.log 2>&1 < /dev/null & echo $! > ~/rnnlm.pid"
    return f"'--command=cd rnnlm && {{ setsid bash -c {quoted} >> {redirected}; }}'"


def test_create_and_delete(capsys):
    assert printed(capsys, "create", "--type=v5litepod-16", "--project=mine") == (
        f"{GCLOUD} tpu-vm create pod --zone=us-east5-b --project=mine --accelerator-type=v5litepod-16 "
        "--version=v2-alpha-tpuv5-lite\n"
    )
    assert printed(capsys, "create", "--type=v4-16", "--queue", "--spot") == (
        f"{GCLOUD} queued-resources create pod --zone=us-east5-b --node-id=pod --accelerator-type=v4-16 "
        "--runtime-version=tpu-ubuntu2204-base --spot\n"
    )
    delete = "delete pod --zone=us-east5-b"
    assert printed(capsys, "delete") == f"{GCLOUD} tpu-vm {delete} --quiet\n"
    assert printed(capsys, "delete", "--queue") == f"{GCLOUD} queued-resources {delete} --force --quiet\n"


def test_install(capsys, tmp_path):
    (tmp_path / "site.sh").write_text("sudo mount -o rw,intr 10.0.0.2:/share /mnt/shared")
    uv = "~/.local/bin/uv pip install --quiet --python=../rnnlm-venv/bin/python"
    assert printed(capsys, "install", f"--site={tmp_path}/site.sh") == (
        "git bundle create --quiet rnnlm.bundle HEAD\n"
        f"{GCLOUD} tpu-vm scp rnnlm.bundle pod: --zone=us-east5-b --worker=all\n"
        f"{SSH} '--command=set -e\n"
        "sudo mount -o rw,intr 10.0.0.2:/share /mnt/shared\n"
        "rm -rf rnnlm\n"
        "git clone --quiet rnnlm.bundle rnnlm\n"
        "python3 -m pip install --quiet --user uv\n"
        "~/.local/bin/uv venv --quiet --allow-existing --python=3.12 rnnlm-venv\n"
        "cd rnnlm\n"
        f"{uv} --require-hashes --requirement=requirements-tpu.lock\n"
        f"{uv} --no-deps --editable=.'\n"
    )


def test_train_status_and_stop(capsys):
    flags = ("--config=tests/tiny.py", "--workdir=/mnt/shared/runs/X", "--config.train.batch=64")
    job = f"{TRAIN} --config=tests/tiny.py --workdir=/mnt/shared/runs/X --config.train.batch=64 --coordinator=auto"
    assert printed(capsys, "train", *flags) == f"{SSH} {started(job)}\n"
    assert printed(capsys, "status", "--queue") == (
        f"{GCLOUD} queued-resources describe pod --zone=us-east5-b '--format=value(state.state)'\n"
        f"{GCLOUD} tpu-vm describe pod --zone=us-east5-b '--format=value(state)'\n"
        f"{SSH} '--command=tail --lines=3 ~/rnnlm.log'\n"
    )
    assert printed(capsys, "stop") == f"{SSH} '--command=kill -TERM -- -$(cat ~/rnnlm.pid)'\n"


def test_a_sweep_trains_one_trial_after_another(capsys, tmp_path, text_file):
    where = (*POD, "--on=tpu", f"--dir={tmp_path}", "--name=rates", "--dry_run")
    shared = ("--config=tests/tiny.py", f"--config.data.files={text_file}")
    assert run_command("sweep", sweep.main, [*shared, *where, "--grid", "optim.learning_rate=1e-3,2e-3"]) == 0
    jobs = [
        f"{TRAIN} --config=tests/tiny.py --workdir={tmp_path}/rates/learning_rate={rate} "
        f"--config.data.files={text_file} --config.optim.learning_rate={rate} --coordinator=auto"
        for rate in ("0.001", "0.002")
    ]
    assert capsys.readouterr().out == f"{SSH} {started('; '.join(jobs))}\n"
    assert not (tmp_path / "rates").exists()


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """Make a machine whose gcloud runs a command here, and whose interpreter prints its arguments."""
    folder = tmp_path_factory.mktemp("worker")
    (folder / "rnnlm").mkdir()
    (folder / "rnnlm-venv" / "bin").mkdir(parents=True)
    stubs = {
        "gcloud": 'for word; do command=$word; done; exec bash -c "${command#--command=}; wait"',
        "rnnlm-venv/bin/python": "printf '%s\\0' \"$@\"",
    }
    for name, line in stubs.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=3))
def test_values_pass_three_shells_unharmed(worker, words):
    """The printed line is typed into a shell; gcloud gives its command to one on the worker, which starts another."""
    words = [*words, "a b'c\"d,e$HOME`f`\\ *~#!\n"]
    log = worker / "rnnlm.log"
    log.unlink(missing_ok=True)
    environment = os.environ | {"PATH": f"{worker}:{os.environ['PATH']}", "HOME": str(worker)}
    [command] = tpu.train(Pod("pod", "zone"), [words, words])
    subprocess.run(["bash", "-c", shlex.join(command)], env=environment, cwd=worker, check=True)
    assert log.read_bytes().decode().split("\0")[:-1] == ["-m", "rnnlm", *words, "--coordinator=auto"] * 2


@pytest.mark.parametrize(
    "args, complaint",
    [
        (["fly"], "Name what to do: train, create, install, status, stop, delete, not 'fly'"),
        (["create", *POD], "--type is missing"),
        (["create", "--tpu=My Pod", "--zone=z"], "--tpu='My Pod' is no name of a TPU"),
        (["status", "--tpu=pod"], "--zone is missing"),
        (["train", *POD, "--config=tests/tiny.py", "--workdir=runs/X"], "runs/X is no absolute path"),
        (["train", *POD, "--workdir=/mnt/X"], "--config names no file in the checkout"),
        (["train", *POD, "--config=tests/tiny.py", "--config.model.hiden=3"], "did you mean model.hidden?"),
        (["install", *POD, "--site=/no/such"], "/no/such could not be read"),
    ],
)
def test_a_mistake_costs_a_sentence(capsys, args, complaint):
    assert run_command("tpu", tpu.main, args) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("tpu: ") and complaint in captured.err


@pytest.mark.parametrize(
    "flags, complaint",
    [
        (["--partition=gpu"], "--partition is for --on=slurm"),
        (["--on=slurm", "--zone=z"], "--zone is for --on=tpu"),
        (["--on=tpu", *POD, "--sbatch=--qos=x"], "--sbatch is for --on=slurm"),
        (["--on=tpu", *POD, "--eval=test"], "--eval is not for --on=tpu"),
        (["--on=tpu", *POD], "is no absolute path"),
    ],
)
def test_a_sweep_refuses_flags_of_other_places(capsys, flags, complaint):
    args = ["--config=tests/tiny.py", "--config.data.files=x", "--name=s", "--dry_run", *flags, "--grid", "seed=0,1"]
    assert run_command("sweep", sweep.main, args) == 2
    assert complaint in capsys.readouterr().err


def test_a_machine_without_gcloud_is_said_so(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_command("tpu", tpu.main, ["delete", *POD, "--run"]) == 2
    assert "There is no gcloud on this machine" in capsys.readouterr().err
