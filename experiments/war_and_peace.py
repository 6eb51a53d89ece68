"""Tables of experiments/005_war_and_peace, from its results.jsonl."""

from pathlib import Path
from typing import Any

from experiments.scores import format_bpc, nats_per_symbol
from rnnlm.evaluation.tally import Tally
from rnnlm.files import read_lines

FOLDER = Path(__file__).resolve().parent / "005_war_and_peace"
WHAT = {
    "columns": "static, columns, as char-rnn",
    "exact": "static, one lane",
    "tempered": "static, columns, temperature tuned on the validation split",
    "dynamic": "dynamic rms, tuned on the validation split",
}
"""The evaluations, and what the table calls them."""

HARDWARE = "2 cores of an AMD EPYC, 255 GFLOP/s, in other use at times"
PAPER = {"best network of the paper": 1.077, "20-gram of the paper": 1.195}
"""Nats a symbol (Karpathy, Johnson and Li 2015), from excerpts."""

Row = dict[str, Any]


def results(what: str) -> list[Row]:
    """Read the results of a kind; of repeated ones the newest."""
    rows = [row for row in read_lines(FOLDER / "results.jsonl") if row["what"] == what]
    return list({row.get("split"): row for row in rows}.values())


def war_and_peace() -> list[list[str]]:
    """Make the table of published and measured scores on the test split."""
    table = [["", "symbols", "nats", "bpc, ± 95 %", "protocol"]]
    for name, nats in PAPER.items():
        table.append([name, "", f"{nats}", f"{Tally(nats, 1).bpc:.3f}", ""])
    for what, name in WHAT.items():
        for row in results(what):
            if row["split"] == "test":
                score = [f"{nats_per_symbol(row):.4f}", format_bpc(row)]
                table.append([name, f"{row['count']:,}", *score, row["protocol"]])
    return table


def war_and_peace_results() -> list[list[str]]:
    """Make the rows of the README's table of results: on the test split, static in columns, and dynamic."""
    [run] = [row for row in read_lines(FOLDER / "results.jsonl") if row["what"] == "train" and "settings" not in row]
    rows = []
    for what in ("columns", "dynamic"):
        [row] = [row for row in results(what) if row["split"] == "test"]
        count, parameters = f"{row['count']:,}", f"{run['parameters']:,}"
        protocol = row["protocol"].partition(", 1 stream")[0]  # without the settings of dynamic evaluation
        cells = ["War and Peace in columns, test", count, format_bpc(row), protocol, parameters]
        minutes = f"{run['seconds'] / 60:.1f} min"
        rows.append([*cells, HARDWARE, minutes, "`experiments/005_war_and_peace/network.py`"])
    return rows


def war_and_peace_valid() -> list[list[str]]:
    """Make the table of the validation split of each run, by which the settings were chosen."""
    table = [["run", "steps", "minutes", "valid bpc"]]
    for row in read_lines(FOLDER / "results.jsonl"):
        if row["what"] == "train":
            name = row.get("settings", "as `network.py`")
            table.append([name, f"{row['step']:,}", f"{row['seconds'] / 60:.1f}", f"{row['valid_bpc']:.4f}"])
    return table
