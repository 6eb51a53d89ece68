"""Plot the validation bpc of runs by step, one curve a run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rnnlm.runs.plot import shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = Sequence[tuple[int, float]]
"""Steps with the bpc of each."""
MOST_LABELS = 10
"""Curves that are named in the legend; of more, the best ones are."""


def plot_curves(ax: "Axes", curves: Mapping[str, Curve]) -> None:
    """Draw curves by their names; those that end lowest are named in the legend, all others are grey."""
    ranked = sorted(((name, curve) for name, curve in curves.items() if curve), key=lambda item: item[1][-1][1])
    named = ranked[:MOST_LABELS]
    for _, curve in ranked[MOST_LABELS:]:
        ax.plot(*zip(*curve, strict=True), color="0.75", linewidth=0.8)
    for (name, curve), shade in zip(named, shades(len(named)), strict=True):
        ax.plot(
            *zip(*curve, strict=True), color=shade, linewidth=1.2, marker="." if len(curve) < 30 else "", label=name
        )
    if named:
        ax.legend(fontsize=7)
    ax.set_xlabel("step")
    ax.set_ylabel("validation bpc")
    last = [curve[-1][1] for _, curve in ranked]
    first = [curve[0][1] for _, curve in ranked]
    if last:  # what a run costs before it has learned anything would flatten all curves
        low, high = min(last), max(sorted(first)[len(first) // 2], max(last[:MOST_LABELS]))
        if high > low:
            ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
