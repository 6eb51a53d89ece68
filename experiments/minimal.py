"""Tables and plot of experiments/006_minimal, and what collects its results.

python experiments/minimal.py collect RUNS    # write results.jsonl from the runs mingru, minlstm and lstm in a folder
python experiments/minimal.py                 # draw minimal.png
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.scores import format_bpc, nats_per_symbol
from rnnlm.files import read_lines

FOLDER = Path(__file__).resolve().parent / "006_minimal"
MODELS = {
    "mingru": "minGRU, 3x384 in prenorm",
    "minlstm": "minLSTM, 3x384 in prenorm",
    "lstm": "LSTM, 2x384",
}
"""The runs, and what the table calls them."""
PUBLISHED = {"mingru": 1.548, "minlstm": 1.555}
"""Nats on the held-out tenth, estimated on random windows (Feng et al. 2024)."""

Row = dict[str, Any]


def collect(runs: Path) -> None:
    """Write the validations of each run, what it is, and how fast its short run in `speed` was, to results.jsonl."""
    with (FOLDER / "results.jsonl").open("w") as file:
        for model in MODELS:
            run = json.loads((runs / model / "run.json").read_text())
            speed = read_lines(runs / "speed" / model / "metrics.jsonl")[-1]["symbols_per_second"]
            for row in read_lines(runs / model / "metrics.jsonl"):
                if "valid_bpc" in row:
                    score = {name.removeprefix("valid_"): value for name, value in row.items()}
                    about = {"model": model, "parameters": run["parameters"], "symbols_per_second": round(speed)}
                    about["symbols"] = row["step"] * run["symbols_per_step"]
                    file.write(json.dumps(about | score) + "\n")


def curve(model: str) -> list[Row]:
    """Return the validations of a run, in their order."""
    return [row for row in read_lines(FOLDER / "results.jsonl") if row["model"] == model]


def minimal() -> list[list[str]]:
    """Make the table of each run: its validation after as many symbols as all have read, its best and its last one."""
    table = [["", "parameters", "million symbols", "minutes", "valid nats", "valid bpc, ± 95 %", "published, nats"]]
    common = min(curve(model)[-1]["symbols"] for model in MODELS)
    for model, name in MODELS.items():
        rows = curve(model)
        best = min(rows, key=lambda row: row["nats"])
        shared = min(rows, key=lambda row: abs(row["symbols"] - common))
        shown = {row["step"]: row for row in (shared, best, rows[-1])}
        for step in sorted(shown):
            row = shown[step]
            read, minutes = row["symbols"] / 1e6, row["symbols"] / row["symbols_per_second"] / 60
            cells = [f"{row['parameters']:,}", f"{read:.1f}", f"{minutes:.0f}", f"{nats_per_symbol(row):.3f}"]
            published = f"{PUBLISHED[model]}" if model in PUBLISHED else ""
            table.append([name + (", best" if row is best else ""), *cells, format_bpc(row), published])
    return table


def draw() -> None:
    """Draw the nats of each run by the symbols that it has read, and the published ones."""
    figure = Figure(figsize=(6.8, 3.4), dpi=110, layout="constrained")
    ax = figure.subplots()
    for model, colour in zip(MODELS, ("tab:blue", "tab:green", "tab:orange"), strict=True):
        rows = curve(model)
        nats = [nats_per_symbol(row) for row in rows]
        ax.plot([row["symbols"] / 1e6 for row in rows], nats, ".-", color=colour, linewidth=1, label=MODELS[model])
        if model in PUBLISHED:
            published = f"published, {MODELS[model].partition(',')[0]}: {PUBLISHED[model]}"
            ax.axhline(PUBLISHED[model], color=colour, linestyle="--", linewidth=1, label=published)
    ax.set_ylim(math.floor(10 * min(PUBLISHED.values())) / 10 - 0.15, 2.2)
    ax.set_xlabel("million symbols read")
    ax.set_ylabel("nats a symbol, held-out tenth")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9)
    figure.savefig(FOLDER / "minimal.png")


if __name__ == "__main__":
    if sys.argv[1:2] == ["collect"]:
        collect(Path(sys.argv[2]))
    else:
        draw()
