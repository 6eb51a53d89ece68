"""Tell how runs are getting on, from the files in their folders alone: while they train, and later.

Nothing here writes, waits for a process that trains, or imports jax. A second reading of unchanged files is cheap.
"""

import math
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.files import reading
from rnnlm.runs.layout import Row, RunDir, read_json
from rnnlm.runs.lock import is_locked, read_holder
from rnnlm.runs.metrics import parse_row, validation_scores

STATES = {
    "starting": "a process is there, and has made no step since it started",
    "running": "a process trains",
    "stopped": "no process is there; the same command goes on",
    "done": "all steps are made",
    "failed": "the process ended with an error, which `message` has",
    "damaged": "the config cannot be read, as `message` says",
    "unknown": "the run began on another machine, whose processes are not seen from here",
    "absent": "the folder holds no run yet",
}
"""What each state of a run means."""
RECENT = 100
"""Rows of training over which the time of a step is measured."""
DEPTH = 3
"""Levels of folders below a given one in which runs are looked for."""


@dataclass(frozen=True)
class Status:
    """Say how a run is getting on; what is not known is None.

    `bpc` and `symbols_per_second` are those of the last row of training, `valid_bpc` is the last validation and
    `best_bpc` the best of those that can be ranked with it. `seconds_per_step` is measured over the last rows, with
    validations and checkpoints among them. `seconds_left` counts from now; for a run that has stopped it is what is
    left to train. `silent` is the time in seconds since the run last wrote a row, began or ended. `pid`, `host` and
    `since` are of the process that trains, or of the last one that did; `alive` is None where another machine would
    have to be asked.
    """

    run: str
    state: str
    alive: bool | None = None
    step: int = 0
    steps: int | None = None
    bpc: float | None = None
    valid_bpc: float | None = None
    valid_step: int | None = None
    best_bpc: float | None = None
    best_step: int | None = None
    symbols_per_second: float | None = None
    seconds_per_step: float | None = None
    seconds_left: float | None = None
    silent: float | None = None
    pid: int | None = None
    host: str | None = None
    since: str | None = None
    message: str = ""


def status(dirs: str | Path | Sequence[str | Path]) -> list[Status]:
    """Tell how the runs of folders are getting on; a folder holds a run, or folders of runs.

    Raises UserError for a folder that is not there or holds no run.
    """
    dirs = [dirs] if isinstance(dirs, str | Path) else dirs
    return [read_status(run) for folder in dirs for run in find_runs(Path(folder))]


