"""How far back a model looks: its bpc where the context of each symbol is cut to the last k symbols."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.data.text import TextSlice
from rnnlm.data.windows import EvalWindow, read
from rnnlm.errors import UserError
from rnnlm.evaluation.evaluator import Evaluator
from rnnlm.evaluation.tally import Tally
from rnnlm.runtime import parallel

CONTEXTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
TARGETS = 2000
"""Symbols that are predicted under each context unless another number is given, or all where there are fewer."""
LANES = 128
"""Symbols that are predicted side by side."""

Row = dict[str, Any]


def choose_targets(text_slice: TextSlice, context: int, count: int = 0) -> NDArray[np.int64]:
    """Return the positions of `count` symbols, evenly over a slice, that have so many symbols of it before them.

    With 0 there are TARGETS of them, or all where there are fewer. Raises UserError where there are too few.
    """
    first = text_slice.begin + context
    count = count or max(2, min(TARGETS, text_slice.end - first))
    if text_slice.end - first < count:
        raise UserError(
            f"{text_slice.split} has {len(text_slice):,} symbols, too few for {count:,} of them that have a context of "
            f"{context:,}: give shorter contexts or fewer targets."
        )
    return first + np.arange(count) * (text_slice.end - first) // count


def cost_by_context(
    evaluator: Evaluator,
    params: Params,
    text_slice: TextSlice,
    contexts: Sequence[int],
    count: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[int, NDArray[np.float64]]:
    """Return the nats of the same targets under each context, read from a reset carry; `choose_targets` chooses them.

    `params` are replicated over the devices. In a text of records a context begins with the record at the earliest.
    """
    targets, costs, done = choose_targets(text_slice, max(contexts), count), {}, 0
    count = len(targets)
    lanes = -(-min(LANES, count) // parallel.count()) * parallel.count()
    for context in contexts:
        nats = []
        for begin in range(0, count, lanes):
            positions = np.resize(targets[begin : begin + lanes], lanes)  # the last lanes are filled up
            window = cut_window(text_slice, positions, context)
            nats_BT = np.asarray(parallel.gather(evaluator.reader(params, lanes, 1.0)(window)))
            nats.append(nats_BT[:, -1].astype(np.float64))
            done += context
            progress(done / (sum(contexts) * -(-count // lanes)))
        costs[context] = np.concatenate(nats)[:count]
    return costs


def cut_window(text_slice: TextSlice, targets: NDArray[np.int64], context: int) -> EvalWindow:
    """Return a window with a lane for each target, which reads the `context` symbols before it; only it counts."""
    position = targets[:, None] - np.arange(context)[::-1]
    x, y = read(text_slice.text, position)
    reset = np.zeros(x.shape, bool)
    reset[:, 0] = True
    if (separator := text_slice.text.vocabulary.separator) is not None:
        reset |= x == separator
    return EvalWindow(x, y, reset, position == targets[:, None], position)


def tabulate(costs: Mapping[int, NDArray[np.float64]]) -> list[Row]:
    """Return a row for each context: its bpc, and how much worse it is than the longest, with its 95 % interval.

    The differences of targets are taken for independent, since these lie far apart.
    """
    best, rows = costs[max(costs)], []
    for context, nats in costs.items():
        worse = nats - best
        mean, half = (Tally(float(value), 1).bpc for value in (worse.mean(), 1.96 * worse.std() / len(worse) ** 0.5))
        tally = Tally(float(nats.sum()), len(nats))
        rows.append(
            {
                "context": context,
                "nats": tally.nats,
                "count": tally.count,
                "bpc": tally.bpc,
                "worse_by": mean,
                "interval": [mean - half, mean + half],
            }
        )
    return rows


def plot(path: Path, runs: Mapping[str, list[Row]]) -> None:
    """Draw the bpc of runs by context. Raises WriteError."""

    from matplotlib.figure import Figure

    from rnnlm.runs.plot import save_figure, shades  # here, since it takes 14 ms that other commands save

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.subplots()
    for (name, rows), shade in zip(runs.items(), shades(len(runs)), strict=True):
        ax.plot([row["context"] for row in rows], [row["bpc"] for row in rows], ".-", color=shade, label=name)
    ax.set_xscale("log")
    ax.set_xlabel("symbols of context")
    ax.set_ylabel("bits per character")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    save_figure(figure, path)
