"""Tables and the plot of experiments/004_which_recurrence, from its speeds.jsonl and results.jsonl.

python experiments/which_recurrence.py       # draw experiments/004_which_recurrence/contest.png
"""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.scores import format_bpc
from rnnlm.files import read_lines
from rnnlm.runs.results import row_blocks

FOLDER = Path(__file__).resolve().parent / "004_which_recurrence"
STAGES = {"clock": "4 minutes", "symbols": "2 million symbols"}

Row = dict[str, Any]


def results(stage: str) -> dict[str, Row]:
    """Return the newest result of each contestant in a stage but those that have failed, the best first."""
    newest = {row["entry"]: row for row in read_lines(FOLDER / "results.jsonl") if row["stage"] == stage}
    ranked = sorted((row for row in newest.values() if "bpc" in row), key=lambda row: row["bpc"])
    return {row["entry"]: row for row in ranked}


def format_ranks(rows: dict[str, Row]) -> dict[str, list[str]]:
    """Format the bpc of each model, and how far it is behind the first, with the paired interval."""
    best = next(iter(rows.values()), {})
    ranks = {}
    for entry, row in rows.items():
        difference = row_blocks(row).difference(row_blocks(best))
        low, high = difference.interval()
        behind = "" if row is best else f"+{difference.tally.bpc:.4f} ± {(high - low) / 2:.4f}"
        ranks[entry] = [format_bpc(row), behind]
    return ranks


def which_recurrence() -> list[list[str]]:
    """Make the table of the models after equal times, the best first."""
    clock, dynamic = results("clock"), results("dynamic")
    table = [["model", "million symbols", "test bpc", "behind the best", "dynamic"]]
    for entry, cells in format_ranks(clock).items():
        adapted = format_bpc(dynamic[entry]) if entry in dynamic else ""
        table.append([entry, f"{clock[entry]['symbols'] / 1e6:.1f}", *cells, adapted])
    return table


def which_symbols() -> list[list[str]]:
    """Make the table of the models after equal symbols, the best first, with the seconds that they take."""
    rows = results("symbols")
    speeds = {row["entry"]: row["symbols_per_second"] for row in read_lines(FOLDER / "speeds.jsonl")}
    table = [["model", "seconds", "test bpc", "behind the best"]]
    for entry, cells in format_ranks(rows).items():
        table.append([entry, f"{rows[entry]['symbols'] / speeds[entry]:.0f}", *cells])
    return table


def which_costs() -> list[list[str]]:
    """Make the table of what each model costs: width, parameters, speed, memory, carry."""
    table = [["model", "hidden", "parameters", "symbols/s", "memory, MB", "carry of a lane, bytes"]]
    for row in sorted(read_lines(FOLDER / "speeds.jsonl"), key=lambda row: -row["symbols_per_second"]):
        numbers = [f"{row[name]:,.0f}" for name in ("hidden", "parameters", "symbols_per_second")]
        table.append([row["entry"], *numbers, f"{row['memory'] / 1e6:,.0f}", f"{row['carry_bytes']:,}"])
    return table


def which_settings() -> list[list[str]]:
    """Make the table of validation bpc by initial gain and learning rate, after a quarter of the time."""
    rows = [row for row in read_lines(FOLDER / "results.jsonl") if row["stage"] in ("gains", "rates")]
    settings = sorted({(row["init_gain"], row["learning_rate"]) for row in rows})
    found = {(row["entry"], row["init_gain"], row["learning_rate"]): row["best_valid_bpc"] for row in rows}
    table = [["model", *(f"gain {gain:g}, rate {rate:g}" for gain, rate in settings)]]
    for entry in dict.fromkeys(row["entry"] for row in rows):
        scores = {setting: found[entry, *setting] for setting in settings if (entry, *setting) in found}
        best = min((bpc for bpc in scores.values() if bpc is not None), default=None)
        table.append([entry, *(format_valid(scores[s], best) if s in scores else "" for s in settings)])
    return table


def format_valid(bpc: float | None, best: float | None) -> str:
    """Format a bpc, the best in bold; None is that of a run whose cost became infinite."""
    if bpc is None:
        return "infinite"
    return f"**{bpc:.4f}**" if bpc == best else f"{bpc:.4f}"


def draw() -> None:
    """Draw the bpc of each model after equal times and after equal symbols, with intervals."""
    stages = {stage: found for stage in STAGES if (found := results(stage))}
    entries = list(stages["clock"])
    figure = Figure(figsize=(7, 0.9 + 0.24 * len(entries)), dpi=110, layout="constrained")
    ax = figure.subplots()
    for (stage, rows), colour, marker in zip(stages.items(), ("tab:blue", "tab:orange"), "os", strict=False):
        shown = [(i, rows[entry]) for i, entry in enumerate(entries) if entry in rows]
        bpc = [row["bpc"] for _, row in shown]
        half = [(row["interval"][1] - row["interval"][0]) / 2 for _, row in shown]
        ax.errorbar(
            bpc, [i for i, _ in shown], xerr=half, fmt=marker, color=colour, markersize=4, linewidth=1,
            label=f"after {STAGES[stage]}",
        )  # fmt: skip
    ax.set_yticks(range(len(entries)), entries)
    ax.invert_yaxis()
    ax.set_xlabel("test bpc, ± 95 %")
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    figure.savefig(FOLDER / "contest.png")


if __name__ == "__main__":
    draw()
