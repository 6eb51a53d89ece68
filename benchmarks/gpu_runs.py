"""Whole runs on a GPU: training for two minutes, and whether a killed run ends as an undisturbed one."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.contest import ROOT
from benchmarks.gpu_scale import REPEATABLE, Row, Run


def rnnlm(*args: str, flag: str = "") -> subprocess.Popen[str]:
    """`rnnlm ARGS` as a process."""
    env = os.environ | {"XLA_FLAGS": flag}
    command = [sys.executable, "-m", "rnnlm.cli", *args]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process that must succeed: -> what it printed."""
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with code {process.returncode}: {said[-2000:]}")
    return said


def metrics(workdir: Path) -> list[Row]:
    """The whole rows of a run so far."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def train(run: Run) -> int:
    """Train the quickstart's text for a while with a model of the GPU's size, stop by SIGTERM, evaluate."""
    with tempfile.TemporaryDirectory() as folder:
        workdir, begun = Path(folder) / "run", time.perf_counter()
        process = rnnlm("train", "--config=configs/quickstart.py", f"--workdir={workdir}", *run.scale.train)
        while process.poll() is None and not metrics(workdir):
            time.sleep(0.05)
        started = time.perf_counter() - begun
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(run.scale.train_seconds)
        process.send_signal(signal.SIGTERM)
        finish(process)
        losses = [row for row in metrics(workdir) if "loss" in row]
        valid = [row["valid_bpc"] for row in metrics(workdir) if "valid_bpc" in row]
        test = json.loads(finish(rnnlm("eval", f"--workdir={workdir}", "--json", "--step=latest")).splitlines()[-1])
        speeds = [row["symbols_per_second"] for row in losses]
        run.add("train", overrides=run.scale.train, steps=losses[-1]["step"], seconds=losses[-1]["seconds"],
                seconds_to_first_row=started, symbols_per_second=statistics.median(speeds), train_bpc=losses[-1]["bpc"],
                valid_bpc=valid[-1:] and valid[-1], test_bpc=test["bpc"], test_count=test["count"])  # fmt: skip
    return 0


def resume(run: Run) -> int:
    """Kill a run, let it go on, and compare it with an undisturbed one; with more flags until they are equal."""
    for name, flag in REPEATABLE.items():
        with tempfile.TemporaryDirectory() as folder:
            whole, killed = Path(folder) / "whole", Path(folder) / "killed"
            finish(short_run(run, whole, flag))
            process = short_run(run, killed, flag)
            while process.poll() is None and len(metrics(killed)) < 0.7 * run.scale.resume_steps:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            finish(short_run(run, killed, flag))
            differing, rows = differences(whole, killed)
        run.add("resume", name=name, flag=flag, killed=process.returncode == -signal.SIGKILL, equal=not differing,
                differing_arrays=differing, first_differing_row=rows)  # fmt: skip
        if not differing:
            break
    return 0


def short_run(run: Run, workdir: Path, flag: str) -> subprocess.Popen[str]:
    steps = f"--config.train.steps={run.scale.resume_steps}"
    config = ("--config=configs/quickstart.py", f"--workdir={workdir}", *run.scale.resume, steps)
    return rnnlm("train", *config, "--nocompile_cache", flag=flag)


def differences(a: Path, b: Path) -> tuple[int, int | None]:
    """(arrays of the last checkpoints that differ, by their digests; the first step whose loss does)."""
    newest = max(int(path.name) for path in (a / "checkpoints").iterdir() if path.name.isdecimal())
    left, right = (
        json.loads((folder / "checkpoints" / str(newest) / "meta" / "metadata").read_text()) for folder in (a, b)
    )
    rows = zip(metrics(a), metrics(b), strict=True)
    first = next((x["step"] for x, y in rows if x["loss"] != y["loss"]), None)
    return sum(left[name] != right.get(name) for name in left), first
