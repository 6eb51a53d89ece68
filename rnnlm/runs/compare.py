"""Compare runs by bpc on the same symbols, with 95 % confidence intervals of the differences."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats

from rnnlm.config import Config, flatten
from rnnlm.errors import UserError
from rnnlm.evaluation.protocol import EvalProtocol
from rnnlm.evaluation.tally import STDERR_BLOCK, Blocks
from rnnlm.files import write_atomic
from rnnlm.nn import model
from rnnlm.runs.layout import Row, RunDir, load_run
from rnnlm.runs.metrics import read_rows
from rnnlm.runs.results import read_results, row_blocks
from rnnlm.runs.trust import check_trust

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WARM = 512
"""Warm-up symbols from which on lanes read side by side give the bpc of one lane, to 1e-3."""


@dataclass(frozen=True)
class Run:
    """Hold one evaluation of a run (`result`, a line of result.jsonl) and what its training took up to that step."""

    name: str
    config: Config
    result: Row
    parameters: int
    symbols: int
    flops: float
    seconds: float | None
    parent: str = ""
    """The checkpoint that the run began with, as DIR@STEP; "" for none."""

    @property
    def bpc(self) -> float:
        """Return the bits per symbol."""
        return float(self.result["bpc"])

    @property
    def blocks(self) -> Blocks:
        """Return the costs in blocks of STDERR_BLOCK symbols."""
        return row_blocks(self.result).coarsen(STDERR_BLOCK)

    @property
    def interval(self) -> float:
        """Return half the 95 % confidence interval of the bpc; 0 for a single block."""
        return t_quantile(len(self.blocks.nats)) * self.result["stderr"] if self.result["stderr"] else 0.0

    @property
    def comparison_key(self) -> tuple[str, ...]:
        """Return what must be equal in runs that are ranked: the text, its split, the symbols and the protocol."""
        row = self.result
        return (
            f"corpus {row['corpus'][:12]}",
            f"split {row['split']} of {row['split_spec']}",
            f"symbols {row['symbols'][0]}..{row['symbols'][1]} ({row['kind']})",
            f"protocol {protocol_key(row)}",
        )


def protocol_key(row: Row) -> str:
    """Return a result's protocol without what does not change its bpc: lanes that are exact, or warm enough."""
    if row["protocol_name"] == "windows":
        return f"windows of {row['window']}, stride {row['stride']}"
    dynamic = row["dynamic"]
    key: str = row["protocol_name"]
    if row["separator"]:
        key += f" after {row['separator']!r}"
    if dynamic:
        key += f" {dynamic['method']}"
    # Streams of dynamic evaluation adapt each on its own, so their number matters however warm they are.
    if row["lanes"] > 1 and (dynamic or row["warmup"] < WARM):
        key += f", {row['lanes']} {'streams' if dynamic else 'lanes'}, {row['warmup']} warm-up"
    return key


def open_run(workdir: Path, split: str, symbols: tuple[int, int], protocol: str, trust_code: bool = False) -> Run:
    """Open a run's newest evaluation on `symbols` = (from, to) of a split, to=0 for its end.

    `protocol` is what the protocol's words begin with, "" for the run's own. Raises UserError if there is no such
    evaluation, or if the run's cell, which tells the FLOPs, is code that is not trusted.
    """
    run = load_run(workdir)
    check_trust(workdir, run.config.model, trust_code)
    rows, protocol = read_results(run), protocol or EvalProtocol.of_run(run.config).name
    begin, end = run.splits.get(split, (0, 0))
    scored = [symbols[0], min(symbols[1] or end - begin, end - begin)]
    matching = [r for r in rows if (r["split"], r["symbols"]) == (split, scored) and r["protocol"].startswith(protocol)]
    if not matching:
        have = sorted({f"{r['split']} {r['symbols'][0]}..{r['symbols'][1]} {protocol_key(r)}" for r in rows})
        raise UserError(
            f"{workdir} has no evaluation on {split}, symbols {scored[0]}..{scored[1]}, under {protocol}: it has "
            f"{'; '.join(have[:5]) or 'none'}{' and others' if len(have) > 5 else ''}. Make one with rnnlm eval."
        )
    result = matching[-1]
    trained = result["step"] * run.symbols_per_step
    flops = 3 * model.flops_per_symbol(run.config.model, len(run.vocabulary)) * trained
    logged, _ = read_rows(RunDir(workdir).metrics, result["step"])
    seconds = logged[-1]["seconds"] if logged else None
    parent = "{path}@{step}".format(**run.parent) if run.parent else ""
    return Run(str(workdir), run.config, result, run.parameters, trained, flops, seconds, parent)


