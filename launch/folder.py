"""The folder of a sweep: its trials, the config of each, their run folders, and how far each has come."""

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from launch.axes import Overrides
from launch.trials import Trial
from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.files import make_folder, reading, writing
from rnnlm.runs.layout import Row, RunDir, read_json, write_json
from rnnlm.runs.lock import is_held, is_locked
from rnnlm.runs.metrics import parse_row
from rnnlm.schema import describe_differences, differences

VERSION = 1
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class SweepDir:
    """Spell the paths of a sweep, and tell the state of its trials.

    `sweep.json` holds the base config, what is run of each trial and the list of trials; `trials/ID.json` the whole
    config of a trial, `ID/` its run folder, with what it printed in `trial.log`; `best.json` is the config of the best
    trial of a search. Hidden files beside them tell which trials have failed and which are claimed by a launcher.
    """

    def __init__(self, path: Path):
        self.path = path
        self.file = path / "sweep.json"
        self.configs = path / "trials"
        self.claims = path / ".claims"
        self.best = path / "best.json"
        self.report = path / "report.html"

    def run_dir(self, trial: Trial) -> Path:
        """Return the run folder of a trial."""
        return self.path / trial.id

    def config(self, trial: Trial) -> Path:
        """Return the file of a trial's config."""
        return self.configs / f"{trial.id}.json"

    def log(self, trial: Trial) -> Path:
        """Return the file that receives what a trial prints."""
        return self.run_dir(trial) / "trial.log"

    def end(self, trial: Trial) -> Path:
        """Return the file that exists where a trial has failed or was pruned."""
        return self.run_dir(trial) / ".ended.json"

    def trials(self) -> list[Trial]:
        """Load the trials in order. Raises UserError where the folder holds no sweep, or a damaged one."""
        listed = read_sweep(self.file)["trials"]
        return [self.load_trial(entry["id"], entry["overrides"]) for entry in listed]

    def load_trial(self, trial_id: str, overrides: Overrides) -> Trial:
        """Load the config of a trial. Raises UserError where it is missing or damaged."""
        file = self.configs / f"{trial_id}.json"
        try:
            return Trial(trial_id, overrides, Config.from_saved(read_json(file)))
        except UserError as error:
            raise UserError(
                f"{file} is missing or damaged: restore it from a copy, or run the sweep's command again. ({error})"
            ) from None

    @property
    def evaluated(self) -> str:
        """Return the split that finished trials are evaluated on, "" for none."""
        return str(read_sweep(self.file)["eval"])

    def write(self, base: Config, trials: Sequence[Trial], evaluated: str) -> list[Trial]:
        """Add trials to the sweep, which is made if there is none: -> them under the ids that the folder knows.

        Raises UserError where it is the sweep of another config, or WriteError.
        """
        with self.lock():
            saved = self.read_own(base)
            known = {canonical(entry["overrides"]): entry["id"] for entry in saved["trials"]} if saved else {}
            named = [replace(trial, id=known.get(canonical(trial.overrides), trial.id)) for trial in trials]
            self.add(saved, base, named, evaluated)
        return named

    def append(self, base: Config, trial: Trial) -> None:
        """Add a trial under its own id, though the sweep may have one of the same values."""
        with self.lock():
            saved = self.read_own(base)
            self.add(saved, base, [trial], saved["eval"] if saved else "")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let no other launcher change the sweep within the context.

        Raises UserError for a folder of other files, or WriteError.
        """
        self.refuse_foreign_files()
        lock = FileLock(self.claims / self.file.name, fallback_to_soft=False)
        with writing(self.path):
            make_folder(self.claims)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def read_own(self, base: Config) -> Row | None:
        """Read sweep.json, None if there is none yet. Raises UserError where it is that of another config."""
        saved = read_sweep(self.file) if self.file.exists() else None
        if saved is not None:
            self.refuse_other(Config.from_saved(saved["base"]), base)
        return saved

    def add(self, saved: Row | None, base: Config, trials: Sequence[Trial], evaluated: str) -> None:
        """Write the configs of trials, and list those that are not listed yet."""
        make_folder(self.configs)
        for trial in trials:
            if not self.has_config(trial):
                write_json(self.config(trial), trial.config.as_saved())
        listed = saved["trials"] if saved else []
        ids = {entry["id"] for entry in listed}
        new = [{"id": t.id, "overrides": t.overrides} for t in trials if t.id not in ids]
        content = {"version": VERSION, "eval": evaluated, "base": base.as_saved(), "trials": [*listed, *new]}
        if content != saved:
            write_json(self.file, content)

    def has_config(self, trial: Trial) -> bool:
        """Return whether the config of a trial is there and sound."""
        with suppress(UserError):
            self.load_trial(trial.id, trial.overrides)
            return True
        return False

    def refuse_foreign_files(self) -> None:
        """Raise UserError where the folder exists and holds other things than a sweep."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file: choose another --name or --dir.")
        if self.path.is_dir() and not self.file.exists():
            with reading(self.path):
                found = sorted(path.name for path in self.path.iterdir() if not path.name.startswith("."))
            if found and found != [self.configs.name]:
                raise UserError(f"{self.path} holds no sweep, but {', '.join(found[:3])}: choose another --name.")

    def refuse_other(self, saved: Config, given: Config) -> None:
        """Raise UserError where the sweep of the folder has another base config."""
        differing = differences(saved.as_dict(), given.as_dict())
        if differing:
            raise UserError(
                f"{self.path} holds a sweep of another config: choose another --name. They differ in:"
                f"{describe_differences(differing)}"
            )

    def commands(self, trial: Trial, evaluated: str | None = None) -> list[list[str]]:
        """Return the command lines that train a trial and evaluate it, unless `evaluated` is "".

        The split is that of sweep.json unless it is given.
        """
        evaluated = self.evaluated if evaluated is None else evaluated
        rnnlm, workdir = [sys.executable, "-m", "rnnlm"], f"--workdir={self.run_dir(trial)}"
        train = [*rnnlm, "train", f"--config={self.config(trial)}", workdir]
        if ":" in trial.config.model.cell:
            train.append("--trust_code")  # of a config file, which is code that was trusted already
        return [train, *([[*rnnlm, "eval", workdir, f"--split={evaluated}"]] if evaluated else [])]

    def state(self, trial: Trial) -> str:
        """Return whether a trial is waiting, running, stopped, failed, pruned or done."""
        run = RunDir(self.run_dir(trial))
        if self.is_running(trial.id):
            return "running"
        if self.end(trial).exists():
            return str(read_json(self.end(trial))["state"])
        if run.result.exists() and self.is_evaluated(run):
            return "done"
        return "stopped" if run.run.exists() else "waiting"

    def is_evaluated(self, run: RunDir) -> bool:
        """Return whether a run has an evaluation on the split that the sweep asks for, if it asks for one."""
        split = self.evaluated
        if not split or not run.results.exists():
            return not split
        with reading(run.results):
            rows = map(parse_row, run.results.read_bytes().splitlines(keepends=True))
        return any(row.get("split") == split for row in rows if row)

    def is_running(self, trial_id: str) -> bool:
        """Return whether a launcher has a trial, or a process trains in its folder."""
        return is_held(self.claims / trial_id) or is_locked(self.path / trial_id)

    def has_survived(self, trial_id: str) -> bool:
        """Return whether a process trains in a trial's folder, but no launcher has the trial."""
        return is_locked(self.path / trial_id) and not is_held(self.claims / trial_id)

    def claim(self, trial: Trial) -> FileLock | None:
        """Lock a trial for this launcher, None where another one has it.

        The kernel frees the lock of a launcher that has died. Raises WriteError.
        """
        lock = FileLock(self.claims / trial.id, fallback_to_soft=False)
        with writing(self.claims), suppress(Timeout):
            make_folder(self.claims)
            lock.acquire(blocking=False)
            return lock
        return None

    def record_end(self, trial: Trial, state: str, command: Sequence[str], code: int) -> None:
        """Record that a trial has failed or was pruned, and the exit code of its command."""
        write_json(self.end(trial), {"state": state, "code": code, "command": list(command)})

    def forget_end(self, trial: Trial) -> None:
        """Remove the record that a trial has failed or was pruned."""
        self.end(trial).unlink(missing_ok=True)

    def last_lines(self, trial: Trial, count: int = 3) -> str:
        """Return the last lines of a trial's log."""
        with suppress(OSError):
            return "\n".join(self.log(trial).read_text(errors="replace").rstrip().splitlines()[-count:])
        return ""


