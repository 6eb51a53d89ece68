"""Runs side by side by their bits per character: only figures of the same symbols, and how sure a difference is."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from rnnlm.config import Config, flatten
from rnnlm.errors import UserError
from rnnlm.evaluation.tally import Blocks
from rnnlm.files import write_atomic
from rnnlm.nn import model
from rnnlm.runs import layout, logger, results

WARM = 512
"""Symbols before a lane's part from which on it is as good as one lane."""


@dataclass(frozen=True)
class Run:
    """One evaluation of one run, and what it took to get there."""

    name: str
    config: Config
    note: dict[str, Any]
    parameters: int
    symbols: int
    flops: float
    seconds: float | None

    @property
    def bpc(self) -> float:
        return float(self.note["bpc"])

    @property
    def blocks(self) -> Blocks:
        return Blocks(np.array(self.note["blocks"]), self.note["count"])

    @property
    def comparison_key(self) -> tuple[str, ...]:
        """What must be equal where figures are ranked: the text, its part, the symbols, and how they were read."""
        note = self.note
        protocol = note["protocol"].partition(", symbols")[0]
        if not protocol.startswith("windows"):
            # One lane is exact, and several are to 1e-3 where they are warm; what adapts in several does otherwise.
            lanes = note["lanes"] > 1 and (note["warmup"] < WARM or protocol.startswith("dynamic"))
            protocol = ",".join(protocol.split(",")[: 3 if lanes else 1])
        return (
            f"corpus {note['corpus'][:12]}",
            f"split {note['split']} of {self.config.data.split}",
            f"symbols {note['symbols'][0]}..{note['symbols'][1]} ({note['kind']})",
            f"protocol {protocol}",
        )


def open_run(workdir: Path, split: str, only: tuple[int, int], protocol: str) -> Run:
    """A run's newest evaluation on symbols from..to of a split (to=0: its end) under a protocol of that beginning.

    Raises UserError where there is none.
    """
    kept, run = layout.load_run(workdir), layout.read_json(workdir / "run.json")
    notes = results.read_results(workdir)
    begin, end = run["split"]["symbols"].get(split, (0, 0))
    asked = [only[0], min(only[1] or end - begin, end - begin)]
    found = [n for n in notes if (n["split"], n["symbols"]) == (split, asked) and n["protocol"].startswith(protocol)]
    if not found:
        have = sorted(
            {f"{n['split']} {n['symbols'][0]}..{n['symbols'][1]} {n['protocol'].split(',')[0]}" for n in notes}
        )
        raise UserError(
            f"{workdir} has no evaluation on {split}, symbols {asked[0]}..{asked[1]}, under {protocol}: it has "
            f"{'; '.join(have[:5]) or 'none'}{' and others' if len(have) > 5 else ''}. Make one with rnnlm eval."
        )
    note = found[-1]
    rows, _ = logger.rows_until(workdir / "metrics.jsonl", note["step"])
    symbols = note["step"] * run["symbols_per_step"]
    flops = 3 * model.flops_per_symbol(kept.config.model, len(kept.vocabulary)) * symbols
    seconds = rows[-1]["seconds"] if rows else None
    return Run(str(workdir), kept.config, note, run["parameters"], symbols, flops, seconds)


