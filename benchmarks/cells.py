"""Time a training step of each cell beside the form in which its reference computes it, in PyTorch or flax.

    make .venv/bench                        # installs PyTorch
    .venv/bin/python benchmarks/cells.py [--cells=lstm,gru] [--rounds=15] [--continue]

Each program trains an embedding, two layers and a softmax over 65 symbols, with clipping by norm, Adam and the carry
handed over. The reference is tried with each of its settings, and the quickest takes turns with rnnlm. A line of JSON
goes to benchmarks/results/cells.jsonl as soon as a cell is measured; --continue leaves out cells that have a line of
this commit and shape. PyTorch keeps on disk what it has compiled, so a run with --rounds=1 shortens the next one.
"""

import argparse
import contextlib
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import against
from benchmarks.contest import ROOT, Contestant, close_all, log_row, paired_ratio, settings, table, take_turns
from benchmarks.references import ENTRIES, Task, installed, options_of, our_task, peer_tasks
from benchmarks.run import machine, parse_shapes
from benchmarks.versus import shape_name, train_task
from rnnlm.files import append_line, read_lines

Row = dict[str, Any]

SHAPE = "2x256x50x50"
SECONDS = 0.5  # of one turn


def describe(task: Task) -> str:
    """Describe the peer of a task and its settings in a few words."""
    words = [task["peer"].partition("_")[0], task.get("scan", ""), task.get("compile") or "", settings(task)]
    return " ".join(word for word in words if word)


def try_settings(players: list[Contestant], seconds: float) -> dict[int, float]:
    """Time each player in three turns, once all are ready: -> its least seconds per step by its number.

    One that fails is left out.
    """
    ready, quickest = {}, {}
    for number, player in enumerate(players):
        try:
            player.wait_until_ready()
            ready[number] = player
        except (OSError, RuntimeError) as error:
            sys.stderr.write(f"left out: {error}\n")
    for number, player in ready.items():
        quickest[number] = player.quickest(seconds, turns=3)
    return quickest


def measure(name: str, task: Task, rounds: int, seconds: float) -> Row:
    """Let rnnlm and the quickest peer of an entry take turns: -> the row. Raises RuntimeError if none works."""
    tasks = peer_tasks(name, task)
    with contextlib.ExitStack() as stack:
        # They start and compile at the same time, and are timed one after another.
        ours, *peers = players = [Contestant(each) for each in (our_task(name, task), *tasks)]
        stack.callback(close_all, players)
        ours.wait_until_ready()
        tried = try_settings(peers, seconds / 2)
        if not tried:
            raise RuntimeError(f"No reference of {name} works: see the messages above.")
        best = min(tried, key=lambda number: tried[number])
        close_all([peer for peer in peers if peer is not peers[best]])
        times = take_turns([ours, peers[best]], rounds, seconds)
        params = {"rnnlm": ours.facts["params"], "reference": peers[best].facts["params"]}
    paired = paired_ratio(times[1], times[0])
    return {
        "cell": name,
        "shape": shape_name((task["layers"], task["hidden"], task["batch"], task["window"])),
        "options": options_of(name, task),
        "reference": ENTRIES[name].reference,
        "quickest": describe(tasks[best]),
        "tried_ms": {describe(tasks[number]): 1e3 * time for number, time in tried.items()},
        "ms": dict(zip(("rnnlm", "reference"), (1e3 * statistics.median(t) for t in times), strict=True)),
        "ratio": paired["ratio"],
        "interval": paired["interval"],
        "rounds": rounds,
        "params": params,
    }


def measured(results: Path, shape: str, commit: str) -> set[str]:
    """Return the names of the entries that have a row of this shape and commit."""
    return {row["cell"] for row in read_lines(results) if (row["shape"], row["commit"]) == (shape, commit)}


def parse_cells(text: str) -> list[str]:
    """Parse names of entries. Raises ArgumentTypeError for an unknown one."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(ENTRIES)):
        raise argparse.ArgumentTypeError(f"{','.join(unknown)}: choose of {', '.join(ENTRIES)}")
    return names


def show(rows: list[Row]) -> None:
    """Print the table."""
    lines = [
        [row["cell"], *(f"{row['ms'][who]:.1f}" for who in ("rnnlm", "reference")), f"{row['ratio']:.2f}"]
        + ["{:.2f}..{:.2f}".format(*row["interval"])]
        + [f"{row['params'][who]:,}" for who in ("rnnlm", "reference")]
        + [f"{row['reference']}: {row['quickest']}"]
        for row in rows
    ]
    header = ["cell", "rnnlm ms", "reference ms", "reference / rnnlm", "95 % interval"]
    table([*header, "rnnlm params", "reference params", "reference: its quickest settings"], lines)


def main() -> None:
    """Parse the command line, and measure the cells that it asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=parse_cells, default=list(ENTRIES), help=f"of {', '.join(ENTRIES)}")
    parser.add_argument("--shape", type=parse_shapes, default=SHAPE, help=f"{SHAPE} unless given")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each program")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a turn")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "cells.jsonl")
    parser.add_argument("--continue", action="store_true", dest="resume", help="leave out the cells already measured")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds <= 0:
        parser.error(f"--rounds={args.rounds} --seconds={args.seconds}: give 1 round at least, and some seconds.")
    measure_all(args)


def measure_all(args: argparse.Namespace) -> None:
    """Measure the cells, append a row for each, and print the table."""
    about, shape = against.provenance(ROOT), args.shape[0]
    done = measured(args.results, shape_name(shape), about["commit"]) if args.resume else set()
    rows = []
    for name in args.cells:
        if name in done or not installed(name):
            sys.stdout.write(f"Left out because {'measured' if name in done else 'not installed'}: {name}.\n")
            continue
        try:
            rows.append(measure(name, train_task(shape, "float32"), args.rounds, args.seconds))
        except (OSError, RuntimeError) as error:
            sys.stderr.write(f"left out: {error}\n")
            continue
        append_line(args.results, json.dumps(rows[-1] | machine() | about).encode())
        log_row(rows[-1])
    show(rows)


if __name__ == "__main__":
    main()
