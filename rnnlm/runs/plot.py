"""Plot the bpc of runs against what they cost, or against keys of their configs."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnlm.config import Config, nearest_key
from rnnlm.errors import UserError
from rnnlm.files import write_atomic
from rnnlm.runs.columns import MOST_OF_NAME, describe_value, shorten
from rnnlm.runs.compare import Run, rank
from rnnlm.runs.power_law import PowerLaw, fit_power_law
from rnnlm.schema import fields, flatten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COSTS = {
    "parameters": "parameters",
    "flops": "training FLOPs",
    "seconds": "training seconds",
    "symbols": "symbols read",
}
"""What a run costs, and its label."""
LAW_COSTS = ("parameters", "flops", "symbols")
"""Costs by which bpc falls as a power law; seconds depend on the machine and on what else ran there."""


def axis_names(x: str) -> list[str]:
    """Split what `--x` says into the name of the x axis and, if given, that of the colour.

    Raises UserError for more than two names, and for one that is neither a cost nor a config key.
    """
    names = x.split(",")
    known = [*COSTS, *(name for name, _, _ in fields(Config))]
    if len(names) > 2:
        raise UserError(f"--x={x} has {len(names)} names: give one for the axis and at most one for the colour.")
    for name in names:
        if name not in known and not name.startswith("model.options."):
            near = nearest_key(name, known)
            hint = f"; did you mean {near}?" if near else " (python configs/base.py prints the keys)."
            raise UserError(f"--x={name} is no config key, nor one of {', '.join(COSTS)}{hint}")
    return names


def plot(runs: Sequence[Run], path: Path, x: str = "") -> None:
    """Plot the bpc of runs to a file whose name ends in .png, .svg or .pdf.

    `x` names the x axis, and after a comma what the colour stands for: costs or config keys; without it, parameters,
    training compute and time stand side by side. Raises UserError for an unknown name, and WriteError.
    """
    from matplotlib.figure import Figure

    check_figure(path)
    title = rank(runs)[0].title
    names = axis_names(x) if x else []
    if names:
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = [figure.subplots()]
        plot_groups(axes[0], runs, names[0], "".join(names[1:]))
    else:
        figure = Figure(figsize=(12, 4), layout="constrained")
        axes = list(figure.subplots(1, 3, sharey=True))
        for ax, name in zip(axes, ("parameters", "flops", "seconds"), strict=True):
            plot_groups(ax, runs, name)
            label_points(ax, runs, name)
    axes[0].set_ylabel("bits per character, 95 % interval")
    figure.suptitle(", ".join(title[:2]) + "\n" + ", ".join(title[2:]), fontsize=9)
    save_figure(figure, path)


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure to a file in the format of its ending. Raises WriteError."""
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:], dpi=150)
    write_atomic(path, [image.getvalue()])


