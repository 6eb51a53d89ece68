"""This checkout beside another one, in alternation in one run: what became slower, and how sure that is."""

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
from benchmarks.contest import ROOT, contest, geometric_mean, interpreter, paired_ratio, say, table
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
    """The commit of a checkout, whether what is measured differs from it, and its Python and packages."""

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
    """Contest each task of a kind between both checkouts: -> rows with the ratio of times, other / this.

    A task that one of them cannot do, such as an older commit that has no such contest, is left out.
    """
    rows, left_out = [], {}
    for name, task in WHAT[what](args).items():
        task = {"peer": "ours"} | task
        failed: dict[str, str] = {}
        both = {"this": task, "other": task | {"checkout": str(args.against)}}
        times = contest(both, args.rounds, args.seconds, failed)
        if failed:
            left_out[name] = sorted(failed)
            sys.stderr.write(f"left out: {name}, which {' and '.join(failed)} cannot do: see above\n")
            continue
        ms = {who: 1e3 * statistics.median(t) for who, t in times.items()}
        row = {"shape": name, "ms": ms} | paired_ratio(times["other"], times["this"])
        rows.append(row | {"verdict": verdict(*row["interval"])})
        say(rows[-1])
    mean = geometric_mean([row["ratio"] for row in rows]) if rows else None
    last = [["geometric mean", "", "", f"{mean:.3f}", "", ""]] if mean else []
    table([what, "this ms", "other ms", "other / this", "95 % interval", "verdict"], [*map(format_row, rows), *last])
    return {"what": what, "ratio": mean, "rounds": args.rounds, "rows": rows, "left_out": left_out}


def format_row(row: dict[str, Any]) -> list[str]:
    """Format a row of the table."""
    low, high = row["interval"]
    ms = [f"{row['ms'][who]:.2f}" for who in ("this", "other")]
    return [row["shape"], *ms, f"{row['ratio']:.3f}", f"{low:.3f}..{high:.3f}", row["verdict"]]


def verdict(low: float, high: float) -> str:
    """Say what the interval of the ratio other / this shows of this checkout."""
    return "slower" if high < 1 else "faster" if low > 1 else "not told apart"


def parse_checkout(text: str) -> Path:
    """Return the folder of another checkout. Raises ArgumentTypeError where it has no benchmark of ours."""
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
        found = against(what, args)
        with args.results.open("a") as file:
            file.write(json.dumps(found | machine | both) + "\n")
        if args.json:
            sys.stdout.write(json.dumps(found) + "\n")
