"""Lay out a comparison as text: the columns of each row, and those of them that fit a width."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rnnlm.runs.layout import Row

Lines = list[list[str]]
"""A heading and the rows below it, a text for each column."""
HEADINGS = {
    "bpc_interval": "+- 95 %",
    "interval": "95 % interval",
    "worse_by": "worse by",
    "symbols_per_second": "symbols/s",
    "spread": "+- of runs",
}
"""Headings of the columns that are not headed by their own name."""
FIRST = ("run", "bpc", "worse_by", "interval")
"""Columns that are given room first; after them come the config keys in which the runs differ, and then LAST."""
GROUP_FIRST = ("bpc", "spread", "runs", "worse_by", "lowest", "highest")
"""Columns of groups that are given room after the keys that tell groups apart."""
LAST = (
    "bpc_interval",
    "parameters",
    "seconds",
    "symbols",
    "step",
    "flops",
    "symbols_per_second",
    "stderr",
    "source",
    "protocol",
)
"""Columns in the order in which they are given the room that is left."""
TITLE = ("text", "split", "scored")
"""Entries that are equal in all rows and stand in the title."""
HIDDEN = ("names",)
"""Entries that are for JSON only."""
FORMS: dict[str, Callable[[Any], str]] = {
    "interval": lambda v: f"{v[0]:+.4f}..{v[1]:+.4f}",
    "bpc_interval": lambda v: f"{(v[1] - v[0]) / 2:.4f}",
    "parameters": "{:,}".format,
    "symbols": "{:,}".format,
    "parent": lambda v: Path(v).name,
    "flops": "{:.2e}".format,
    "seconds": "{:,.0f}".format,
    "symbols_per_second": "{:,.0f}".format,
    **dict.fromkeys(("worse_by", "stderr", "spread", "lowest", "highest"), "{:.4f}".format),
}
"""How the values of columns are written."""
MOST_OF_NAME = 18
"""Characters of a run's name where there is not room for all columns."""
GAP = 3
"""Characters between two columns."""


def format_rows(rows: list[Row]) -> Lines:
    """Format the rows of `compare.table` or `groups.group_rows` as text; a star marks the bpc of a validation."""

    def cell(row: Row, name: str) -> str:
        value = row[name]
        if name == "bpc":
            return f"{value:.4f}" + ("*" if row["source"] == "validation" else "")
        if value is None or name in FORMS:
            return "" if value is None else FORMS[name](value)
        return describe_value(value) if isinstance(value, list | tuple | float) else f"{value}"

    names = column_names(rows)
    return [[HEADINGS.get(name, name) for name in names], *([cell(row, name) for name in names] for row in rows)]


def describe_value(value: Any) -> str:
    """Return a value of a config key in words: the items of a list with commas, and "none" for an empty one.

    Numbers have six digits at most.
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    words = ",".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"
    return words or "none"


def column_names(rows: list[Row]) -> list[str]:
    """Return the names of the columns of a table."""
    return [name for name in rows[0] if name not in TITLE + HIDDEN]


def fit_rows(rows: list[Row], width: int) -> Lines:
    """Format rows so that they fit a width in characters: -> the columns that matter most, long names cut.

    All columns are there if they fit. Else keys lose their section, columns without a value are left out, and half of
    the interval of a difference stands beside it.
    """
    columns = dict(zip(column_names(rows), map(list, zip(*format_rows(rows), strict=True)), strict=True))
    if table_width(columns.values()) <= width:
        return [list(line) for line in zip(*columns.values(), strict=True)]
    if "run" in columns:
        columns["run"][1:] = shorten(columns["run"][1:], MOST_OF_NAME)
        halves = [row["interval"] and (row["interval"][1] - row["interval"][0]) / 2 for row in rows]
        columns["interval"] = ["its +-", *("" if half is None else f"{half:.4f}" for half in halves)]
    keys = [name for name in columns if name not in FIRST + GROUP_FIRST + LAST]
    short = [name.rpartition(".")[2] for name in keys]
    for name, last in zip(keys, short, strict=True):
        columns[name][0] = last if short.count(last) == 1 else name
    chosen: list[str] = []
    order = (*FIRST, *keys, *LAST) if "run" in columns else (*keys, *GROUP_FIRST, *LAST)
    for name in (name for name in order if name in columns):
        fits = table_width([columns[n] for n in [*chosen, name]]) <= width
        if name in ("run", "bpc") or (fits and any(columns[name][1:])):
            chosen.append(name)
    return [list(line) for line in zip(*(columns[name] for name in columns if name in chosen), strict=True)]


def table_width(columns: Iterable[list[str]]) -> int:
    """Return the characters that columns take side by side, with a frame."""
    return 1 + sum(max(map(len, column)) + GAP for column in columns)


def shorten(names: Sequence[str], most: int) -> list[str]:
    """Cut names in the middle to `most` characters, or as few more as keep different names different.

    The folder that all lie in is left out, and the place of the cut is the one nearest to the middle.
    """
    if max(map(len, names), default=0) > most and len(folders := {name.rpartition("/")[0] for name in names}) == 1:
        names = [name[len(min(folders)) :].lstrip("/") for name in names]
    for length in range(most, max(map(len, names), default=0)):
        for tail in sorted(range(length), key=lambda tail: abs(2 * tail - length)):
            cut = [n if len(n) <= length else f"{n[: length - tail - 1]}…{n[len(n) - tail :]}" for n in names]
            if len(set(cut)) == len(set(names)):
                return cut
    return list(names)