def read_sweep(file: Path) -> Row:
    """Read sweep.json. Raises UserError where it is missing, damaged or of a newer version."""
    if not file.exists():
        raise UserError(f"{file.parent} holds no sweep: name the folder that launch/sweep.py made, DIR/NAME.")
    sweep = read_json(file)
    listed = sweep.get("trials")
    whole = isinstance(listed, list) and all(isinstance(t, dict) and {"id", "overrides"} <= t.keys() for t in listed)
    if sweep.get("version") != VERSION or not {"eval", "base"} <= sweep.keys() or not whole:
        raise UserError(f"{file} is damaged, or of a newer version than {VERSION}: restore it, or use a newer rnnlm.")
    return sweep


def canonical(overrides: Overrides) -> str:
    """Return a text that is equal for equal overrides, whatever their order."""
    return json.dumps(overrides, sort_keys=True)


def check_name(name: str) -> None:
    """Raise UserError for a name that is no safe name of a folder on every machine."""
    if not SAFE_NAME.fullmatch(name):
        raise UserError(
            f"--name={name!r} is no safe name of a folder: use letters, digits, dots, dashes and underscores."
        )


def shown(command: Sequence[str]) -> str:
    """Return a command line as a person would type it."""
    words = ["rnnlm", *command[3:]] if list(command[1:3]) == ["-m", "rnnlm"] else command
    return shlex.join(words)
