"""rnnlm beside its peers, in alternation in one run: times, and their ratios pair by pair.

    python benchmarks/run.py --what=train,sample,compile,memory,read,quality [--json]

Each contestant is a process of its own that works only when it is its turn. A peer is first tried with each of its
settings, and the best goes into the contest. Prints tables, and appends a line of JSON for each to
benchmarks/results/bench.jsonl. On a machine with a GPU, the shapes are a GPU's.
"""

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import alone, commands, versus
from benchmarks.contest import ROOT, SECONDS, Contestant
from benchmarks.versus import PEERS, SHAPES

WHAT = {
    "train": versus.train,
    "sample": versus.sample,
    "compile": alone.compile_times,
    "memory": alone.memory,
    "read": commands.read,
    "quality": commands.quality,
}


def measure_ceiling() -> tuple[float, dict[str, Any]]:
    """FLOP/s of a large float32 product, and where it ran."""
    with contextlib.closing(Contestant({"peer": "ours", "what": "ceiling", "size": 2048})) as player:
        return 2 * 2048**3 / player.quickest(SECONDS, turns=5), player.facts


def machine() -> dict[str, Any]:
    """What was measured on, and which code."""

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return done.stdout.strip()

    def version(name: str) -> str | None:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
        return None

    cpu = ""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--", "rnnlm", "benchmarks/peers")),
        "python": platform.python_version(),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "torch")},
    }


def shapes(text: str) -> Iterator[tuple[int, int, int, int]]:
    for each in text.split(","):
        layers, hidden, batch, window = (int(n) for n in each.split("x"))
        yield layers, hidden, batch, window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default="train,sample,compile,memory,read", help=f"of {', '.join(WHAT)}")
    parser.add_argument("--shapes", help="LAYERSxHIDDENxBATCHxWINDOW,... in place of the usual ones")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--quality", nargs="*", default=["tinyshakespeare"], help="configs for --what=quality")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON for each of --what")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "bench.jsonl")
    args = parser.parse_args()
    unknown = set(args.what.split(",")) - WHAT.keys()
    if unknown:
        parser.error(f"--what={','.join(sorted(unknown))}: choose of {', '.join(WHAT)}")
    args.peers = [name for name in PEERS if importlib.util.find_spec(name)]
    if len(args.peers) < len(PEERS):
        sys.stdout.write(f"Left out, not being installed: {', '.join(PEERS.keys() - set(args.peers))}.\n")
    ceiling, facts = measure_ceiling()
    sys.stdout.write(f"matmul ceiling, float32 2048^3 on {facts['device']}: {ceiling / 1e9:.0f} GFLOP/s\n\n")
    args.device = "cpu" if facts["backend"] == "cpu" else "gpu"
    args.shapes = list(shapes(args.shapes)) if args.shapes else SHAPES[args.device]
    args.results.parent.mkdir(parents=True, exist_ok=True)
    about = machine() | facts | {"float32_2048_gflops": ceiling / 1e9}
    for what in args.what.split(","):
        found = WHAT[what](args)
        with args.results.open("a") as file:
            file.write(json.dumps(found | about) + "\n")
        if args.json:
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
