"""Submit, find and cancel the Slurm jobs of a folder, whose numbers a hidden file in it keeps."""

import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rnnlm.errors import UserError
from rnnlm.files import make_folder, write_atomic
from rnnlm.runs.layout import Row, read_json, write_json

FIELDS = "%F|%K|%T|%M|%l|%N|%r"
"""What squeue prints of a job: array job, task, state, time used, time limit, nodes, reason."""
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}
"""States of a job that has left the queue, which Slurm remembers for some minutes."""


@dataclass(frozen=True)
class Job:
    """Hold what squeue says of a job, or of a task of a job array; `task` is "" for a job that is none."""

    number: str
    task: str
    state: str
    used: str
    limit: str
    nodes: str
    reason: str

    @property
    def ended(self) -> bool:
        """Return whether the job has left the queue."""
        return self.state in ENDED

    def describe(self) -> str:
        """Say in words how the job stands."""
        name = f"job {self.number}{self.task and '_'}{self.task}"
        if self.state == "PENDING":
            return f"{name} is pending ({self.reason})"
        if self.ended:
            return f"{name} has ended ({self.state})"
        return f"{name} is {self.state.lower()} on {self.nodes}, {self.used} of {self.limit}"


class JobDir:
    """Spell the hidden files of a run folder or sweep folder that belong to its Slurm jobs."""

    def __init__(self, path: Path):
        self.path = path
        self.script = path / ".slurm.sh"
        self.record = path / ".slurm.json"

    def numbers(self) -> list[str]:
        """Return the numbers of the jobs that were submitted, the newest last."""
        return [str(job["number"]) for job in self.jobs()]

    def jobs(self) -> list[Row]:
        """Read the record of the jobs that were submitted."""
        return list(read_json(self.record)["jobs"]) if self.record.exists() else []

    def in_queue(self) -> list[Job]:
        """Return the jobs of the folder that wait or run. Raises UserError where Slurm does not answer."""
        return [job for job in find_jobs(self.numbers()) if not job.ended]

    def refuse_queued(self) -> None:
        """Raise UserError where a job of the folder waits or runs."""
        if queued := self.in_queue():
            raise UserError(
                f"{self.path} is in Slurm's queue already ({queued[0].describe()}): wait for it, or cancel it by "
                "launch/slurm.py cancel."
            )

    def submit(self, script: str = "", options: Sequence[str] = ()) -> str:
        """Submit a script, by default that of the last job, and record the job: -> its number.

        Raises UserError where Slurm refuses it or does not answer.
        """
        if script:
            make_folder(self.path)
            write_atomic(self.script, [script.encode()])
        number = call("sbatch", "--parsable", *options, str(self.script)).strip().partition(";")[0]
        job = {"number": number, "submitted": time.strftime("%Y-%m-%d %H:%M:%S"), "options": list(options)}
        write_json(self.record, {"jobs": [*self.jobs(), job]})
        return number


def find_jobs(numbers: Sequence[str]) -> list[Job]:
    """Ask Slurm for jobs and tasks: -> those that it still knows. Raises UserError where it does not answer."""
    if not numbers:
        return []
    command = ["squeue", "--noheader", "--array", "--states=all", f"--format={FIELDS}"]
    try:
        lines = call(*command, f"--jobs={','.join(numbers)}").splitlines()
    except UserError as error:
        if "Invalid job id" in str(error):  # Slurm has forgotten it
            return []
        raise
    cells = [line.split("|", 6) for line in lines]
    return [Job(number, "" if task == "N/A" else task, *others) for number, task, *others in cells]


def cancel(jobs: Sequence[Job]) -> None:
    """Cancel jobs: they save and end. Raises UserError where Slurm does not answer."""
    for number in sorted({job.number for job in jobs}):
        # Or else a job that is saving before its time limit would requeue itself after the cancel. Slurm refuses it for
        # one that ends just now.
        with suppress(UserError):
            call("scontrol", "update", f"JobId={number}", "Requeue=0")
        call("scancel", number)


def call(program: str, *arguments: str) -> str:
    """Run a program of Slurm: -> what it prints. Raises UserError where it is missing or fails."""
    if shutil.which(program) is None:
        raise UserError(f"There is no {program} on this machine: run this where Slurm's commands are.")
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split()).replace(f"{program}: error: ", "")
        raise UserError(f"Slurm's {program} failed: {reason.rstrip('.') or f'exit code {done.returncode}'}.")
    return done.stdout
