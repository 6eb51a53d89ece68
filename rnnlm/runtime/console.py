"""Show the progress of a run: a live bar on a terminal, plain lines elsewhere."""

import os
import sys
import time

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS = 10.0
"""Seconds between two plain lines."""


class PipeTolerantConsole(RichConsole):
    """Write nothing more once the reader of standard output has gone, as `head` does, so that the run goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Console:
    """Show progress and messages; nothing on standard output where `show` is false."""

    def __init__(self, show: bool = True):
        self._rich = PipeTolerantConsole(quiet=not show, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._next = 0.0
        self._first: tuple[int, float] | None = None

    def say(self, text: str) -> None:
        """Print text as it is."""
        self._rich.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print to standard error, without disturbing the bar."""
        if self._bar:
            self._bar.console.print(text, markup=False)
        else:
            print(text, file=sys.stderr)

    def progress(self, step: int, steps: int, bpc: float, speed: float) -> None:
        """Show the step of a training run, its bpc and its speed in symbols a second."""
        if self._rich.is_terminal:
            if self._bar is None:
                self._bar = Progress(
                    TextColumn("step {task.completed}/{task.total}"),
                    BarColumn(),
                    TextColumn("{task.fields[bpc]:.3f} bpc  {task.fields[speed]:,.0f} symbols/s"),
                    TimeElapsedColumn(),
                    TextColumn("ETA"),
                    TimeRemainingColumn(),
                    console=self._rich,
                )
                self._task = self._bar.add_task("", total=steps, completed=step, bpc=bpc, speed=speed)
                self._bar.start()
            self._bar.update(self._task, completed=step, bpc=bpc, speed=speed)
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
            if self._bar is None:
                self._bar = Progress(BarColumn(), TimeRemainingColumn(), console=self._rich, transient=True)
                self._task = self._bar.add_task("", total=1.0)
                self._bar.start()
            self._bar.update(self._task, completed=done)

    def done(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()
            self._bar = None
