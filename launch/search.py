"""Search config keys with Optuna, whose study lies in the sweep's folder, so that a search can be continued."""

import datetime
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from launch.axes import Overrides, parse_range
from launch.folder import SweepDir
from launch.jobs import POLL_SECONDS, Job, Pool
from launch.local import LOOK_SECONDS
from launch.table import Table
from launch.trials import Trial, approximate_id
from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.runs.layout import RunDir, read_json
from rnnlm.runs.metrics import read_validations

ID = "rnnlm_id"
"""The user attribute of an Optuna trial that holds the id of ours."""
ENDED = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
"""What the states of an Optuna trial that has ended are called here."""
LOCK_SECONDS = 60
"""Seconds for which SQLite waits for another worker."""
REPORT_SECONDS = 0.2
"""Seconds between two looks at the validations of running trials."""
UNNAMED_SECONDS = 60
"""Seconds after which an Optuna trial without an id is one whose worker was killed."""


@dataclass(frozen=True)
class SearchOptions:
    """Hold what --optuna, --space, --sampler, --pruner, --study and --random_seed say."""

    trials: int
    space: Sequence[str]
    sampler: str = "tpe"
    pruner: str = "median"
    study: str = ""
    seed: int | None = None


class Search:
    """Run trials that Optuna proposes in a sweep's folder, and tell it what they come to.

    `resolve` makes the trial of some overrides.
    """

    def __init__(
        self,
        sweep: SweepDir,
        base: Config,
        resolve: Callable[[Overrides], Trial],
        options: SearchOptions,
        study: optuna.Study,
        table: Table,
    ):
        self.sweep, self.base, self.resolve, self.options, self.table = sweep, base, resolve, options, table
        self.space = dict(make_distribution(*parse_range(word, "--space")) for word in options.space)
        self.study = study
        check_space(study, self.space)
        self.running: dict[str, tuple[Job, optuna.Trial]] = {}
        self.reported: dict[str, int] = {}
        self.next_report = self.next_look = 0.0

    def run(self, pool: Pool, stop: Callable[[], bool]) -> bool:
        """Run trials until the study has as many as it shall: -> False where a signal ended it.

        A trial whose launcher was killed is waited for as long as its process trains on, and then continued here.
        """
        self.count_ended()
        orphans = self.find_orphans()
        while True:
            if stop():
                self.table.end(pool.stop())
                return False
            while pool.free and orphans:
                self.adopt(pool, orphans.pop(0))
            if pool.free and time.monotonic() >= self.next_look:
                self.next_look = 0.0 if self.propose(pool) else time.monotonic() + LOOK_SECONDS
            if not pool.running:
                orphans = self.find_orphans()
                if not orphans and not self.has_survivors():
                    return True
            ended = pool.ended()
            self.next_look = 0.0 if ended else self.next_look
            if ended or time.monotonic() >= self.next_report:
                self.next_report = time.monotonic() + REPORT_SECONDS
                for job, _ in [*self.running.values()]:
                    self.report(job)
            self.finish(ended)
            self.table.show(pool.running)
            time.sleep(POLL_SECONDS if pool.running or orphans else LOOK_SECONDS)

    def count_ended(self) -> None:
        """Have the table know what has become of the trials that ended before."""
        for frozen in self.study.get_trials(deepcopy=False):
            if frozen.state in ENDED and ID in frozen.user_attrs:
                self.table.states[frozen.user_attrs[ID]] = ENDED[frozen.state]

    def propose(self, pool: Pool) -> bool:
        """Start the trial that Optuna proposes next; False where the study has all trials, those of others included."""
        with FileLock(self.sweep.claims / "study", fallback_to_soft=False):
            known = self.study.get_trials(deepcopy=False)
            if sum(t.state != TrialState.FAIL or ID in t.user_attrs for t in known) >= self.options.trials:
                return False
            proposed = self.study.ask(self.space)
        trial = self.resolve(proposed.params)
        trial = replace(trial, id=f"{proposed.number:04d},{approximate_id(trial.overrides)}")
        self.sweep.append(self.base, trial)
        proposed.set_user_attr(ID, trial.id)
        self.begin(pool, trial, proposed)
        return True

    def begin(self, pool: Pool, trial: Trial, proposed: optuna.Trial) -> None:
        """Start a trial, unless another worker has done so meanwhile."""
        job = pool.start(trial)
        if job is not None:
            self.table.add(trial)
            self.running[trial.id] = job, proposed

    def find_orphans(self) -> list[FrozenTrial]:
        """Return the trials that the study holds for running but whose worker is gone."""
        orphans = []
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            name = frozen.user_attrs.get(ID)
            if name is not None and not self.sweep.is_running(name):
                orphans.append(frozen)
            started = frozen.datetime_start or datetime.datetime.now()
            if name is None and (datetime.datetime.now() - started).total_seconds() > UNNAMED_SECONDS:
                self.study.tell(frozen.number, state=TrialState.FAIL)
        return orphans

    def has_survivors(self) -> bool:
        """Return whether a process trains a trial of the study though its launcher is gone."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        names = [trial.user_attrs[ID] for trial in trials if ID in trial.user_attrs]
        return any(self.sweep.has_survived(name) for name in names)

    def adopt(self, pool: Pool, frozen: FrozenTrial) -> None:
        """Go on with a trial whose worker is gone."""
        trial = self.sweep.load_trial(frozen.user_attrs[ID], frozen.params)
        # Optuna has no public way to report to a trial again.
        proposed = optuna.trial.Trial(self.study, frozen._trial_id)
        self.reported[trial.id] = max(frozen.intermediate_values, default=0)
        self.begin(pool, trial, proposed)

    def report(self, job: Job) -> None:
        """Report the validations of a job since the last call, and stop it where the pruner says so."""
        name, (_, proposed) = job.trial.id, self.running[job.trial.id]
        for row in read_validations(RunDir(self.sweep.run_dir(job.trial)).metrics):
            if row["step"] > self.reported.get(name, 0) and not job.pruned:
                self.reported[name] = row["step"]
                proposed.report(row["valid_bpc"], row["step"])
                if row["step"] < (job.trial.config.train.steps or math.inf) and proposed.should_prune():
                    job.prune()

    def finish(self, ended: Sequence[tuple[Job, str]]) -> None:
        """Tell the study what jobs came to; one that was stopped is left to be continued."""
        self.table.end(ended)
        for job, state in ended:
            _, proposed = self.running.pop(job.trial.id)
            if state == "done":
                bpc = read_json(RunDir(self.sweep.run_dir(job.trial)).result)["best_valid_bpc"]
                self.study.tell(proposed, bpc, state=TrialState.FAIL if bpc is None else TrialState.COMPLETE)
            elif state == "pruned":
                self.study.tell(proposed, state=TrialState.PRUNED)
            elif state == "failed":
                self.study.tell(proposed, state=TrialState.FAIL)

    def best(self) -> str | None:
        """Return the id of the best trial that is done; None if there is none."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = min(done, key=lambda trial: trial.value or math.inf, default=None)
        return None if best is None else str(best.user_attrs[ID])


