"""Compare the speed of this checkout with another one in alternating turns, with confidence intervals."""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.alone import compile_tasks
from benchmarks.commands import read_tasks
from benchmarks.contest import ROOT, contest, geometric_mean, interpreter, log_row, paired_ratio, table
from benchmarks.versus import sample_tasks, train_tasks

WHAT = {"train": train_tasks, "sample": sample_tasks, "compile": compile_tasks, "read": read_tasks}
VERSIONS = """
import json, platform, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
names = ("jax", "jaxlib", "flax", "optax", "torch")
print(json.dumps({"python": platform.python_version(), "versions": {name: version(name) for name in names}}))
"""


def provenance(checkout: Path) -> dict[str, Any]:
    """Return the commit of a checkout, whether its measured files differ from it, its Python and its packages."""

    def git(*args: str) -> str:
        with contextlib.suppress(OSError):  # there is no git
            return subprocess.run(["git", "-C", str(checkout), *args], capture_output=True, text=True).stdout.strip()
        return ""

    versions = subprocess.run(
        [interpreter(checkout), "-c", VERSIONS], stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    changed = bool(git("status", "--porcelain", "--", "rnnlm", "benchmarks/peers"))
    return {"commit": git("rev-parse", "HEAD"), "changed": changed} | json.loads(versions)


def against(what: str, args: argparse.Namespace) -> dict[str, Any]:
    """Time each task of a kind in both checkouts: -> rows with the ratio of times, other / this.

    A task that one of them cannot run, such as one that an older commit lacks, is left out.
    """
    rows, left_out = [], {}
    for name, task in WHAT[what](args).items():
        task = {"peer": "ours"} | task
        failed: dict[str, str] = {}
        both = {"this": task, "other": task | {"checkout": str(args.against)}}
        times = contest(both, args.rounds, args.seconds, failed)
        if failed:
            left_out[name] = sorted(failed)
            sys.stderr.write(f"left out: {name}, which {' and '.join(failed)} cannot run: see above\n")
            continue
        ms = {who: 1e3 * statistics.median(t) for who, t in times.items()}
        row = {"shape": name, "ms": ms} | paired_ratio(times["other"], times["this"])
        rows.append(row | {"verdict": verdict(*row["interval"])})
        log_row(rows[-1])
    mean = geometric_mean([row["ratio"] for row in rows]) if rows else None
    last = [["geometric mean", "", "", f"{mean:.3f}", "", ""]] if mean else []
    table([what, "this ms", "other ms", "other / this", "95 % interval", "verdict"], [*map(format_row, rows), *last])
    return {"what": what, "ratio": mean, "rounds": args.rounds, "rows": rows, "left_out": left_out}


def format_row(row: dict[str, Any]) -> list[str]:
    """Format a row for the table."""
    low, high = row["interval"]
    ms = [f"{row['ms'][who]:.2f}" for who in ("this", "other")]
    return [row["shape"], *ms, f"{row['ratio']:.3f}", f"{low:.3f}..{high:.3f}", row["verdict"]]


def verdict(low: float, high: float) -> str:
    """Return the verdict on this checkout from the interval of the ratio other / this."""
    return "slower" if high < 1 else "faster" if low > 1 else "not told apart"


def parse_checkout(text: str) -> Path:
    """Return the folder of another checkout. Raises ArgumentTypeError if it has no benchmarks/worker.py."""
    path = Path(text).resolve()
    if not (path / "benchmarks" / "worker.py").is_file():
        raise argparse.ArgumentTypeError(
            f"{text} has no benchmarks/worker.py: name another checkout of rnnlm, as `git worktree add` makes one."
        )
    if path == ROOT:
        raise argparse.ArgumentTypeError(f"{text!r} is this checkout itself: name another one.")
    return path


def main(args: argparse.Namespace, machine: dict[str, Any]) -> None:
    """Run the contests, print their tables, and append a line of JSON for each to the results."""
    both = {"this": provenance(ROOT), "other": provenance(args.against)}
    for who, checkout in both.items():
        changes = ", changed" if checkout["changed"] else ""
        sys.stdout.write(f"{who}: {checkout['commit'][:12]}{changes}, jax {checkout['versions']['jax']}\n")
    sys.stdout.write("\n")
    for what in args.what.split(","):
        result = against(what, args)
        with args.results.open("a") as file:
            file.write(json.dumps(result | machine | both) + "\n")
        if args.json:
            sys.stdout.write(json.dumps(result) + "\n")
