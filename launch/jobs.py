"""Run the commands of a trial as processes on a share of this machine's cores or GPUs."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, takewhile
from pathlib import Path

from filelock import FileLock

from launch.folder import SweepDir
from launch.trials import Trial
from rnnlm.errors import UserError
from rnnlm.files import make_folder, writing
from rnnlm.runs.layout import RunDir
from rnnlm.runs.lock import is_locked
from rnnlm.runtime.cpus import core_groups

POLL_SECONDS = 0.01
"""Seconds between two looks at the processes."""
GPUS = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver lists the GPUs of the machine."""


@dataclass(frozen=True)
class Share:
    """Name the cores of a job and, where the machine has GPUs, their indices."""

    cpus: frozenset[int]
    gpus: tuple[str, ...] = ()


def share_out(jobs: int) -> list[Share]:
    """Share the cores and the GPUs of this process out to jobs that run side by side.

    Raises UserError where a job would be left without a core, or some without a GPU.
    """
    groups, gpus = core_groups(), visible_gpus()
    if jobs > len(groups):
        raise UserError(f"--jobs={jobs} is more than the {len(groups)} cores that this process may use: give fewer.")
    if gpus and jobs > len(gpus):
        raise UserError(f"--jobs={jobs} is more than the {len(gpus)} GPUs that this process may use: give fewer.")
    edges = [len(groups) * i // jobs for i in range(jobs + 1)]
    cpus = [frozenset(chain.from_iterable(groups[a:b])) for a, b in pairwise(edges)]
    return [Share(cpus[i], tuple(gpus[i::jobs])) for i in range(jobs)]


def visible_gpus() -> list[str]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, up to a name of none such as -1; else all of this machine."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return list(takewhile(lambda name: name not in ("", "-1", "NoDevFiles"), named.split(",")))
    return [str(i) for i in range(len(list(GPUS.iterdir())))] if GPUS.is_dir() else []


class Job:
    """Run the commands of a trial one after another, with a claim on the trial for as long as it runs."""

    def __init__(self, sweep: SweepDir, trial: Trial, share: Share, claim: FileLock):
        self.sweep, self.trial, self.share, self.claim = sweep, trial, share, claim
        self.commands = sweep.commands(trial)
        self.began = time.monotonic()
        self.stopping = self.pruned = False
        with writing(sweep.run_dir(trial)):
            make_folder(sweep.run_dir(trial))
        sweep.forget_end(trial)
        self.process = self.start(self.commands[0])

    def start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a command, which appends what it prints to the trial's log."""
        environment = dict(os.environ)
        if self.share.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.share.gpus)
        with self.sweep.log(self.trial).open("ab") as log, on_cores(self.share):
            # A session of its own, so that Ctrl-C in the terminal reaches it only through this process.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def poll(self) -> str | None:
        """Return the state in which the job has ended, None while it runs; the next command starts if there is one.

        The state "elsewhere" tells that another process trains in the folder.
        """
        code = self.process.poll()
        if code is None:
            return None
        command = self.commands.pop(0)
        if code and is_locked(self.sweep.run_dir(self.trial)):
            return self.end("elsewhere")
        if code:
            # A process that a signal ended before it could handle it has nothing to save.
            stopped = self.stopping or code == -signal.SIGTERM
            return self.end("stopped" if stopped else "failed", command, code)
        trained = RunDir(self.sweep.run_dir(self.trial)).result.exists()
        if trained and self.commands and not self.stopping:
            self.process = self.start(self.commands[0])
            return None
        if trained and not self.commands:
            return self.end("done")
        return self.end("pruned" if self.pruned else "stopped", command, code)

    def end(self, state: str, command: Sequence[str] = (), code: int = 0) -> str:
        """Record the state of a trial if it does not show in its run folder, and release the claim on it: -> the state.

        In this order, or else another launcher might run it again in between.
        """
        if state in ("failed", "pruned"):
            self.sweep.record_end(self.trial, state, command, code)
        self.claim.release()
        return state

    def stop(self, forward: bool = True) -> None:
        """Have the job save what it has trained and end; without `forward` its process has had the signal already."""
        forward = forward and not self.stopping  # a second signal would end it before it has saved
        self.stopping = True
        if forward:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    def prune(self) -> None:
        """Have the job end early, since others are better."""
        self.pruned = True
        self.stop()


@contextlib.contextmanager
def on_cores(share: Share) -> Iterator[None]:
    """Let the processes that the block starts use the cores of a share only; they inherit this thread's."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, share.cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Pool:
    """Run jobs on shares of this machine; where the context ends with an error, they save and end too."""

    def __init__(self, sweep: SweepDir, jobs: int):
        self.sweep, self.free, self.running = sweep, share_out(jobs), list[Job]()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self.stop()

    def start(self, trial: Trial) -> Job | None:
        """Start a trial on a free share, None where another process is running it."""
        if is_locked(self.sweep.run_dir(trial)):
            return None
        claim = self.sweep.claim(trial)
        if claim is None:
            return None
        job = Job(self.sweep, trial, self.free.pop(), claim)
        self.running.append(job)
        return job

    def ended(self) -> list[tuple[Job, str]]:
        """Return the jobs that have ended since the last call, each with its state."""
        states = [(job, state) for job in self.running if (state := job.poll()) is not None]
        for job, _ in states:
            self.running.remove(job)
            self.free.append(job.share)
        return states

    def stop(self) -> list[tuple[Job, str]]:
        """Have all jobs save and end, and wait for them: -> them with their states."""
        for job in self.running:
            job.stop()
        states = []
        while self.running:
            states += self.ended()
            time.sleep(POLL_SECONDS)
        return states
