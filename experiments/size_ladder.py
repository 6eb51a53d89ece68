"""Tables and the plot of experiments/003_size_ladder, from its results.jsonl.

python experiments/size_ladder.py       # draw experiments/003_size_ladder/law.png
"""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from experiments.scores import format_bpc, nats_per_symbol
from rnnlm.files import read_lines
from rnnlm.runs.power_law import PowerLaw, fit_power_law

FOLDER = Path(__file__).resolve().parent / "003_size_ladder"
CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
COLOURS = {"lstm": "tab:blue", "gru": "tab:orange", "rnn": "tab:green"}
PUBLISHED = {
    ("lstm", 64): (1.449, 1.442, 1.540),
    ("lstm", 128): (1.277, 1.227, 1.279),
    ("lstm", 256): (1.189, 1.137, 1.141),
    ("gru", 64): (1.398, 1.373, 1.472),
    ("gru", 128): (1.230, 1.226, 1.253),
    ("gru", 256): (1.198, 1.164, 1.138),
    ("rnn", 64): (1.446, 1.401, 1.396),
    ("rnn", 128): (1.417, 1.286, 1.277),
    ("rnn", 256): (1.342, 1.256, 1.239),
}
"""Nats on the test split by (cell, width), for 1, 2 and 3 layers: Karpathy, Johnson and Li 2015, as remembered by
others; none of these cells was checked against the paper."""

Row = dict[str, Any]


def results() -> list[Row]:
    """Read the trials, ordered by width, layers and cell."""
    rows = read_lines(FOLDER / "results.jsonl")
    return sorted(rows, key=lambda r: (r["hidden"], r["layers"], [*CELLS].index(r["cell"]), r["seed"]))


def size_ladder() -> list[list[str]]:
    """Make the table of published and measured results of each model."""
    header = [
        "cell",
        "layers",
        "hidden",
        "parameters",
        "paper, nats (unverified)",
        "ours, nats",
        "bpc, ± 95 %",
        "epochs",
    ]
    rows = []
    for row in results():
        if row["seed"]:
            continue
        published = PUBLISHED[row["cell"], row["hidden"]][row["layers"] - 1]
        rows.append(
            [
                CELLS[row["cell"]],
                str(row["layers"]),
                str(row["hidden"]),
                f"{row['parameters']:,}",
                f"{published:.3f}",
                f"{nats_per_symbol(row):.3f}",
                format_bpc(row),
                f"{row['epochs']:.1f}",
            ]
        )
    return [header, *rows]


def ladder_seeds() -> list[list[str]]:
    """Make the table of the models that were trained with three seeds."""
    rows = [["two layers of 128", "bpc by seed", "mean", "standard deviation"]]
    for cell, name in CELLS.items():
        scores = [r["bpc"] for r in results() if (r["cell"], r["layers"], r["hidden"]) == (cell, 2, 128)]
        if len(scores) > 1:
            listed = ", ".join(f"{score:.4f}" for score in scores)
            rows.append([name, listed, f"{statistics.fmean(scores):.4f}", f"{statistics.stdev(scores):.4f}"])
    return rows


def laws(cost: str = "parameters") -> dict[str, tuple[list[Row], PowerLaw | None]]:
    """Fit the power law of bpc in a cost for each cell, each model by its first seed."""
    by_cell = {cell: [r for r in results() if r["cell"] == cell and not r["seed"]] for cell in CELLS}
    return {
        cell: (rows, fit_power_law([r[cost] for r in rows], [r["bpc"] for r in rows])) for cell, rows in by_cell.items()
    }


def ladder_laws() -> list[list[str]]:
    """Make the table of power laws in parameters and in training FLOPs."""
    table = [["cell", "models", "in", "bpc", "exponent, ± 95 %", "bpc when it doubles"]]
    for cost, name in (("parameters", "parameters"), ("flops", "training FLOPs")):
        for cell, (rows, law) in laws(cost).items():
            if law:
                formula = f"{law.scale:.2f} x^-{law.exponent:.3f}"
                exponent, factor = f"{law.exponent:.3f} ± {law.half_interval:.3f}", 2**-law.exponent - 1
                table.append([CELLS[cell], str(len(rows)), name, formula, exponent, f"{100 * factor:+.1f} %"])
    return table


def ladder_depth() -> list[list[str]]:
    """Make the table of what another layer, and twice the width, change."""
    found = {(r["cell"], r["layers"], r["hidden"]): r for r in results() if not r["seed"]}
    table = [["cell", "hidden", "1 to 2 layers", "2 to 3 layers", "64 to 128 units, same layers"]]
    for cell, name in CELLS.items():
        for hidden in (64, 128):
            models = [found.get((cell, layers, hidden)) for layers in (1, 2, 3)]
            wider = [(found.get((cell, n, 64)), found.get((cell, n, 128))) for n in (1, 2, 3)]
            steps = [change(models[0], models[1]), change(models[1], models[2])]
            wide = ", ".join(filter(None, (change(*pair) for pair in wider))) if hidden == 128 else ""
            table.append([name, str(hidden), *steps, wide])
    return table


def change(a: Row | None, b: Row | None) -> str:
    """Format the change of bpc from one trial to another."""
    return "" if a is None or b is None else f"{b['bpc'] - a['bpc']:+.3f}"


def draw() -> None:
    """Draw bpc against parameters and training FLOPs with a law and its band for each cell."""
    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, cost, label in zip(axes, ("parameters", "flops"), ("parameters", "training FLOPs"), strict=True):
        for cell, (rows, law) in laws(cost).items():
            x, bpc = [r[cost] for r in rows], [r["bpc"] for r in rows]
            ax.scatter(x, bpc, color=COLOURS[cell], s=[20 * r["layers"] for r in rows], zorder=3, label=CELLS[cell])
            if law:
                line = np.geomspace(min(x), max(x), 50)
                ax.plot(line, law(line), "--", color=COLOURS[cell], linewidth=1)
                ax.fill_between(line, *law.band(line), color=COLOURS[cell], alpha=0.12, linewidth=0)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        ax.set_xlabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"test bpc, {results()[0]['count']:,} symbols")
    axes[0].legend(title="dots grow with layers", frameon=False)
    figure.savefig(FOLDER / "law.png")


if __name__ == "__main__":
    draw()
