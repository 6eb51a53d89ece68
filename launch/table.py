"""Show how far the trials of a sweep are: a live table on a terminal, a line for each trial that ends elsewhere."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from launch.folder import SweepDir
from launch.trials import Trial
from rnnlm.commands.status import format_seconds
from rnnlm.runs.columns import shorten
from rnnlm.runs.layout import RunDir, read_json
from rnnlm.runs.status import Status, read_status

if TYPE_CHECKING:
    from launch.jobs import Job

SECONDS = 1.0
"""Seconds between two looks at the metrics of running trials."""
LINES = 4
"""Lines of the terminal that the table leaves free."""
LEAST_OF_ID = 10
"""Characters of an id that the table keeps, however narrow the terminal is."""
NUMBERS = 42
"""Characters of a line that the table leaves for the columns beside the id."""
FAILURE_LINES = 3
"""Last lines of its log that are shown of a trial that has failed."""


class Table:
    """Show the trials of a sweep within the context, and count what they came to."""

    def __init__(self, sweep: SweepDir, trials: Sequence[Trial] = (), total: int = 0, console: Console | None = None):
        self.sweep, self.total = sweep, total or len(trials)
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.states = dict.fromkeys((trial.id for trial in trials), "waiting")
        self.failures: list[Trial] = []
        self.durations: list[float] = []  # seconds of the trials that ended here
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._rows: dict[str, tuple[str, ...]] = {}
        self._next = 0.0

    def __enter__(self) -> "Table":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def add(self, trial: Trial) -> None:
        """Show a trial that was not known at the start."""
        self.states.setdefault(trial.id, "waiting")

    def count(self, trial: Trial, state: str) -> None:
        """Take note of the state in which a trial was found."""
        self.states[trial.id] = state
        if state == "failed":
            self.failures.append(trial)

    def end(self, ended: "Sequence[tuple[Job, str]]") -> None:
        """Print a line for each job that has ended, and for one that has failed the last lines of its log."""
        for job, state in ended:
            self.count(job.trial, "waiting" if state == "elsewhere" else state)
            seconds = time.monotonic() - job.began
            if state == "done":
                self.durations.append(seconds)
            if state == "elsewhere":
                continue
            self.say(f"{self.position()}  {job.trial.id}  {state}{self.outcome(job.trial)}  {seconds:,.0f} s")
            if state == "failed":
                for line in self.sweep.last_lines(job.trial, FAILURE_LINES).splitlines():
                    self.say(f"    {line}")

    def position(self) -> str:
        """Return how many trials have ended, of how many."""
        ended = sum(state in ("done", "failed", "pruned") for state in self.states.values())
        return f"{ended}/{max(self.total, len(self.states))}"

    def outcome(self, trial: Trial) -> str:
        """Return the bpc of a trial that is done, with two leading spaces; "" if there is none."""
        path = RunDir(self.sweep.run_dir(trial)).result
        bpc = read_json(path)["best_valid_bpc"] if path.exists() else None
        return "" if bpc is None else f"  {bpc:.4f} bpc"

    def say(self, text: str) -> None:
        """Print a line, above the table if there is one."""
        self.console.print(text, markup=False)

    def show(self, running: "Sequence[Job]") -> None:
        """Draw the table anew, once a second at most."""
        if not self.console.is_terminal or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS
        self._live.update(self.draw(running), refresh=True)

    def draw(self, running: "Sequence[Job]") -> Group:
        """Build the table of the running trials below a line of counts."""
        table = RichTable(box=None, pad_edge=False)
        for name in ("trial", "step", "bpc", "symbols/s", "left"):
            table.add_column(name, justify="left" if name == "trial" else "right", overflow="ellipsis", no_wrap=True)
        statuses = [read_status(self.sweep.run_dir(job.trial)) for job in running]
        names = shorten([job.trial.id for job in running], max(LEAST_OF_ID, self.console.width - NUMBERS))
        for name, status in list(zip(names, statuses, strict=True))[: max(1, self.console.height - LINES)]:
            table.add_row(*map(Text, describe(name, status)))
        counts = Counter(self.states.values())
        words = [f"{counts[state]} {state}" for state in ("done", "failed", "pruned", "stopped") if counts[state]]
        waiting = max(self.total, len(self.states)) - sum(counts.values()) + counts["waiting"] - len(running)
        summary = f"{self.sweep.path}: {', '.join([*words, f'{len(running)} running', f'{waiting} waiting'])}"
        left = self.seconds_left(running, statuses, waiting)
        return Group(table, Text(summary + ("" if left is None else f"; about {format_seconds(left)} left")))

    def seconds_left(self, running: "Sequence[Job]", statuses: Sequence[Status], waiting: int) -> float | None:
        """Estimate the seconds until all trials have ended, by those that have and what the running ones expect.

        None while nothing is known.
        """
        elapsed = [time.monotonic() - job.began for job in running]
        left = [status.seconds_left for status in statuses]
        known = self.durations + [e + s for e, s in zip(elapsed, left, strict=True) if s is not None]
        if not known or not running:
            return None
        mean = sum(known) / len(known)
        rest = [max(mean - e, 0) if s is None else s for e, s in zip(elapsed, left, strict=True)]
        return (sum(rest) + waiting * mean) / len(running)


def describe(name: str, status: Status) -> tuple[str, ...]:
    """Return the cells of a running trial."""
    if status.bpc is None or status.state == "starting":
        return (name, "starting", "", "", "")
    bpc = status.bpc if status.valid_bpc is None else status.valid_bpc
    speed = "" if status.symbols_per_second is None else f"{status.symbols_per_second:,.0f}"
    left = "" if status.seconds_left is None else format_seconds(status.seconds_left)
    return (name, f"{status.step:,}/{status.steps or '?'}", f"{bpc:.3f}", speed, left)