def check_figure(path: Path) -> None:
    """Raise UserError unless a plot can have the name."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"The plot {path} is no figure: give a name that ends in .png, .svg or .pdf.")


def label_points(ax: "Axes", runs: Sequence[Run], cost: str) -> None:
    """Write the names of runs beside their points, towards the middle of the axis."""
    at = [getattr(run, cost) or 0 for run in runs]
    low, high = min(filter(None, at), default=1), max(at)
    for run, x, name in zip(runs, at, shorten([run.name for run in runs], MOST_OF_NAME), strict=True):
        left = x > math.sqrt(low * high)
        if x:
            offset, side = (-5 if left else 5, 5), "right" if left else "left"
            label = ax.annotate(
                name, (x, run.bpc), xytext=offset, textcoords="offset points", fontsize=8, horizontalalignment=side
            )
            label.set_in_layout(False)


def plot_groups(
    ax: "Axes",
    runs: Sequence[Run],
    name: str,
    colour: str = "",
    trend: bool = True,
    laws: Sequence[str] = LAW_COSTS,
) -> None:
    """Draw the bpc of runs against a cost or config key, in a colour for each value of another.

    With `trend`, points of a colour are joined, or have a power law where the cost is one of `laws`. Runs without the
    cost are left out.
    """
    runs = [run for run in runs if name not in COSTS or getattr(run, name)]
    values = [value_of(run, name) for run in runs]
    categories = [] if all(map(is_number, values)) else in_order(values)
    places = [categories.index(value) if categories else float(value) for value in values]
    groups = in_order([value_of(run, colour) for run in runs])
    for value, shade in zip(groups, shades(len(groups)), strict=True):
        points = [(x, run) for x, run in zip(places, runs, strict=True) if value_of(run, colour) == value]
        x, bpc = [x for x, _ in points], [run.bpc for _, run in points]
        error = [run.interval or 0.0 for _, run in points]
        ax.errorbar(
            x, bpc, yerr=error, fmt="o", capsize=3, color=shade, label=describe_value(value) if colour else None
        )
        if trend and not categories and (name != "seconds" or name in laws):
            draw_trend(ax, x, bpc, shade, law=fit_power_law(x, bpc) if name in laws else None)
    if any(ax.get_legend_handles_labels()):
        ax.legend(title=colour or None, fontsize=8, title_fontsize=8)
    set_scale(ax, places, categories, name in COSTS)
    ax.margins(x=0.15)  # room for names
    ax.set_xlabel(COSTS.get(name, name))


def draw_trend(ax: "Axes", x: Sequence[float], bpc: Sequence[float], shade: Any, law: PowerLaw | None) -> None:
    """Draw a power law with its 95 % confidence band, or in its place a line through the mean bpc at each x."""
    if law:
        line = np.geomspace(min(x), max(x), 50)
        label = f"{law.scale:.3g} x$^{{-{law.exponent:.3f} \\pm {law.half_interval:.3f}}}$"
        ax.plot(line, law(line), "--", color=shade, alpha=0.6, label=label)
        ax.fill_between(line, *law.band(line), color=shade, alpha=0.12, linewidth=0)
    else:
        at = sorted(set(x))
        means = [np.mean([b for b, place in zip(bpc, x, strict=True) if place == value]) for value in at]
        ax.plot(at, means, "-", color=shade, alpha=0.4, linewidth=1)


def set_scale(ax: "Axes", places: Sequence[float], categories: Sequence[Any], cost: bool) -> None:
    """Make the x axis logarithmic for costs and where values span a decade, with ticks at categories or values."""
    from matplotlib import ticker

    if categories:
        ax.set_xticks(range(len(categories)), [describe_value(category) for category in categories])
        return
    at = np.array(sorted(set(places)))
    logarithmic = at.size > 0 and at[0] > 0 and (cost or at[-1] >= 10 * at[0])
    if logarithmic:
        ax.set_xscale("log")
        decades = math.log10(at[-1] / at[0])
        ax.xaxis.set_major_locator(
            ticker.LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1, 3) if decades < 3 else (1,))
        )
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
    gaps = np.diff(np.log(at) if logarithmic else at)
    if not cost and at.size and (at.size == 1 or gaps.min() > 0.07 * gaps.sum()):  # labels do not touch
        ax.set_xticks(at)
        ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.xaxis.set_major_formatter(
        ticker.EngFormatter(sep="") if cost else ticker.FuncFormatter(lambda value, _: f"{value:g}")
    )


def value_of(run: Run, name: str) -> Any:
    """Return a run's cost or its value of a config key; None where it has no such key, and for no name."""
    if name in COSTS:
        return getattr(run, name)
    value = dict(flatten(run.config.as_dict())).get(name)
    return tuple(value) if isinstance(value, list) else value


def is_number(value: Any) -> bool:
    """Return whether a value has a place on an axis by itself."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_order(values: Sequence[Any]) -> list[Any]:
    """Return the different values, numbers first."""
    return sorted(set(values), key=lambda value: (0, value, "") if is_number(value) else (1, 0, str(value)))


def shades(count: int) -> list[Any]:
    """Return different colours, those of a scale where there are many."""
    from matplotlib import colormaps

    return [colormaps["tab10"](i) if count <= 10 else colormaps["viridis"](i / (count - 1)) for i in range(count)]
