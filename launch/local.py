"""Run the trials of a sweep on this machine, several side by side, and show how far they are."""

import time
from collections.abc import Sequence

from launch.folder import SweepDir
from launch.jobs import POLL_SECONDS, Pool
from launch.table import Table
from launch.trials import Trial
from rnnlm.runtime.signals import Signals

LOOK_SECONDS = 1.0
"""Seconds between two looks at trials that other processes run."""


def run(sweep: SweepDir, trials: Sequence[Trial], jobs: int, table: Table) -> bool:
    """Run the trials that are not done, `jobs` at a time: -> False where a signal ended it.

    A trial that another process is running is waited for, and is run here if it does not get done there.
    """
    todo, next_look = list(trials), 0.0
    with Signals() as stop, table, Pool(sweep, jobs) as pool:
        while todo or pool.running:
            if stop():
                table.end(pool.stop())
                return False
            if pool.free and time.monotonic() >= next_look:
                next_look = 0.0 if start_next(pool, todo, table) else time.monotonic() + LOOK_SECONDS
            ended = pool.ended()
            todo += [job.trial for job, state in ended if state == "elsewhere"]
            table.end(ended)
            table.show(pool.running)
            time.sleep(0 if ended else POLL_SECONDS)
            next_look = 0.0 if ended else next_look
    return True


def start_next(pool: Pool, todo: list[Trial], table: Table) -> bool:
    """Start the first trial of a list that no other process is running, and remove from it what is done.

    Returns False where none could be started.
    """
    for trial in list(todo):
        state = pool.sweep.state(trial)
        if state in ("done", "failed"):
            todo.remove(trial)
            table.count(trial, state)
        elif state != "running" and pool.start(trial):
            todo.remove(trial)
            return True
    return False