def find_runs(folder: Path) -> list[Path]:
    """List the run folders that a folder is or holds, sorted. Raises UserError where there are none."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: name the folder of a training run, or one that holds such.")
    runs = list(walk_runs(folder, DEPTH))
    if not runs:
        raise UserError(
            f"{folder} holds no run, and neither do the folders in it: name the folder of a training run, or one that "
            "holds such."
        )
    return runs


def walk_runs(folder: Path, depth: int) -> list[Path]:
    """List the run folders that a folder is or holds down to a depth, sorted; hidden folders do not count."""
    run_dir = RunDir(folder)
    if run_dir.run.exists():
        return [folder]
    inner: list[Path] = []
    if depth:
        with reading(folder):
            children = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        inner = [run for child in children for run in walk_runs(child, depth - 1)]
    # A run that has just begun has no more than a lock.
    return inner or ([folder] if read_holder(run_dir.lock) or run_dir.checkpoints.is_dir() else [])


def read_status(folder: str | Path) -> Status:
    """Tell how the run of a folder is getting on; also where none has begun there yet, or its config is damaged."""
    run_dir = RunDir(Path(folder))
    alive: bool | None = is_locked(run_dir.path)
    holder = read_holder(run_dir.lock)
    if not alive and holder and "ended" not in holder and holder["host"] != socket.gethostname():
        alive = None
    silent = seconds_silent(run_dir)
    process: Row = {name: holder.get(name) for name in ("pid", "host", "since")}
    try:
        config = read_config(run_dir.config, stamp(run_dir.config))
        window = config.train.batch * config.train.window if config else 0
        progress = read_progress(run_dir.metrics, stamp(run_dir.metrics), window)
        steps = (config.train.steps or None) if config else None  # none yet where train.minutes is given
        state = find_state(run_dir, alive, holder, progress["step"], steps)
    except UserError as error:
        return Status(str(folder), "damaged", alive, silent=silent, message=str(error), **process)
    left, message = None, holder["failure"] if state == "failed" else ""
    if steps and progress["seconds_per_step"] is not None:
        left = max(0.0, (steps - progress["step"]) * progress["seconds_per_step"] - (silent or 0.0) * bool(alive))
    known: Row = progress | process | {"steps": steps, "seconds_left": left, "silent": silent, "message": message}
    return Status(str(folder), state, alive, **known)


def find_state(run_dir: RunDir, alive: bool | None, holder: Row, step: int, steps: int | None) -> str:
    """Return the state of a run, one of STATES. Raises UserError if a file that tells it is damaged."""
    if alive:
        # Each start takes the lock, writes run.json, and cuts off the rows of metrics.jsonl that it makes again.
        written = [path.stat().st_mtime_ns for path in (run_dir.lock, run_dir.run, run_dir.metrics) if path.exists()]
        begun = len(written) == 3 and written == sorted(written)
        return "running" if begun and step > read_json(run_dir.run)["starts"][-1]["step"] else "starting"
    if run_dir.result.exists() and read_json(run_dir.result).get("step", 0) >= (steps or math.inf):
        return "done"
    if holder.get("failure"):
        return "failed"
    if alive is None:
        return "unknown"
    return "stopped" if holder or run_dir.run.exists() else "absent"


def seconds_silent(run_dir: RunDir) -> float | None:
    """Return the seconds since a run last wrote a row, began or ended; None if it never did."""
    times = [found[0] / 1e9 for found in (stamp(run_dir.metrics), stamp(run_dir.lock)) if found]
    return max(0.0, time.time() - max(times)) if times else None


def stamp(path: Path) -> tuple[int, int] | None:
    """Return (time of the last change in ns, size) of a file, by which it is known unchanged; None without it."""
    with suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    return None


@lru_cache(maxsize=10_000)
def read_config(path: Path, stamped: tuple[int, int] | None) -> Config | None:
    """Read a run's config, once as long as its stamp is the same; None without one. Raises UserError."""
    return Config.from_saved(read_json(path)) if stamped else None


@lru_cache(maxsize=10_000)
def read_progress(path: Path, stamped: tuple[int, int] | None, symbols_per_step: int) -> Row:
    """Read from metrics.jsonl what Status has of steps, bpc and speed, once as long as its stamp is the same.

    A row that is being written does not count.
    """
    trained: deque[bytes] = deque(maxlen=RECENT)
    validated: list[bytes] = []
    for line in read_lines(path) if stamped else ():
        (validated if b'"valid_bpc"' in line else trained).append(line)
    validations = [row for row in map(parse_row, validated) if row]
    scores = validation_scores(validations)
    best = min(scores, key=scores.__getitem__, default=None)
    first: Row = next(filter(None, map(parse_row, trained)), {})
    last: Row = next(filter(None, map(parse_row, reversed(trained))), {})
    validation: Row = validations[-1] if validations else {}
    return {
        "step": max(row.get("step", 0) for row in (last, validation)),
        "bpc": last.get("bpc"),
        "valid_bpc": validation.get("valid_bpc"),
        "valid_step": validation.get("step"),
        "best_bpc": None if best is None else scores[best],
        "best_step": best,
        "symbols_per_second": last.get("symbols_per_second"),
        "seconds_per_step": seconds_per_step(first, last, symbols_per_step),
    }


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file. Raises UserError if it cannot be read."""
    with reading(path), path.open("rb") as file:
        yield from file


def seconds_per_step(first: Row, last: Row, symbols_per_step: int) -> float | None:
    """Return the time of a step between two rows of training, or by the speed if they are one; None without rows."""
    if last and last["step"] > first["step"]:
        return float(last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
    if last and symbols_per_step and last["symbols_per_second"]:
        return symbols_per_step / float(last["symbols_per_second"])
    return None
