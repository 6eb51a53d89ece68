"""Write the page of a sweep: a table of its trials, best first, and plots of what they came to."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from launch.folder import SweepDir
from launch.trials import Trial
from rnnlm.errors import UserError
from rnnlm.files import write_atomic
from rnnlm.runs import columns, plot
from rnnlm.runs.compare import Run, differing_keys, open_runs
from rnnlm.runs.curves import plot_curves
from rnnlm.runs.groups import Group, group_rows, group_runs
from rnnlm.runs.layout import RunDir
from rnnlm.runs.metrics import read_validations
from rnnlm.runs.power_law import LAW_POINTS
from rnnlm.runs.status import read_status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COLOURS = 6
"""Values of a key that colours may stand for."""
PER_ROW = 3
"""Swept keys whose plots stand side by side."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto; font-variant-numeric: tabular-nums }
th, td { padding: 0.2em 0.8em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
tr.best td { font-weight: bold }
img { max-width: 100%; display: block; margin: 1em 0 }
pre { background: #f4f4f4; padding: 0.8em; overflow-x: auto; white-space: pre-wrap }
"""


def write(sweep: SweepDir) -> str:
    """Write report.html of a sweep, and its plots beside it: -> one line that says what the trials came to."""
    trials = sweep.trials()
    states = {trial.id: sweep.state(trial) for trial in trials}
    done = [trial for trial in trials if states[trial.id] == "done"]
    sections, summary = [], "no trial is done"
    if done:
        try:
            runs = open_runs([sweep.run_dir(t) for t in done], sweep.evaluated or "valid", (0, 0), "", trust_code=True)
            groups = group_runs(runs)
            sections += [title(runs), table_of(groups), *plots(sweep, runs, trials)]
            scored = f"on {sweep.evaluated}" if sweep.evaluated else "at the last validation"
            summary = f"best: {label(groups[0])}  {describe_bpc(groups[0])} {scored}"
        except UserError as error:
            summary = f"the trials cannot be ranked together: {error}"
            sections += [f"<p>{html.escape(summary)}</p>", *unranked(sweep, done)]
    sections.append(others(sweep, trials, states))
    name = html.escape(sweep.path.name)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{name}</h1>'
        f"{''.join(sections)}</html>"
    )
    write_atomic(sweep.report, [page.encode()])
    return summary


def unranked(sweep: SweepDir, done: Sequence[Trial]) -> list[str]:
    """List trials whose bpc is not of the same symbols, in their own order: -> the table and its heading."""
    rows = []
    for trial in done:
        status = read_status(sweep.run_dir(trial))
        data = trial.config.data
        bpc = "" if status.valid_bpc is None else f"{status.valid_bpc:.4f}"
        rows.append([trial.id, data.files or data.corpus, data.split, f"{status.step:,}", bpc])
    return ["<h2>Trials</h2>", html_table(["trial", "text", "split", "step", "validation bpc"], rows)]


def title(runs: Sequence[Run]) -> str:
    """Say in a paragraph what the trials were scored on."""
    if not same_source(runs):
        source = "rnnlm eval, or the last validation of a training where a star says so"
    else:
        source = "the last validation of each training" if runs[0].validation else "rnnlm eval"
    return f"<p>{html.escape(', '.join(runs[0].title))}; bpc of {source}; {len(runs)} trials are done.</p>"


def same_source(runs: Sequence[Run]) -> bool:
    """Return whether all scores are of validations, or all of evaluations."""
    return len({run.validation for run in runs}) == 1


def label(group: Group) -> str:
    """Return the values that tell a group from the others, or the name of its first run where there is no other."""
    values = ", ".join(f"{name}={columns.describe_value(value)}" for name, value in group.values)
    return values or Path(group.runs[0].name).name


def describe_bpc(group: Group) -> str:
    """Return the bpc of a group, with the standard deviation between its runs."""
    spread = "" if group.spread is None else f" +- {group.spread:.4f} between {len(group.runs)} seeds"
    return f"{group.bpc:.4f} bpc{spread}"


def table_of(groups: Sequence[Group]) -> str:
    """Return the table of groups, best first."""
    header, *lines = columns.format_rows(group_rows(groups))
    if same_source([run for group in groups for run in group.runs]):  # which the title says
        source = header.index("source")
        header, *lines = [[*line[:source], *line[source + 1 :]] for line in (header, *lines)]
    return html_table(header, lines, best=True)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], best: bool = False) -> str:
    """Return a table in HTML; the first row stands out where it is the best."""
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr{' class=best' if best and i == 0 else ''}>{line}</tr>" for i, line in enumerate(lines))
    return f"<table><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in header)}</tr>{body}</table>"


def plots(sweep: SweepDir, runs: Sequence[Run], trials: Sequence[Trial]) -> list[str]:
    """Draw all plots, and write each beside the page: -> them in HTML."""
    from matplotlib.figure import Figure

    made = []

    def add(name: str, heading: str, panels: Sequence[Callable[["Axes"], None]], width: float) -> None:
        figure = Figure(figsize=(width, 4), layout="constrained")
        for ax, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw(ax)
        figure.suptitle(", ".join(runs[0].title[:2]), fontsize=9)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=130)
        write_atomic(sweep.path / f"{name}.png", [image.getvalue()])
        data = base64.b64encode(image.getvalue()).decode()
        made.append(f'<h2>{heading}</h2><img alt="{heading}" src="data:image/png;base64,{data}">')

    keys = [name for name in differing_keys(runs) if name != "seed"]
    for i in range(0, len(keys), PER_ROW):
        some = keys[i : i + PER_ROW]
        panels = [partial(draw_key, runs=runs, key=key, keys=keys) for key in some]
        add(f"swept_{i // PER_ROW + 1}" if i else "swept", "Swept values", panels, 5 * len(some))
    add("curves", "Curves", [lambda ax: plot_curves(ax, curves(sweep, trials))], 9)
    costs = [partial(draw_cost, runs=runs, cost=cost) for cost in ("parameters", "flops", "seconds")]
    add("costs", "Costs", costs, 13)
    return made


def draw_key(ax: "Axes", runs: Sequence[Run], key: str, keys: Sequence[str]) -> None:
    """Draw bpc against a swept key; values that were drawn at random are not joined by a line."""
    different = len({repr(plot.value_of(run, key)) for run in runs})
    joined = len(keys) == 1 or 2 * different <= len(runs)
    plot.plot_groups(ax, runs, key, colour_key(runs, key, keys), trend=joined)
    ax.set_ylabel("bits per character")


def draw_cost(ax: "Axes", runs: Sequence[Run], cost: str) -> None:
    """Draw bpc against what a run costs, with a power law of all runs.

    There is one of seconds only where FLOPs differ, too, or else it would be of how busy the machine was.
    """
    several = len({run.flops for run in runs}) >= LAW_POINTS
    plot.plot_groups(ax, runs, cost, laws=(*plot.LAW_COSTS, "seconds") if several else plot.LAW_COSTS)
    ax.set_ylabel("bits per character")


def colour_key(runs: Sequence[Run], key: str, keys: Sequence[str]) -> str:
    """Return the other key of few values that colours stand for; "" if there is none."""
    counts = {name: len({repr(plot.value_of(run, name)) for run in runs}) for name in keys if name != key}
    few = {name: count for name, count in counts.items() if count <= min(MOST_COLOURS, len(runs) / 2)}
    return min(few, key=lambda name: few[name], default="")


def curves(sweep: SweepDir, trials: Sequence[Trial]) -> dict[str, list[tuple[int, float]]]:
    """Return the validation bpc of each trial by step."""
    return {
        trial.id: [(row["step"], row["valid_bpc"]) for row in read_validations(RunDir(sweep.run_dir(trial)).metrics)]
        for trial in trials
    }


def others(sweep: SweepDir, trials: Sequence[Trial], states: dict[str, str]) -> str:
    """Return a table of the trials that are not done, and the last lines of those that have failed."""
    rows, logs = [], []
    for trial in trials:
        if states[trial.id] == "done":
            continue
        status = read_status(sweep.run_dir(trial))
        bpc = status.bpc if status.valid_bpc is None else status.valid_bpc
        rows.append([trial.id, states[trial.id], f"{status.step:,}", "" if bpc is None else f"{bpc:.4f}"])
        if states[trial.id] == "failed":
            logs.append(f"<h3>{html.escape(trial.id)}</h3><pre>{html.escape(sweep.last_lines(trial, 10))}</pre>")
    if not rows:
        return ""
    return f"<h2>Not done</h2>{html_table(['trial', 'state', 'step', 'bpc'], rows)}{''.join(logs)}"
