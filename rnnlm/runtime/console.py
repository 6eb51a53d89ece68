"""What a run shows while it goes: a live bar on a terminal, plain lines elsewhere."""

import os
import sys
import time

from rich.console import Console as Rich
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS = 10.0
"""Between two plain lines."""


class Quieter(Rich):
    """Where nobody reads any more, such as behind `head`, the run goes on without words."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Console:
    """Progress and messages; silent where `show` is false."""

    def __init__(self, show: bool = True):
        self._rich = Quieter(quiet=not show, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._next = 0.0
        self._first: tuple[int, float] | None = None

    def say(self, text: str) -> None:
        self._rich.print(text, markup=False)

    def warn(self, text: str) -> None:
        """To standard error, without disturbing the bar."""
        if self._bar:
            self._bar.console.print(text, markup=False)
        else:
            print(text, file=sys.stderr)

    def progress(self, step: int, steps: int, bpc: float, speed: float) -> None:
        """Where training stands; `speed` in symbols a second."""
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
            now = time.monotonic()
            self._first = self._first or (step, now)
            self._next = now + SECONDS
            first, then = self._first
            left = f"  {(steps - step) * (now - then) / (step - first):,.0f} s left" if first < step < steps else ""
            self.say(f"step {step}/{steps}  {bpc:.3f} bpc  {speed:,.0f} symbols/s{left}")

    def share(self, done: float) -> None:
        """How much of an evaluation is behind; on a terminal only."""
        if self._rich.is_terminal:
            if self._bar is None:
                self._bar = Progress(BarColumn(), TimeRemainingColumn(), console=self._rich, transient=True)
                self._task = self._bar.add_task("", total=1.0)
                self._bar.start()
            self._bar.update(self._task, completed=done)

    def done(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
