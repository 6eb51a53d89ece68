"""Measure the compile time and the memory of a training step of rnnlm, without peers."""

import argparse
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import ROOT, Contestant, contest, ratio, table
from benchmarks.versus import VOCAB


def compile_tasks(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the tasks that trace, compile and run a first step, by depth and window."""
    base = {"peer": "ours", "what": "compile", "layers": 2, "hidden": 128, "batch": 8, "window": 50, "vocab": VOCAB}
    return {
        "2 layers, T=50": base,
        "2 layers, T=2000": base | {"window": 2000},
        "8 layers, T=50": base | {"layers": 8},
    }


def compile_times(args: argparse.Namespace) -> dict[str, Any]:
    """Measure compile times by window and depth, and starts of `rnnlm train` with a cold and a warm cache."""
    tasks = compile_tasks(args)
    times = contest(tasks, args.rounds)
    # Subtract the step itself, which each unit runs once.
    steps = contest({name: task | {"what": "train"} for name, task in tasks.items()}, 3)
    seconds = {name: statistics.median(times[name]) - statistics.median(steps[name]) for name in tasks}
    starts: dict[str, list[float]] = {"cold": [], "warm": []}
    missing = [name for name in ("ml_collections", "orbax", "tensorboardX") if not importlib.util.find_spec(name)]
    if missing:
        sys.stdout.write(f"No start of `rnnlm train` is measured, because {', '.join(missing)} is not installed.\n\n")
    for _ in range(0 if missing else args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for kind in starts:
                starts[kind].append(start_up(Path(folder), kind))
    first, longer, deeper = seconds.values()
    ratios = {"T=2000/T=50": longer / first, "8 layers/2": deeper / first}
    medians = {kind: statistics.median(t) for kind, t in starts.items() if t}
    table(["what", "seconds"], [[name, f"{s:.2f}"] for name, s in seconds.items()])
    table(["compile time", "ratio"], [[name, f"{r:.2f}"] for name, r in ratios.items()])
    table(["process start to first step, 2x512", "seconds"], [[kind, f"{s:.2f}"] for kind, s in medians.items()])
    return {"what": "compile", "ratio": ratios, "rows": [{"seconds": seconds, "first_step_seconds": medians}]}


def start_up(folder: Path, kind: str) -> float:
    """Measure the seconds from the start of `rnnlm train` to its first row in metrics.jsonl."""
    text, workdir = folder / "text.txt", folder / kind
    text.write_bytes(bytes(range(32, 97)) * 2000)
    command = [sys.executable, "-m", "rnnlm", "train", "--config=configs/base.py", f"--workdir={workdir}"]
    overrides = {"data.files": text, "model.hidden": 512, "model.embedding": 512, "log.every": 1}
    overrides |= {"eval.every": 0, "sample.every": 0}
    command += [f"--config.{name}={value}" for name, value in overrides.items()]
    env = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "JAX_COMPILATION_CACHE_DIR": ""}
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    metrics = workdir / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        if process.poll() is not None:
            raise RuntimeError(f"{command} ended with code {process.returncode}.")
        time.sleep(0.002)
    seconds = time.perf_counter() - begin
    process.send_signal(signal.SIGKILL)
    process.wait()
    return seconds


def memory(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the memory and the time of a step over a long window, with and without rematerialization, on a CPU."""
    if args.device == "gpu":
        sys.stdout.write("The memory of a step is measured on a CPU only.\n\n")
        return {"what": "memory", "ratio": {}, "rows": []}
    task = {"peer": "ours", "what": "memory", "layers": 1, "hidden": 512, "batch": 16, "window": 4096, "vocab": VOCAB}
    tasks = {"none": task, "remat": task | {"remat": 512}}
    players = {name: Contestant(each) for name, each in tasks.items()}
    step: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(args.rounds):
        for name, player in players.items():
            step[name].append(player.turn(1))
    used = {name: player.peak - player.facts["before_bytes"] for name, player in players.items()}
    for player in players.values():
        player.close()
    ratios = {"memory": used["remat"] / used["none"], "time": ratio(step["remat"], step["none"])}
    table(
        ["1x512 B=16 T=4096", "step, MiB", "seconds"],
        [[name, f"{used[name] / 2**20:.0f}", f"{statistics.median(step[name]):.2f}"] for name in tasks]
        + [["remat / none", f"{ratios['memory']:.2f}", f"{ratios['time']:.2f}"]],
    )
    return {"what": "memory", "ratio": ratios, "rows": [{"bytes": used, "seconds": step}]}
