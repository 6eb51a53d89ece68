"""Measure whole commands on a GPU: the quickstart run from end to end, a large model for a while, and plans."""

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
from benchmarks.gpu_scale import Row, Run
from rnnlm.runs.layout import RunDir
from rnnlm.runs.metrics import read_rows


@contextlib.contextmanager
def rnnlm(*args: str, flag: str = "", cache: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start `rnnlm ARGS` with flags for XLA, and kill it if it still runs at the end of the block.

    `cache` is a folder for compiled programs; None is for those of the user or, with --nocompile_cache, for none.
    """
    command = [sys.executable, "-m", "rnnlm", *args]
    env = os.environ | {"XLA_FLAGS": flag} | ({"JAX_COMPILATION_CACHE_DIR": str(cache)} if cache else {})
    options: dict[str, Any] = {"cwd": ROOT, "env": env, "text": True, "errors": "replace"}
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


def json_line(output: str) -> Row:
    """Return the last line of an output that is an object of JSON. Raises ValueError if none is."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError(f"There is no line of JSON in {output[-2000:]!r}.")
    return json.loads(lines[-1])


def metrics(workdir: Path) -> list[Row]:
    """Read the complete rows of a run so far."""
    return read_rows(RunDir(workdir).metrics)[0]


def seconds_to_first_row(process: subprocess.Popen[str], workdir: Path) -> float:
    """Wait for the first row of a run that has just been started: -> the seconds that it took."""
    begin = time.perf_counter()
    while process.poll() is None and not metrics(workdir):
        time.sleep(0.05)
    return time.perf_counter() - begin


def quickstart(run: Run) -> int:
    """Do with no compiled programs what `make run` does, and start once more with them; record a row for each."""
    with tempfile.TemporaryDirectory() as folder:
        workdir, again, cache = (Path(folder) / name for name in ("run", "again", "cache"))
        config = ["--config=configs/quickstart.py", *run.scale.quickstart]
        begin = time.perf_counter()
        with rnnlm("train", *config, f"--workdir={workdir}", cache=cache) as process:
            first_row_seconds = seconds_to_first_row(process, workdir)
            wait_for_success(process)
        seconds, rows = time.perf_counter() - begin, metrics(workdir)
        losses = [row for row in rows if "loss" in row]
        run.add(
            "quickstart",
            steps=losses[-1]["step"],
            seconds=seconds,
            seconds_to_first_row=first_row_seconds,
            symbols_per_second=statistics.median(row["symbols_per_second"] for row in losses),
            result=json.loads(RunDir(workdir).result.read_text()),
        )
        with rnnlm("train", *config, f"--workdir={again}", cache=cache) as process:
            run.add(
                "command", name="train, to the first row, compiled before", seconds=seconds_to_first_row(process, again)
            )
        dynamic = [
            "--dynamic=rms",
            "--learning_rate=1.6e-4",
            "--decay=2e-3",
            f"--symbols_to={run.scale.dynamic_symbols}",
        ]
        for name, words in {
            "sample": ["sample", "--length=450", "--temperature=0.7", "--top_p=0.9", "--seed=0", "--prompt=class"],
            "eval": ["eval", "--split=test", "--json"],
            "eval, dynamic": ["eval", "--split=test", "--json", *dynamic],
        }.items():
            begin = time.perf_counter()
            with rnnlm(*words, f"--workdir={workdir}", cache=cache) as process:
                output = wait_for_success(process)
            seconds = time.perf_counter() - begin
            run.add("command", name=name, seconds=seconds, output=json_line(output) if "--json" in words else output)
    return 0


def plan(run: Run) -> int:
    """Plan the run of the part `train` with a short trial, and record what the plan says."""
    with rnnlm("plan", "--config=configs/quickstart.py", *run.scale.train, "--trial_seconds=4", "--json") as process:
        planned = json_line(wait_for_success(process))
    run.add("plan", overrides=run.scale.train, planned=planned)
    return 0


def train(run: Run) -> int:
    """Train a large model on the quickstart's text, stop it after a while, and evaluate it."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        with rnnlm("train", "--config=configs/quickstart.py", f"--workdir={workdir}", *run.scale.train) as process:
            first_row_seconds = seconds_to_first_row(process, workdir)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(run.scale.train_seconds)
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
            test = json_line(wait_for_success(process))
        run.add("test", bpc=test["bpc"], count=test["count"], protocol=test["protocol"])
    return 0
