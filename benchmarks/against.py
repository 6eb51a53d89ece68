"""This checkout beside another one, in alternation in one run: what became slower, and how sure that is."""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.alone import compile_tasks
from benchmarks.contest import ROOT, contest, geometric_mean, interpreter, median_interval, say, table
from benchmarks.versus import sample_tasks, train_tasks

WHAT = ("train", "sample", "compile")
ABOUT = """
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


def about(checkout: Path) -> dict[str, Any]:
    """The commit of a checkout, whether what is measured differs from it, and its Python and packages."""

    def git(*args: str) -> str:
        command = ["git", "-C", str(checkout), *args]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()

    told = subprocess.run([interpreter(checkout), "-c", ABOUT], stdout=subprocess.PIPE, check=True, text=True).stdout
    changed = bool(git("status", "--porcelain", "--", "rnnlm", "benchmarks/peers"))
    return {"commit": git("rev-parse", "HEAD"), "changed": changed} | json.loads(told)


def against(what: str, args: argparse.Namespace) -> dict[str, Any]:
    """Contest each task of a kind between both checkouts: -> rows with the ratio of times, other / this."""
    made = {"train": lambda: train_tasks(args), "sample": sample_tasks, "compile": compile_tasks}[what]()
    rows = []
    for name, task in made.items():
        task = task | {"peer": "ours"}
        times = contest({"this": task, "other": task | {"checkout": str(args.against)}}, args.rounds, args.seconds)
        ratios = [b / a for a, b in zip(times["this"], times["other"], strict=True)]
        low, high = median_interval(ratios)
        ms = {who: 1e3 * statistics.median(t) for who, t in times.items()}
        rows.append({"shape": name, "ms": ms, "ratio": statistics.median(ratios), "interval": [low, high]})
        rows[-1] |= {"ratios": ratios, "verdict": verdict(low, high)}
        say(rows[-1])
    mean = geometric_mean([row["ratio"] for row in rows])
    table(
        [what, "this ms", "other ms", "other / this", "95 % interval", "this is"],
        [*map(shown, rows), ["geometric mean", "", "", f"{mean:.3f}", "", ""]],
    )
    return {"what": what, "ratio": mean, "rounds": args.rounds, "rows": rows}


def shown(row: dict[str, Any]) -> list[str]:
    """Format a row of the table."""
    low, high = row["interval"]
    ms = [f"{row['ms'][who]:.2f}" for who in ("this", "other")]
    return [row["shape"], *ms, f"{row['ratio']:.3f}", f"{low:.3f}..{high:.3f}", row["verdict"]]


def verdict(low: float, high: float) -> str:
    """What the interval of the ratio other / this says of this checkout."""
    return "slower" if high < 1 else "faster" if low > 1 else "not told apart"


def checked(text: str) -> Path:
    """The folder of another checkout. Raises ArgumentTypeError where it has no benchmark of ours."""
    path = Path(text).resolve()
    if not (path / "benchmarks" / "worker.py").is_file():
        raise argparse.ArgumentTypeError(
            f"{text} has no benchmarks/worker.py: name another checkout of rnnlm, as `git worktree add` makes one."
        )
    if path == ROOT:
        raise argparse.ArgumentTypeError(f"{text} is this checkout itself: name another one.")
    return path


def main(args: argparse.Namespace, machine: dict[str, Any]) -> None:
    """Run the contests, print their tables, and append a line of JSON for each to the results."""
    both = {"this": about(ROOT), "other": about(args.against)}
    for who, told in both.items():
        changes = ", changed" if told["changed"] else ""
        sys.stdout.write(f"{who}: {told['commit'][:12]}{changes}, jax {told['versions']['jax']}\n")
    sys.stdout.write("\n")
    for what in args.what.split(","):
        found = against(what, args)
        with args.results.open("a") as file:
            file.write(json.dumps(found | machine | both) + "\n")
        if args.json:
            sys.stdout.write(json.dumps(found) + "\n")