def check_validations(base: Config) -> None:
    """Raise UserError where a config has no validations to report."""
    if not base.eval.every:
        raise UserError("--optuna judges trials by their validations, but eval.every=0 makes none: set it above 0.")


def open_study(sweep: SweepDir, base: Config, options: SearchOptions) -> optuna.Study:
    """Open the study of a sweep, which is made if there is none. Raises UserError where its storage fails."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = options.study or f"sqlite:///{sweep.path / 'study.db'}"
    name = sweep.path.name if options.study else "search"  # a folder may be renamed, a study may not
    try:
        with nullcontext() if options.study else FileLock(sweep.claims / "study", fallback_to_soft=False):
            study = create_study(url, name, make_pruner(base, options.pruner))
    except Exception as error:  # each kind of storage has errors of its own
        raise UserError(
            f"--study={url} cannot be opened ({describe(error)}): name a database that Optuna can "
            "reach, or leave the flag out for one in the sweep's folder."
        ) from error
    # A sampler that starts again with the seed of its first start would propose the same trials again.
    seed = None if options.seed is None else options.seed + len(study.trials)
    study.sampler = (
        optuna.samplers.RandomSampler(seed=seed)
        if options.sampler == "random"
        else optuna.samplers.TPESampler(seed=seed)
    )
    return study


def create_study(url: str, name: str, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """Open the study of a name in a database, which are made if they are not there."""
    wait = {"connect_args": {"timeout": LOCK_SECONDS}} if url.startswith("sqlite") else {}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=wait) if "sql" in url.split(":")[0] else url
    return optuna.create_study(storage=storage, study_name=name, load_if_exists=True, pruner=pruner)


def check_space(study: optuna.Study, space: Mapping[str, optuna.distributions.BaseDistribution]) -> None:
    """Raise UserError where Optuna cannot continue a study in a space, since a key had another kind of range there."""
    for trial in study.get_trials(deepcopy=False):
        for key in space.keys() & trial.distributions.keys():
            try:
                optuna.distributions.check_distribution_compatibility(trial.distributions[key], space[key])
            except ValueError:
                raise UserError(
                    f"--space {key} is of another kind, or has other values, than the search had before: choose "
                    "another --name, or give what it had."
                ) from None


def describe(error: Exception) -> str:
    """Return the message of an error in one line."""
    return " ".join(str(error).split())[:120]


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise UserError in place of an error of the study's storage."""
    try:
        yield
    except (optuna.exceptions.OptunaError, SQLAlchemyError) as error:
        raise UserError(
            f"The study cannot be read or written ({describe(error)}): the trials that ran have "
            "saved; the same command goes on once its database can be reached."
        ) from error


def make_pruner(base: Config, name: str) -> optuna.pruners.BasePruner:
    """Build the pruner of a name, whose resource are the steps of a run."""
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=base.eval.every, max_resource=base.train.steps or "auto")
    return optuna.pruners.MedianPruner() if name == "median" else optuna.pruners.NopPruner()


def make_distribution(key: str, spec: list[Any]) -> tuple[str, optuna.distributions.BaseDistribution]:
    """Build Optuna's distribution of a range that `parse_range` returns: -> (key, distribution)."""
    kind, *bounds = spec
    if kind == "of":
        return key, optuna.distributions.CategoricalDistribution(bounds[0])
    if kind == "int":
        low, high, step = bounds
        return key, optuna.distributions.IntDistribution(low, low + (high - low) // step * step, step=step)
    low, high = bounds
    return key, optuna.distributions.FloatDistribution(low, high, log=kind == "log")
