"""Measure whole runs on a GPU: train for two minutes, and compare a killed run with an uninterrupted one."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contest import ROOT
from benchmarks.gpu_scale import REPEATABLE, Row, Run
from rnnlm.runs.layout import RunDir
from rnnlm.runs.metrics import read_rows


@contextlib.contextmanager
def rnnlm(*args: str, flag: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start `rnnlm ARGS` with flags for XLA, and kill it if it still runs at the end of the block."""
    command = [sys.executable, "-m", "rnnlm", *args]
    options: dict[str, Any] = {"cwd": ROOT, "env": os.environ | {"XLA_FLAGS": flag}, "text": True}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def wait_for_success(process: subprocess.Popen[str]) -> str:
    """Wait for a process to end: -> its output. Raises RuntimeError if it fails."""
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with code {process.returncode}: {output[-2000:]}")
    return output


def metrics(workdir: Path) -> list[Row]:
    """Read the complete rows of a run so far."""
    return read_rows(RunDir(workdir).metrics)[0]


def train(run: Run) -> int:
    """Train a large model on the quickstart's text, stop it after two minutes, and evaluate it."""
    with tempfile.TemporaryDirectory() as folder:
        workdir, begin = Path(folder) / "run", time.perf_counter()
        with rnnlm("train", "--config=configs/quickstart.py", f"--workdir={workdir}", *run.scale.train) as process:
            while process.poll() is None and not metrics(workdir):
                time.sleep(0.05)
            first_row_seconds = time.perf_counter() - begin
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(run.scale.train_seconds - first_row_seconds)
            process.send_signal(signal.SIGTERM)
            wait_for_success(process)
        rows = metrics(workdir)
        losses = [row for row in rows if "loss" in row]
        valid = [row["valid_bpc"] for row in rows if "valid_bpc" in row]
        run.add(
            "train",
            overrides=run.scale.train,
            steps=losses[-1]["step"],
            seconds=losses[-1]["seconds"],
            seconds_to_first_row=first_row_seconds,
            symbols_per_second=statistics.median(row["symbols_per_second"] for row in losses),
            train_bpc=losses[-1]["bpc"],
            valid_bpc=valid[-1] if valid else None,
        )
        with rnnlm("eval", f"--workdir={workdir}", "--json", "--step=latest") as process:
            test = json.loads(wait_for_success(process).splitlines()[-1])
        run.add("test", bpc=test["bpc"], count=test["count"], protocol=test["protocol"])
    return 0


def resume(run: Run) -> int:
    """Kill and resume a run, and compare it with an uninterrupted one; try further flags until both are equal."""
    for name, flag in REPEATABLE.items():
        try:
            killed, arrays, step = kill_and_compare(run, flag)
        except (OSError, RuntimeError, ValueError) as error:
            run.add("resume", name=name, flag=flag, failed=str(error))
            continue
        run.add("resume", name=name, flag=flag, killed=killed, equal=not arrays, differing_arrays=arrays,
                first_differing_row=step)  # fmt: skip
        if not arrays:
            break
    return 0


def kill_and_compare(run: Run, flag: str) -> tuple[bool, int, int | None]:
    """Kill and resume a run beside an uninterrupted one.

    Returns (whether the kill came in time, the number of arrays that differ at the end, the first step whose loss
    differs).
    """
    with tempfile.TemporaryDirectory() as folder:
        uninterrupted, killed = Path(folder) / "uninterrupted", Path(folder) / "killed"
        with train_shortly(run, uninterrupted, flag) as process:
            wait_for_success(process)
        with train_shortly(run, killed, flag) as process:
            while process.poll() is None and len(metrics(killed)) < 0.6 * run.scale.resume_steps:
                time.sleep(0.005)
        in_time = process.returncode == -signal.SIGKILL and not RunDir(killed).result.exists()
        with train_shortly(run, killed, flag) as process:
            wait_for_success(process)
        return in_time, *differences(uninterrupted, killed)


def train_shortly(run: Run, workdir: Path, flag: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Start or resume a short run that saves checkpoints often."""
    steps = f"--config.train.steps={run.scale.resume_steps}"
    config = ("--config=configs/quickstart.py", f"--workdir={workdir}", *run.scale.resume, steps)
    return rnnlm("train", *config, "--nocompile_cache", flag=flag)


def differences(a: Path, b: Path) -> tuple[int, int | None]:
    """Compare two runs: -> (number of arrays that differ by digest at the end, first step whose loss differs)."""
    newest = max(int(path.name) for path in RunDir(a).checkpoints.iterdir() if path.name.isdecimal())
    left, right = (
        json.loads((RunDir(folder).checkpoints / str(newest) / "meta" / "metadata").read_text()) for folder in (a, b)
    )
    rows = zip(metrics(a), metrics(b), strict=True)
    first = next((x["step"] for x, y in rows if x["loss"] != y["loss"]), None)
    return sum(left[name] != right.get(name) for name in left), first
