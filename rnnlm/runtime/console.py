"""Show the progress of a run: a live bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS = 10.0
"""Seconds between two plain lines."""
TASK = TaskID(0)
"""The only task of a bar."""


class PipeTolerantConsole(RichConsole):
    """Write nothing more once the reader of standard output has gone, as `head` does, so that the run goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Console:
    """Show progress and messages; nothing on standard output where `show` is false.

    As a context it removes the bar at its end, so that what is printed next stands alone, an error included.
    """

    def __init__(self, show: bool = True):
        self._rich = PipeTolerantConsole(quiet=not show, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._next = 0.0
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *error: object) -> None:
        self.done()

    def say(self, text: str) -> None:
        """Print text as it is."""
        self._rich.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print to standard error; where that is the terminal, above the bar."""
        print(text, file=sys.stderr)

    def progress(self, step: int, steps: int, bpc: float, speed: float) -> None:
        """Show the step of a training run, its bpc and its speed in symbols a second."""
        if self._rich.is_terminal:
            if self._bar is None:
                columns = (
                    TextColumn("step {task.completed}/{task.total}"),
                    BarColumn(),
                    TextColumn("{task.fields[bpc]:.3f} bpc  {task.fields[speed]:,.0f} symbols/s"),
                    TimeElapsedColumn(),
                    TextColumn("ETA"),
                    TimeRemainingColumn(),
                )
                self._bar = self._start(columns, steps, completed=step, bpc=bpc, speed=speed)
            self._bar.update(TASK, completed=step, bpc=bpc, speed=speed)
        elif time.monotonic() >= self._next or step == steps:
            seconds = time.monotonic()
            self._first = self._first or (step, seconds)
            self._next = seconds + SECONDS
            first, begin = self._first
            eta = ""
            if first < step < steps:
                eta = f"  {(steps - step) * (seconds - begin) / (step - first):,.0f} s left"
            self.say(f"step {step}/{steps}  {bpc:.3f} bpc  {speed:,.0f} symbols/s{eta}")

    def share(self, done: float) -> None:
        """Show on a terminal the share of the work that is done, from 0 to 1."""
        if self._rich.is_terminal:
            self._bar = self._bar or self._start((BarColumn(), TimeRemainingColumn()), 1.0, transient=True)
            self._bar.update(TASK, completed=done)

    def search(self, trials: int, best: float) -> None:
        """Show how far a search is, whose number of trials is not known before, and the best bpc so far."""
        text = f"trial {trials}  best {best:.4f} bpc" if trials else ""
        if self._rich.is_terminal:
            columns = BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
            self._bar = self._bar or self._start(columns, None, transient=True)
            self._bar.update(TASK, description=text)
        elif trials and time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS
            self.say(text)

    def _start(
        self, columns: tuple[ProgressColumn, ...], total: float | None, transient: bool = False, **fields: Any
    ) -> Progress:
        """Start a bar with one task."""
        # Where standard error is not the terminal, rich would print what is meant for it above the bar.
        stderr = sys.stderr.isatty()
        bar = Progress(*columns, console=self._rich, transient=transient, redirect_stderr=stderr)
        bar.add_task("", total=total, **fields)
        bar.start()
        return bar

    def done(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()
            self._bar = None
