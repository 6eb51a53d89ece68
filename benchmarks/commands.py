"""Whole commands by the clock, starting included: what they reach, and how fast."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import ROOT, say, table


def quality(args: argparse.Namespace) -> dict[str, Any]:
    """The tiny-shakespeare configs from process start, and the halves of their validation split."""
    rows = []
    for name in args.quality:
        with tempfile.TemporaryDirectory() as folder:
            took = seconds("train", f"--config=configs/{name}.py", f"--workdir={folder}/run")
            found = [score(folder, n) for n in (55_770, 0)]
        first, whole = found
        second = {"nats": whole["nats"] - first["nats"], "count": whole["count"] - first["count"]}
        nats = {n: s["nats"] / s["count"] for n, s in (("first", first), ("second", second), ("whole", whole))}
        rows.append({"config": name, "seconds": took, "nats": nats})
        say(rows[-1])
    table(
        ["config", "seconds", "first half", "second half", "whole (nats)"],
        [[r["config"], f"{r['seconds']:.1f}", *(f"{v:.4f}" for v in r["nats"].values())] for r in rows],
    )
    return {"what": "quality", "ratio": {}, "rows": rows}


def rnnlm(*args: str) -> str:
    command = [sys.executable, "-m", "rnnlm", *args]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def score(folder: str, symbols: int) -> dict[str, Any]:
    """The validation split's first symbols, or all, read end to end with one carry."""
    options = ("--split=valid", "--lanes=1", f"--symbols_to={symbols}", "--json")
    return json.loads(rnnlm("eval", f"--workdir={folder}/run", *options))


def read_tasks(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """A small text evaluated, adapted to and coded, in a process that has started: for contests."""
    base = {"peer": "ours_reading", "layers": 1, "hidden": 512}
    return {
        "evaluate 1x512, 64 lanes": base | {"what": "evaluate", "symbols": 16_384, "lanes": 64},
        "dynamic 1x512, segment 20": base | {"what": "adapt", "symbols": 1_280, "segment": 20},
        "compress and decompress 1x256, 64 lanes": base
        | {"what": "code", "hidden": 256, "symbols": 4_096, "lanes": 64},
    }


READ, ADAPTED, PACKED = 4_000_000, 400_000, 1_000_000
"""Symbols that are evaluated, evaluated dynamically, and compressed."""


def read(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluation, dynamic evaluation beside training at batch 1, and compression, of Python's library.

    The models are hardly trained, which changes no time.
    """
    rnnlm("data", "stdlib")
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        large, small = (fresh(f"{folder}/{hidden}", hidden) for hidden in (512, 256))
        took = seconds("eval", large, f"--symbols-to={READ}")
        found["evaluate 1x512"] = rows(large, "result.jsonl")[-1]["count"] / took
        settings = ("--dynamic=rms", "--learning_rate=1e-5", "--decay=1e-3", f"--symbols-to={ADAPTED}")
        found["dynamic 1x512, segment 20, all included"] = ADAPTED / seconds("eval", large, *settings)
        found["dynamic 1x512, segment 20"] = ADAPTED / rows(large, "result.jsonl")[-1]["seconds"]
        for window in (20, 50):
            run = fresh(f"{folder}/{window}", 512, batch=1, window=window, steps=100_000 // window)
            speeds = [row["symbols_per_second"] for row in rows(run, "metrics.jsonl") if "loss" in row]
            found[f"train 1x512, batch 1, window {window}"] = statistics.median(speeds[1:])
        text, packed, again = (Path(folder) / name for name in ("text", "packed", "again"))
        corpus = json.loads((Path(folder) / "512" / "run.json").read_text())["corpus"]
        text.write_bytes(Path(corpus["path"]).read_bytes()[-PACKED:])
        coding = ("compress", small, str(text), f"-o={packed}", "--lanes=64")
        found["compress 1x256, 64 lanes"] = PACKED / seconds(*coding, "--noverify")
        found["decompress"] = PACKED / seconds("decompress", small, str(packed), f"-o={again}")
        assert again.read_bytes() == text.read_bytes()
    table(["what", "symbols/s"], [[name, f"{speed:,.0f}"] for name, speed in found.items()])
    slower = {w: found[f"train 1x512, batch 1, window {w}"] / found["dynamic 1x512, segment 20"] for w in (20, 50)}
    table(["dynamic / training at batch 1, time", "ratio"], [[f"window {w}", f"{r:.2f}"] for w, r in slower.items()])
    ratios = {f"dynamic/train, window {w}": r for w, r in slower.items()}
    return {"what": "read", "ratio": ratios, "rows": [{"symbols_per_second": found}]}


def fresh(folder: str, hidden: int, **training: int) -> str:
    """Train a model of Python's library for a moment: -> the flag that names its run."""
    sizes = {"layers": 1, "hidden": hidden, "embedding": hidden}
    overrides = [f"--config.model.{name}={value}" for name, value in sizes.items()]
    overrides += [f"--config.train.{name}={value}" for name, value in ({"steps": 20} | training).items()]
    overrides += [f"--config.{name}.every=0" for name in ("eval", "sample")]
    shares = "--config.data.split=0.5/0.1/0.4"
    rnnlm("train", "--config=configs/base.py", shares, f"--workdir={folder}", *overrides)
    return f"--workdir={folder}"


def seconds(*command: str) -> float:
    begin = time.perf_counter()
    rnnlm(*command)
    return time.perf_counter() - begin


def rows(workdir: str, name: str) -> list[dict[str, Any]]:
    text = (Path(workdir.removeprefix("--workdir=")) / name).read_text()
    return [json.loads(line) for line in text.splitlines()]
