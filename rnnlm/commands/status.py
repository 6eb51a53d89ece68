"""rnnlm status: how runs are getting on, while they train and later."""

import json
import socket
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from absl import flags

from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError

if TYPE_CHECKING:
    from rnnlm.runs.status import Status

LEAST_OF_NAME = 10
"""Characters of a run's name that the table keeps, however narrow the terminal is."""
LESS = ("valid", "sym/s", "process")
"""Columns that the table leaves out one after another where it does not fit the terminal."""
GAP = 2
"""Characters between two columns."""


def main(argv: list[str]) -> int:
    """Print how each run is getting on."""
    values = flags.FlagValues()
    flags.DEFINE_bool("json", False, "print a line of JSON for each run, with all that is known", flag_values=values)
    flags.DEFINE_bool("wide", False, "show all columns, also where they do not fit the terminal", flag_values=values)
    # A shell may have replaced a glob by the folders of a large sweep.
    dirs = parse("status", values, argv, positional=sys.maxsize, usage="DIR DIR ...")
    if not dirs:
        raise UserError("Name run folders, or folders that hold such, as in rnnlm status runs/a runs/sweep.")

    from rnnlm.runs.status import status

    runs = status(dirs)
    if values.json:
        for run in runs:
            print(json.dumps(asdict(run)))
    elif sys.stdout.isatty():
        print_table(runs, values.wide)
    else:
        for run in runs:
            print(describe(run))
    return 0


def describe(run: "Status") -> str:
    """Say in one line how a run is getting on."""
    words = [f"{run.run}: {run.state}", f"step {run.step:,}" + (f" of {run.steps:,}" if run.steps else "")]
    if run.bpc is not None:
        words.append(f"{run.bpc:.4f} bpc")
    if run.valid_bpc is not None:
        words.append(f"valid {run.valid_bpc:.4f} bpc at step {run.valid_step:,}")
    if run.best_bpc is not None and run.best_step != run.valid_step:
        words.append(f"best {run.best_bpc:.4f} at step {run.best_step:,}")
    if run.symbols_per_second is not None:
        words.append(f"{run.symbols_per_second:,.0f} symbols/s")
    if run.seconds_left is not None and run.state != "done":
        words.append(f"{format_seconds(run.seconds_left)} left")
    if run.silent is not None and run.state != "done":
        words.append(f"silent for {format_seconds(run.silent)}")
    if run.pid is not None and run.state != "done":
        lives = {True: "", False: ", which has ended", None: ", which is not seen from here"}[run.alive]
        words.append(f"process {run.pid} on {run.host} since {run.since}{lives}")
    return ", ".join(words) + (f": {run.message}" if run.message else "")


def print_table(runs: list["Status"], wide: bool) -> None:
    """Print a row for each run, on a narrow terminal without the columns that matter least, and then the messages."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rnnlm.runs.columns import shorten

    console = Console(width=1000 if wide else None, highlight=False)
    columns = {name: [name, *texts] for name, texts in columns_of(runs).items()}
    left_out = [] if wide else list(LESS)
    while left_out and room_for_names(columns, console.width) < LEAST_OF_NAME:
        del columns[left_out.pop(0)]
    room = max(LEAST_OF_NAME, room_for_names(columns, console.width))
    columns["run"][1:] = shorten(columns["run"][1:], room)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold", justify="left" if name in ("run", "state", "process") else "right")
    for line in list(zip(*columns.values(), strict=True))[1:]:
        table.add_row(*map(Text, line))
    console.print(table)
    for run in runs:
        if run.message:
            print(f"{run.run}: {run.message}")
    missing = [name for name in LESS if name not in columns]
    if missing:
        print(f"without {', '.join(missing)}: see --wide, or print to a pipe")


def room_for_names(columns: dict[str, list[str]], width: int) -> int:
    """Return the characters of a line that the other columns leave for the names of runs."""
    return width - sum(GAP + max(map(len, texts)) for name, texts in columns.items() if name != "run")


def columns_of(runs: list["Status"]) -> dict[str, list[str]]:
    """Return the columns of the table, a text for each run."""
    return {
        "run": [run.run for run in runs],
        "state": [run.state for run in runs],
        "step": [f"{run.step}/{run.steps or '?'}" for run in runs],
        "bpc": [format_bpc(run.bpc) for run in runs],
        "valid": [format_bpc(run.valid_bpc) for run in runs],
        "best": [format_bpc(run.best_bpc) for run in runs],
        "sym/s": ["" if run.symbols_per_second is None else f"{run.symbols_per_second:,.0f}" for run in runs],
        "left": [
            "" if run.seconds_left is None or run.state == "done" else format_seconds(run.seconds_left) for run in runs
        ],
        "silent": ["" if run.silent is None else format_seconds(run.silent) for run in runs],
        "process": [format_process(run) for run in runs],
    }


def format_process(run: "Status") -> str:
    """Return the number of the process that trains, with its machine if that is another one."""
    if run.alive is False or run.pid is None:
        return ""
    place = "" if run.host == socket.gethostname() else f" {run.host}"
    return f"{run.pid}{place}{'' if run.alive else '?'}"


def format_bpc(bpc: float | None) -> str:
    """Return a bpc with four digits, or nothing."""
    return "" if bpc is None else f"{bpc:.4f}"


def format_seconds(seconds: float) -> str:
    """Return a time in its two largest units, such as 40 s, 12 min, 3 h 05 or 2 d 07 h."""
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes:.0f} min"
    hours, minutes = divmod(round(minutes), 60)
    return f"{hours} h {minutes:02d}" if hours < 36 else f"{hours // 24} d {hours % 24:02d} h"
