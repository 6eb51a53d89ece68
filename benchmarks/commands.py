"""Measure whole commands, their start included: bpc, and symbols per second."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import ROOT, log_row, table


def quality(args: argparse.Namespace) -> dict[str, Any]:
    """Train the tiny-shakespeare configs: -> seconds from process start, nats of the halves of the validation split."""
    rows = []
    for name in args.quality:
        with tempfile.TemporaryDirectory() as folder:
            took = seconds("train", f"--config=configs/{name}.py", f"--workdir={folder}/run")
            first, whole = (score(folder, n) for n in (55_770, 0))
        second = {"nats": whole["nats"] - first["nats"], "count": whole["count"] - first["count"]}
        nats = {n: s["nats"] / s["count"] for n, s in (("first", first), ("second", second), ("whole", whole))}
        rows.append({"config": name, "seconds": took, "nats": nats})
        log_row(rows[-1])
    table(
        ["config", "seconds", "first half", "second half", "whole (nats)"],
        [[r["config"], f"{r['seconds']:.1f}", *(f"{v:.4f}" for v in r["nats"].values())] for r in rows],
    )
    return {"what": "quality", "ratio": {}, "rows": rows}


def rnnlm(*args: str) -> str:
    """Run `rnnlm ARGS`: -> its standard output."""
    command = [sys.executable, "-m", "rnnlm", *args]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def score(folder: str, symbols: int) -> dict[str, Any]:
    """Score the first `symbols` of the validation split (0: all) in one lane."""
    options = ("--split=valid", "--lanes=1", f"--symbols_to={symbols}", "--json")
    return json.loads(rnnlm("eval", f"--workdir={folder}/run", *options))


def read_tasks(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the tasks that evaluate, adapt to and compress a small text."""
    base = {"peer": "ours_reading", "layers": 1, "hidden": 512}
    return {
        "evaluate 1x512, 64 lanes": base | {"what": "evaluate", "symbols": 16_384, "lanes": 64},
        "dynamic 1x512, segment 20": base | {"what": "adapt", "symbols": 1_280, "segment": 20},
        "compress and decompress 1x256, 64 lanes": base
        | {"what": "code", "hidden": 256, "symbols": 4_096, "lanes": 64},
    }


READ, ADAPTED, PACKED = 4_000_000, 400_000, 1_000_000
"""Numbers of symbols that are evaluated, dynamically evaluated, and compressed."""


def read(args: argparse.Namespace) -> dict[str, Any]:
    """Measure evaluation, dynamic evaluation, training at batch 1, and compression of Python's library.

    The models are trained for a few steps only, which does not change the speed.
    """
    rnnlm("data", "stdlib")
    speeds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        large, small = (train_briefly(f"{folder}/{hidden}", hidden) for hidden in (512, 256))
        took = seconds("eval", large, f"--symbols-to={READ}")
        speeds["evaluate 1x512"] = rows(large, "result.jsonl")[-1]["count"] / took
        settings = ("--dynamic=rms", "--learning_rate=1e-5", "--decay=1e-3", f"--symbols-to={ADAPTED}")
        speeds["dynamic 1x512, segment 20, all included"] = ADAPTED / seconds("eval", large, *settings)
        speeds["dynamic 1x512, segment 20"] = ADAPTED / rows(large, "result.jsonl")[-1]["seconds"]
        for window in (20, 50):
            run = train_briefly(f"{folder}/{window}", 512, batch=1, window=window, steps=100_000 // window)
            in_training = [row["symbols_per_second"] for row in rows(run, "metrics.jsonl") if "loss" in row]
            speeds[f"train 1x512, batch 1, window {window}"] = statistics.median(in_training[1:])
        text, compressed, decoded = (Path(folder) / name for name in ("text", "compressed", "decoded"))
        corpus = json.loads((Path(folder) / "512" / "run.json").read_text())["corpus"]
        text.write_bytes(Path(corpus["path"]).read_bytes()[-PACKED:])
        coding = ("compress", small, str(text), f"-o={compressed}", "--lanes=64")
        speeds["compress 1x256, 64 lanes"] = PACKED / seconds(*coding, "--noverify")
        speeds["decompress"] = PACKED / seconds("decompress", small, str(compressed), f"-o={decoded}")
        assert decoded.read_bytes() == text.read_bytes()
    table(["what", "symbols/s"], [[name, f"{speed:,.0f}"] for name, speed in speeds.items()])
    slower = {w: speeds[f"train 1x512, batch 1, window {w}"] / speeds["dynamic 1x512, segment 20"] for w in (20, 50)}
    table(["dynamic / training at batch 1, time", "ratio"], [[f"window {w}", f"{r:.2f}"] for w, r in slower.items()])
    ratios = {f"dynamic/train, window {w}": r for w, r in slower.items()}
    return {"what": "read", "ratio": ratios, "rows": [{"symbols_per_second": speeds}]}


def train_briefly(folder: str, hidden: int, **training: int) -> str:
    """Train a model on Python's library for a few steps: -> the flag --workdir of its run."""
    sizes = {"layers": 1, "hidden": hidden, "embedding": hidden}
    overrides = [f"--config.model.{name}={value}" for name, value in sizes.items()]
    overrides += [f"--config.train.{name}={value}" for name, value in ({"steps": 20} | training).items()]
    overrides += [f"--config.{name}.every=0" for name in ("eval", "sample")]
    shares = "--config.data.split=0.5/0.1/0.4"
    rnnlm("train", "--config=configs/base.py", shares, f"--workdir={folder}", *overrides)
    return f"--workdir={folder}"


def seconds(*command: str) -> float:
    """Measure the seconds that a command of rnnlm takes."""
    begin = time.perf_counter()
    rnnlm(*command)
    return time.perf_counter() - begin


def rows(workdir: str, name: str) -> list[dict[str, Any]]:
    """Read a file of JSON lines of a run; `workdir` is the flag --workdir."""
    text = (Path(workdir.removeprefix("--workdir=")) / name).read_text()
    return [json.loads(line) for line in text.splitlines()]
