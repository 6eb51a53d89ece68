"""Measure weak scaling of the training step over devices and processes of this machine, and what its all-reduce costs.

    python benchmarks/scale.py [--shapes=2x256x50x50,...] [--rounds=9] [--seconds=1]

Each device has one core and BATCH lanes: one device; two devices of one process; two processes of one device. The last
two also run without the all-reduce of the gradients. All are processes that work only in their turns. Prints a table,
and appends a line of JSON to benchmarks/results/scale.jsonl.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import against
from benchmarks.contest import ROOT, SECONDS, Contestant, close_all, log_row, paired_ratio, table
from benchmarks.peers import ours
from benchmarks.run import machine, parse_shapes
from benchmarks.versus import VOCAB
from rnnlm.nn import size

Task = dict[str, Any]
SHAPES = "1x128x50x50,2x256x50x50,1x1024x16x32"
"""LAYERSxHIDDENxBATCHxWINDOW, BATCH for each device; the last has a large gradient beside little work."""

ALONE = ", no all-reduce"
"""What the names of the ways to train end with in which each device keeps its gradient."""


class Team:
    """Run the tasks of one training, one a process, in lockstep."""

    def __init__(self, tasks: list[Task]):
        self.players = [Contestant(task) for task in tasks]

    def turn(self, n: int) -> float:
        """Run n steps in a row: -> seconds per step of the slowest process."""
        for player in self.players:
            player.wait_until_ready()
        for player in self.players:
            assert player.process.stdin
            player.process.stdin.write(f"{n}\n")
            player.process.stdin.flush()
        return max(player.answer()["seconds"] for player in self.players) / n


def teams(shape: tuple[int, int, int, int], cpus: list[int]) -> dict[str, list[Task]]:
    """Return the tasks of each way to train, a task for each of its processes."""
    layers, hidden, batch, window = shape
    size = {"layers": layers, "hidden": hidden, "window": window, "vocab": VOCAB}
    base = size | {"peer": "ours_scale", "what": "train", "devices": 1, "join": {}, "reduce": True}
    ways = {"1 device": [base | {"batch": batch, "cpus": cpus[:1]}]}
    for reduce in (True, False):
        end = "" if reduce else ALONE
        two = base | {"batch": 2 * batch, "reduce": reduce}
        ways[f"2 devices{end}"] = [two | {"devices": 2, "cpus": cpus[:2]}]
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            join = {"coordinator": f"127.0.0.1:{taken.getsockname()[1]}", "processes": 2}
        ways[f"2 processes{end}"] = [two | {"cpus": cpus[i : i + 1], "join": join | {"process": i}} for i in range(2)]
    return ways


def measure(ways: dict[str, list[Task]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Let the ways to train take turns: -> seconds per step by name, turn by turn."""
    with contextlib.ExitStack() as stack:
        all_teams = {}
        for name, tasks in ways.items():
            team = all_teams[name] = Team(tasks)
            stack.callback(close_all, team.players)
            team.turn(1)  # compiles, before the next one starts
        units = {name: max(1, round(seconds / team.turn(3))) for name, team in all_teams.items()}
        times: dict[str, list[float]] = {name: [] for name in all_teams}
        for i in range(rounds):
            for name in list(all_teams)[:: -1 if i % 2 else 1]:
                times[name].append(all_teams[name].turn(units[name]))
        return times


def describe(shape: tuple[int, int, int, int], times: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians, paired ratios to one device, and the share of a step that the all-reduce takes."""
    layers, hidden, batch, window = shape
    settings = ours.config({"layers": layers, "hidden": hidden, "batch": batch, "window": window}).model
    ways = ("2 devices", "2 processes")
    return {
        "shape": "x".join(map(str, shape)),
        "bytes": 4 * size.count_params(settings, VOCAB),
        "ms": {name: 1e3 * statistics.median(values) for name, values in times.items()},
        "efficiency": {way: paired_ratio(times["1 device"], times[way]) for way in ways},
        "all_reduce": {way: paired_ratio(times[way], times[way + ALONE]) for way in ways},
    }


def page_table(result: dict[str, Any]) -> list[list[str]]:
    """Return a line of scale.jsonl as the table of docs/distributed.md: milliseconds, efficiency and all-reduce."""
    header = ["shape", "gradient", "1 device", "2 devices", "2 processes", "all-reduce, 2 devices", "2 processes"]
    rows = [header]
    for row in result["rows"]:
        ms, sizes = row["ms"], f"{row['bytes'] / 1e6:.1f} MB"
        steps = [f"{ms[way]:.0f} ms ({row['efficiency'][way]['ratio']:.0%})" for way in row["efficiency"]]
        shares = [f"{1 - 1 / ratio['ratio']:.0%}" for ratio in row["all_reduce"].values()]
        rows.append([row["shape"], sizes, f"{ms['1 device']:.0f} ms", *steps, *shares])
    return rows


def main() -> None:
    """Parse the command line, and measure each shape; with --table print the last result for the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=parse_shapes, default=SHAPES, help="LAYERSxHIDDENxBATCHxWINDOW,...")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each way to train")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a turn")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "scale.jsonl")
    parser.add_argument("--table", action="store_true", help="print the last result in Markdown, and measure nothing")
    args = parser.parse_args()
    if args.table:
        header, *rows = page_table(json.loads(args.results.read_text().splitlines()[-1]))
        sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *rows)))
        return
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        parser.error("weak scaling over two devices needs two cores.")
    rows = []
    for shape in args.shapes:
        rows.append(describe(shape, measure(teams(shape, cpus), args.rounds, args.seconds)))
        log_row(rows[-1])
    names = list(rows[0]["ms"])
    lines = [[r["shape"], f"{r['bytes'] / 1e6:.1f}", *(f"{r['ms'][name]:.1f}" for name in names)] for r in rows]
    table(["ms a step", "MB", *names], lines)
    about = {"load": os.getloadavg()} | machine() | against.provenance(ROOT)
    with args.results.open("a") as file:
        file.write(json.dumps({"what": "scale", "rows": rows} | about) + "\n")


if __name__ == "__main__":
    main()