def rank(runs: Sequence[Run]) -> list[Run]:
    """By bits per character, best first. Raises UserError where they were not judged by the same."""
    first, *others = runs
    for other in others:
        if other.comparison_key != first.comparison_key:
            differ = [f"{a} / {b}" for a, b in zip(first.comparison_key, other.comparison_key, strict=True) if a != b]
            raise UserError(
                f"{first.name} and {other.name} were not judged by the same: {'; '.join(differ)}. Evaluate both alike "
                "(rnnlm eval), or compare each with its own kind."
            )
    return sorted(runs, key=lambda run: run.bpc)


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row a run, best first; `worse_by` is the paired difference from the best, its 95 % interval beside it."""
    ranked = rank(runs)
    flat = [dict(flatten(run.config.as_dict())) for run in ranked]
    differing = [name for name in flat[0] if len({repr(values[name]) for values in flat}) > 1]
    rows = []
    for run, values in zip(ranked, flat, strict=True):
        by, error = run.blocks.paired_difference(ranked[0].blocks)
        away = None if error is None else error * quantile(len(run.blocks.nats))
        rows.append(
            {
                "run": run.name,
                "bpc": run.bpc,
                "stderr": run.note["stderr"],
                "worse_by": by,
                "interval": None if away is None else [by - away, by + away],
                "parameters": run.parameters,
                "symbols": run.symbols,
                "flops": run.flops,
                "seconds": run.seconds,
                "symbols_per_second": run.symbols / run.seconds if run.seconds else None,
                "protocol": run.note["protocol"],
                "step": run.note["step"],
                **{name: values[name] for name in differing},
            }
        )
    return rows


def quantile(blocks: int) -> float:
    """How many standard errors a 95 % interval goes to either side: Student's, since the spread is from the blocks."""
    return float(scipy.stats.t.ppf(0.975, blocks - 1))


def format_rows(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The same as text: a heading, then the rows."""

    def cell(name: str, value: Any) -> str:
        forms: dict[str, Callable[[Any], str]] = {
            "interval": lambda v: f"{v[0]:+.4f}..{v[1]:+.4f}",
            "worse_by": lambda v: f"{v:.4f}",
            "flops": lambda v: f"{v:.2e}",
            "seconds": lambda v: f"{v:,.0f}",
            "symbols_per_second": lambda v: f"{v:,.0f}",
        }
        if value is None or name not in forms:
            return "" if value is None else f"{value:.4f}" if isinstance(value, float) else f"{value}"
        return forms[name](value)

    headings = {"interval": "95 % interval", "worse_by": "worse by", "symbols_per_second": "symbols/s", "stderr": "+-"}
    header = [headings.get(name, name) for name in rows[0]]
    return [header, *([cell(name, value) for name, value in row.items()] for row in rows)]


def power_law(x: Sequence[float], y: Sequence[float]) -> tuple[float, float] | None:
    """(a, b) of y = a x^-b by least squares of the logarithms; None where fewer than three x differ, since a law
    through two points says nothing."""
    if len(set(x)) < 3:
        return None
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    return math.exp(intercept), -float(slope)


def plot(runs: Sequence[Run], path: Path) -> None:
    """bpc against parameters, training compute and time, each with its power law. Raises WriteError."""
    from matplotlib import ticker
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    judged = rank(runs)[0].comparison_key
    asked: dict[str, Sequence[float | None]] = {
        "parameters": [float(run.parameters) for run in runs],
        "training FLOPs": [run.flops for run in runs],
        "training seconds": [run.seconds for run in runs],
    }
    for ax, (name, known) in zip(axes, asked.items(), strict=True):
        those = [(run, at) for run, at in zip(runs, known, strict=True) if at]
        x, bpc = [at for _, at in those], [run.bpc for run, _ in those]
        error = [quantile(len(run.blocks.nats)) * run.note["stderr"] if run.note["stderr"] else 0.0 for run, _ in those]
        ax.errorbar(x, bpc, yerr=error, fmt="o", capsize=3)
        for run, at in those:
            ax.annotate(Path(run.name).name, (at, run.bpc), xytext=(5, 5), textcoords="offset points", fontsize=8)
        law = power_law(x, bpc)
        if law:
            line = np.geomspace(min(x), max(x), 50)
            ax.plot(line, law[0] * line ** -law[1], "--", color="gray", label=f"{law[0]:.3g} x$^{{{-law[1]:.3f}}}$")
            ax.legend()
        ax.set_xscale("log")
        ax.margins(x=0.15)  # room for names
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        ax.set_xlabel(name)
    axes[0].set_ylabel("bits per character, 95 % interval")
    figure.suptitle(", ".join(judged), fontsize=9)
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:])
    write_atomic(path, [image.getvalue()])
