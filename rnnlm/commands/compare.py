"""rnnlm compare: compare runs by bpc, with 95 % confidence intervals."""

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from rnnlm.commands.flags import data_flag, trust_flag
from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError
from rnnlm.files import check_writable

if TYPE_CHECKING:
    from rnnlm.runs.layout import Row

STAR = "* the last validation of its training, without interval; rnnlm eval makes one"


def main(argv: list[str]) -> int:
    """Print one row a run, best first."""
    values = flags.FlagValues()
    split = "the split that they were scored on; unless given, test if all were scored on it, else valid"
    flags.DEFINE_string("split", None, split, flag_values=values)
    flags.DEFINE_integer("symbols_from", 0, "which of its symbols, as in eval", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("symbols_to", 0, "and the one after the last; 0: its end", lower_bound=0, flag_values=values)
    protocol = "what the protocol's name begins with; carry unless given, records for runs with data.separator"
    flags.DEFINE_string("protocol", "", protocol, flag_values=values)
    data_flag(values, "check that this text is the runs'; it is not scored")
    flags.DEFINE_enum("format", "table", ["table", "md", "csv", "json"], "of what is printed", flag_values=values)
    flags.DEFINE_bool("wide", False, "show all columns, also where they do not fit the terminal", flag_values=values)
    flags.DEFINE_string("plot", "", "a file for bpc by parameters, compute and time, or by --x", flag_values=values)
    x = "what to plot bpc against: a config key, parameters, flops, seconds or symbols; a second one is the colour"
    flags.DEFINE_string("x", "", x, flag_values=values)
    group = "a config key such as seed: rows are the mean and spread of runs that differ in it only"
    flags.DEFINE_string("group", "", group, flag_values=values)
    trust_flag(values)
    workdirs = parse("compare", values, argv, positional=1000, usage="DIR ...")
    if not workdirs:
        raise UserError("Name the run folders to compare, as in rnnlm compare runs/a runs/b.")
    if values.x and not values.plot:
        raise UserError(f"--x={values.x} is for a plot: add --plot=bpc.png.")

    from rnnlm import api
    from rnnlm.runs import columns, compare, groups, plot

    if values.plot:
        check_writable(Path(values.plot), "--plot")
        plot.check_figure(Path(values.plot))
    if values.x:
        plot.axis_names(values.x)
    if values.group:
        groups.check_key(values.group)
    symbols = values.symbols_from, values.symbols_to
    runs = api.open_runs(workdirs, values.split, symbols, values.protocol, values.trust_code, values.data)
    rows = groups.group_rows(groups.group_runs(runs, values.group)) if values.group else compare.table(runs)
    starred = any(run.validation for run in runs)
    if values.format == "json":
        print(json.dumps(rows))
    elif values.format == "csv":
        flat = [[join(value) for value in row.values()] for row in rows]
        csv.writer(sys.stdout, lineterminator="\n").writerows([list(rows[0]), *flat])
    elif values.format == "md":
        print(f"{', '.join(runs[0].title)}\n")
        header, *lines = columns.format_rows(rows)
        for line in (header, ["---"] * len(header), *lines):
            print(f"| {' | '.join(line)} |")
        if starred:
            print(f"\n{STAR}")
    else:
        print_table(rows, ", ".join(runs[0].title), values.wide, STAR if starred else "")
    if values.plot:
        plot.plot(runs, Path(values.plot), values.x)
    return 0


def join(value: Any) -> Any:
    """Return a value of a CSV file: the ends of an interval as low..high."""
    return "..".join(map(str, value)) if isinstance(value, list) else value


def print_table(rows: list["Row"], title: str, wide: bool, note: str) -> None:
    """Print a table, on a terminal with the columns of runs that fit unless it is to be `wide`."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rnnlm.runs import columns

    console = Console(width=None if sys.stdout.isatty() and not wide else 1000)
    header, *lines = columns.fit_rows(rows, console.width)
    table = Table(title=Text(title))
    for name in header:
        table.add_column(name, overflow="fold", justify="left" if name == header[0] else "right")
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table)
    left_out = len(columns.column_names(rows)) - len(header)
    if left_out:
        print(f"{left_out} columns more with --wide, or in a pipe")
    if note:
        print(note)
