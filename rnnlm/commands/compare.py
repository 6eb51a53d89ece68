"""rnnlm compare: compare runs by bpc, with 95 % confidence intervals."""

import csv
import json
import sys
from pathlib import Path

from absl import flags

from rnnlm.commands.flags import data_flag, trust_flag
from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError


def main(argv: list[str]) -> int:
    """Print one row a run, best first."""
    values = flags.FlagValues()
    flags.DEFINE_string("split", "test", "the split that they were scored on", flag_values=values)
    flags.DEFINE_integer("symbols_from", 0, "which of its symbols, as in eval", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("symbols_to", 0, "and the one after the last; 0: its end", lower_bound=0, flag_values=values)
    protocol = "what the protocol's name begins with; carry unless given, records for runs with data.separator"
    flags.DEFINE_string("protocol", "", protocol, flag_values=values)
    data_flag(values, "check that this text is the runs'; it is not scored")
    flags.DEFINE_enum("format", "table", ["table", "md", "csv", "json"], "of what is printed", flag_values=values)
    flags.DEFINE_string("plot", "", "a file for bpc by parameters, compute and time", flag_values=values)
    trust_flag(values)
    workdirs = parse("compare", values, argv, positional=1000)
    if not workdirs:
        raise UserError("Name the run folders to compare, as in rnnlm compare runs/a runs/b.")
    if values.plot and Path(values.plot).suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"--plot={values.plot} is no figure: give a name that ends in .png, .svg or .pdf.")

    from rnnlm import api
    from rnnlm.runs import compare

    symbols = values.symbols_from, values.symbols_to
    runs = api.open_runs(workdirs, values.split, symbols, values.protocol, values.trust_code, values.data)
    rows = compare.table(runs)
    header, *lines = compare.format_rows(rows)
    if values.format == "json":
        print(json.dumps(rows))
    elif values.format == "csv":
        flat = [{**row, "interval": "..".join(map(str, row["interval"] or []))} for row in rows]
        csv.writer(sys.stdout, lineterminator="\n").writerows([list(flat[0]), *(list(row.values()) for row in flat)])
    elif values.format == "md":
        for line in (header, ["---"] * len(header), *lines):
            print(f"| {' | '.join(line)} |")
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(", ".join(runs[0].comparison_key)))
        for name in header:
            table.add_column(name, overflow="fold", justify="left" if name == "run" else "right")
        for line in lines:
            table.add_row(*map(Text, line))
        Console(width=None if sys.stdout.isatty() else 1000).print(table)
    if values.plot:
        compare.plot(runs, Path(values.plot))
    return 0