def rank(runs: Sequence[Run]) -> list[Run]:
    """Sort runs by bpc, best first. Raises UserError if their comparison keys differ."""
    first, *others = runs
    for other in others:
        if other.comparison_key != first.comparison_key:
            differ = [f"{a} / {b}" for a, b in zip(first.comparison_key, other.comparison_key, strict=True) if a != b]
            raise UserError(
                f"{first.name} and {other.name} cannot be ranked together: {'; '.join(differ)}. Evaluate both alike "
                "(rnnlm eval), or compare each with its own kind."
            )
    return sorted(runs, key=lambda run: run.bpc)


def table(runs: Sequence[Run]) -> list[Row]:
    """Return one row a run, best first, ready for JSON, with the config keys in which the runs differ.

    A row has the `parent` that the run began with where some run has one.
    `worse_by` is the paired difference from the best run in bpc, `interval` its 95 % confidence interval.
    """
    ranked = rank(runs)
    flat = [dict(flatten(run.config.as_dict())) for run in ranked]
    differing = [name for name in flat[0] if len({repr(values[name]) for values in flat}) > 1]
    differing = [name for name in differing if name != "train.init_from"]  # `parent` says it with the step
    rows = []
    for run, values in zip(ranked, flat, strict=True):
        delta_bpc, error = run.blocks.paired_difference(ranked[0].blocks)
        half = None if error is None else error * t_quantile(len(run.blocks.nats))
        rows.append(
            {
                "run": run.name,
                "bpc": run.bpc,
                "stderr": run.result["stderr"],
                "worse_by": delta_bpc,
                "interval": None if half is None else [delta_bpc - half, delta_bpc + half],
                "parameters": run.parameters,
                "symbols": run.symbols,
                "flops": run.flops,
                "seconds": run.seconds,
                "symbols_per_second": run.symbols / run.seconds if run.seconds else None,
                "protocol": run.result["protocol"],
                "step": run.result["step"],
                **({"parent": run.parent or None} if any(other.parent for other in ranked) else {}),
                **{name: values[name] for name in differing},
            }
        )
    return rows


def t_quantile(blocks: int) -> float:
    """Return half a 95 % confidence interval in standard errors: Student's t, since the spread is from the blocks."""
    return float(scipy.stats.t.ppf(0.975, blocks - 1))


def format_rows(rows: list[Row]) -> list[list[str]]:
    """Format the rows of `table` as text: a heading, then the rows."""

    def cell(name: str, value: Any) -> str:
        forms: dict[str, Callable[[Any], str]] = {
            "interval": lambda v: f"{v[0]:+.4f}..{v[1]:+.4f}",
            "worse_by": lambda v: f"{v:.4f}",
            "parent": lambda v: Path(v).name,
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
    """Fit (a, b) of y = a x^-b by least squares of the logarithms; None if fewer than three x differ.

    A law through two points says nothing.
    """
    if len(set(x)) < 3:
        return None
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    return math.exp(intercept), -float(slope)


def plot(runs: Sequence[Run], path: Path) -> None:
    """Plot bpc against parameters, training compute and time, each with its power law. Raises WriteError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    key = rank(runs)[0].comparison_key
    costs: dict[str, Sequence[float | None]] = {
        "parameters": [float(run.parameters) for run in runs],
        "training FLOPs": [run.flops for run in runs],
        "training seconds": [run.seconds for run in runs],
    }
    for ax, (name, values) in zip(axes, costs.items(), strict=True):
        plot_axis(ax, name, [(run, x) for run, x in zip(runs, values, strict=True) if x])
    axes[0].set_ylabel("bits per character, 95 % interval")
    figure.suptitle(", ".join(key), fontsize=9)
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:])
    write_atomic(path, [image.getvalue()])


def plot_axis(ax: "Axes", name: str, points: Sequence[tuple[Run, float]]) -> None:
    """Draw the bpc of runs against a cost, on a logarithmic axis."""
    from matplotlib import ticker

    x, bpc = [cost for _, cost in points], [run.bpc for run, _ in points]
    ax.errorbar(x, bpc, yerr=[run.interval for run, _ in points], fmt="o", capsize=3)
    for run, cost in points:
        ax.annotate(Path(run.name).name, (cost, run.bpc), xytext=(5, 5), textcoords="offset points", fontsize=8)
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
