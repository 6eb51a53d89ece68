"""Run a sweep: trials of one config that differ in overrides, each an ordinary run folder DIR/NAME/ID.

    python launch/sweep.py --config=configs/X.py --name=NAME --grid optim.learning_rate=1e-3,2e-3 model.hidden=64,128

The same command again does what is missing, and goes on with what was cut off. docs/sweeps.md explains the flags.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a file: the packages lie beside this one's folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from absl import flags

from launch import axes, local, slurm, tpu
from launch.axes import Overrides
from launch.command import run_command
from launch.folder import SweepDir, check_name, shown
from launch.jobs import Pool, share_out
from launch.slurm_jobs import JobDir
from launch.slurm_script import SlurmOptions, slurm_flags, slurm_options
from launch.table import Table
from launch.trials import Trial, check_trials, escape_texts, resolve_trials
from rnnlm.commands.config_file import describe_failure, load_config
from rnnlm.commands.flags import trust_flag
from rnnlm.commands.overrides import config_flag, parse_overrides
from rnnlm.data.corpora import resolve
from rnnlm.errors import UserError
from rnnlm.files import import_file
from rnnlm.runs.layout import write_json
from rnnlm.runtime import signals

NO_SPACE = "is without --space: give ranges, as in --space optim.learning_rate=log:1e-4:1e-2."
LISTS = ("grid", "zip", "random", "space")
"""Flags that take all words up to the next flag, and may be given again."""


def main(argv: list[str]) -> int:
    """Run, show or submit a sweep: -> its exit code, 1 where trials have failed or were stopped."""
    lists, others = split_lists(argv)
    values = flags.FlagValues()
    define_flags(values)
    usage = "--config=X.py --name=NAME --grid KEY=V1,V2 ..."
    overrides = parse_overrides("launch/sweep.py", values, others, usage, program="python")
    if values.name is None:
        raise UserError("--name is missing: give the sweep a name, as in --name=rates; its folder is DIR/NAME.")
    check_name(values.name)
    if not values.config:
        raise UserError("--config is missing: give a config file, as in --config=configs/quickstart.py.")
    source = Source(values.config, overrides, values.trust_code)
    sweep = SweepDir(Path(values.dir) / values.name)
    refuse_flags_of_others(values)
    if values.on == "local":
        share_out(values.jobs)  # refuses too many, before anything is written
    refuse_unused(values, lists)
    if values.optuna:
        return run_search(sweep, source, lists, values)
    trials = list_trials(source, lists, values)
    if values.on == "tpu":
        pod = tpu.given_pod(values)
        tpu.check_path(values.config)
        more = [*overrides, *(["--trust_code"] if values.trust_code else [])]
        return tpu.run_sweep(pod, sweep.path, values.config, more, trials, run=not values.dry_run)
    options = slurm_options(values)
    check_trials(trials, values.eval)
    if values.dry_run:
        print(describe_dry_run(sweep, trials, values, options), end="")
        return 0
    if values.on == "slurm":
        JobDir(sweep.path).refuse_queued()  # before anything is written that its jobs would read
    is_new = not sweep.path.exists()
    trials = sweep.write(source.base, trials, values.eval)
    if values.retry_failed:
        for trial in trials:
            sweep.forget_end(trial)
    if values.on == "slurm":
        try:
            print(slurm.submit_sweep(sweep, trials, values.jobs, options, dry_run=False))
        except UserError:
            if is_new:  # so that its name is free again
                shutil.rmtree(sweep.path)
            raise
        return 0
    table = Table(sweep, trials)
    finished = local.run(sweep, trials, values.jobs, table)
    return conclude(sweep, table, finished)


def refuse_flags_of_others(values: flags.FlagValues) -> None:
    """Raise UserError for a flag that the place where the trials run does not take."""
    for place, define in {"slurm": slurm_flags, "tpu": tpu.place_flags}.items():
        theirs = flags.FlagValues()
        define(theirs)
        for name in theirs if values.on != place else ():
            if name in values and values[name].value != values[name].default:
                raise UserError(f"--{name} is for --on={place}: leave it out, or give that.")
    for name in ("eval", "retry_failed", "jobs") if values.on == "tpu" else ():
        if values[name].value != values[name].default:
            raise UserError(
                f"--{name} is not for --on=tpu, where trials run one after another: leave it out; rnnlm eval evaluates "
                "runs, and the same command again goes on with them."
            )


def refuse_unused(values: flags.FlagValues, lists: dict[str, list[list[str]]]) -> None:
    """Raise UserError for a flag that would change nothing without another one."""
    needs = dict.fromkeys(("sampler", "pruner", "study"), "--optuna=N")
    needs |= {} if lists["random"] else {"random_seed": "--random or --optuna"}
    for name, needed in {} if values.optuna else needs.items():
        if values[name].value != values[name].default:
            raise UserError(f"--{name} has no effect without {needed}: add that, or leave it out.")


def describe_dry_run(sweep: SweepDir, trials: Sequence[Trial], values: flags.FlagValues, options: SlurmOptions) -> str:
    """Return what would be run: the script for Slurm, or else the commands of each trial, a line each."""
    if values.on == "slurm":
        return slurm.submit_sweep(sweep, trials, values.jobs, options, dry_run=True)
    commands = [command for trial in trials for command in sweep.commands(trial, values.eval)]
    return "".join(f"{shown(command)}\n" for command in commands)


def run_search(sweep: SweepDir, source: "Source", lists: dict[str, list[list[str]]], values: flags.FlagValues) -> int:
    """Search with Optuna on this machine: -> the exit code of the sweep."""
    given = [f"--{name}" for name in ("grid", "zip", "random") if lists[name]]
    given += [f"--{name}" for name in ("seeds", "retry_failed") if values[name].value]
    given += [f"--on={values.on}"] if values.on != "local" else []
    if given or not lists["space"]:
        what = f"does not go with {given[0]}: leave one of them out." if given else NO_SPACE
        raise UserError(f"--optuna {what}")
    try:
        from launch import search
    except ImportError as error:
        raise UserError(f"--optuna needs Optuna ({error}): pip install 'rnnlm[search]'.") from None
    space = [word for use in lists["space"] for word in use]
    options = search.SearchOptions(
        values.optuna, space, values.sampler, values.pruner, values.study, values.random_seed
    )
    source.check_space(options.space)
    search.check_validations(source.base)
    check_trials([source.trial({})], values.eval)
    if values.dry_run:
        print(f"{values.optuna} trials proposed by {values.sampler} in {' '.join(space)}")
        return 0
    if not options.study:
        sweep.write(source.base, [], values.eval)  # the folder that holds the study
    study = search.open_study(sweep, source.base, options)
    table = Table(sweep, total=values.optuna)
    searching = search.Search(sweep, source.base, source.trial, options, study, table)
    sweep.write(source.base, [], values.eval)
    with search.storage_errors(), signals.Signals() as stop, table, Pool(sweep, values.jobs) as pool:
        finished = searching.run(pool, stop)
    if best := searching.best():
        write_json(sweep.best, sweep.load_trial(best, {}).config.as_saved())
        print(f"{sweep.best}: the config of {best}, which has the best validation of all")
    return conclude(sweep, table, finished)


def conclude(sweep: SweepDir, table: Table, finished: bool) -> int:
    """Write the page of a sweep, and say what it came to: -> its exit code."""
    from launch import report

    if not finished:
        print(f"stopped; the same command goes on with {sweep.path}")
        return signals.EXIT_CODE
    for trial in table.failures:
        print(f"failed: {sweep.run_dir(trial)}, see {sweep.log(trial).name} there; --retry_failed runs it again")
    stopped = [name for name, state in table.states.items() if state == "stopped"]
    for name in stopped:
        print(f"stopped by a signal: {sweep.path / name}; the same command goes on with it")
    print(f"{report.write(sweep)}\nreport: {sweep.report}")
    return 1 if table.failures or stopped else 0


def define_flags(values: flags.FlagValues) -> None:
    """Define the flags of a sweep, but for those that take several words."""
    config_flag(values, "the config file that all trials share; its function sweep(), if any, yields overrides")
    flags.DEFINE_string("name", None, "name of the sweep, whose folder is DIR/NAME", flag_values=values)
    flags.DEFINE_string("dir", "runs", "folder of sweeps", flag_values=values)
    flags.DEFINE_integer("seeds", 0, "run each trial with so many seeds", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("random_seed", None, "seed of --random and of --sampler", flag_values=values)
    search = "search the ranges of --space with so many trials"
    flags.DEFINE_integer("optuna", 0, search, lower_bound=0, flag_values=values)
    flags.DEFINE_enum("sampler", "tpe", ["tpe", "random"], "how Optuna proposes values", flag_values=values)
    pruner = "how Optuna ends trials early, by their validations"
    flags.DEFINE_enum("pruner", "median", ["median", "hyperband", "none"], pruner, flag_values=values)
    flags.DEFINE_string("study", "", "URL of Optuna's database; study.db in the sweep's folder", flag_values=values)
    flags.DEFINE_enum("on", "local", ["local", "slurm", "tpu"], "where the trials run", flag_values=values)
    flags.DEFINE_integer("jobs", 1, "trials side by side, which share the cores", lower_bound=1, flag_values=values)
    slurm_flags(values)
    tpu.place_flags(values)
    split = "evaluate each trial on this split at its end"
    flags.DEFINE_enum("eval", "", ["", "train", "valid", "test"], split, flag_values=values)
    flags.DEFINE_bool("dry_run", False, "print the commands, and write nothing", flag_values=values)
    flags.DEFINE_bool("retry_failed", False, "run trials again that have failed", flag_values=values)
    trust_flag(values)
    for name, about in {
        "grid": "KEY=V1,V2 ...: every combination of the values",
        "zip": "KEY=V1,V2 ...: the first values together, then the second ones",
        "random": "N KEY=log:LOW:HIGH ...: N trials drawn from ranges (log, lin, int) or values",
        "space": "KEY=log:LOW:HIGH ...: what --optuna searches",
    }.items():
        flags.DEFINE_string(name, None, about, flag_values=values)


def split_lists(argv: Sequence[str]) -> tuple[dict[str, list[list[str]]], list[str]]:
    """Take out the flags that take several words: -> (the words of each use, by flag; all other arguments).

    Raises UserError for a flag without words.
    """
    lists: dict[str, list[list[str]]] = {name: [] for name in LISTS}
    others: list[str] = []
    words: list[str] | None = None
    for word in argv:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--"):
            words = None
        if word.startswith("--") and name in LISTS:
            words = [value] if equals else []
            lists[name].append(words)
        elif words is not None and word.startswith("-"):
            raise UserError(f"{word!r} was not expected: flags are written --name=value.")
        elif words is not None:
            words.append(word)
        else:
            others.append(word)
    for name, uses in lists.items():
        if not all(uses):
            raise UserError(f"--{name} is without values: give some, as in --{name} model.hidden=128,256.")
    return lists, others


class Source:
    """Hold the config that the trials of a sweep share, and make trials of it.

    `base` is the config with what is set for all trials. Raises UserError for a wrong config or override.
    """

    def __init__(self, file: str, given: Sequence[str], trust_code: bool):
        self.file, self.given = file, given
        self.loaded = load_config(file, trust_code)
        self.base = self.resolve([{}])[0].config

    def resolve(self, listed: Iterable[Overrides]) -> list[Trial]:
        """Make the trials of overrides, whose configs name their text by absolute paths. Raises UserError."""
        trials = resolve_trials(self.loaded, listed, self.given)
        return [replace(t, config=replace(t.config, data=resolve(t.config.data))) for t in trials]

    def trial(self, overrides: Overrides) -> Trial:
        """Make the trial of some overrides. Raises UserError."""
        return self.resolve([overrides])[0]

    def check_space(self, words: Sequence[str]) -> None:
        """Raise UserError where a key of --space does not exist, or where an end of its range does not fit."""
        parsed = [axes.parse_range(word, "--space") for word in words]
        axes.refuse_repeated([key for key, _ in parsed])
        for key, (kind, *bounds) in parsed:
            self.resolve({key: value} for value in (bounds[0] if kind == "of" else bounds[:2]))


def list_trials(source: Source, lists: dict[str, list[list[str]]], values: flags.FlagValues) -> list[Trial]:
    """Return the trials of a sweep. Raises UserError for what is wrong with any of them."""
    if lists["space"]:
        raise UserError("--space is for a search: add --optuna=N, the number of trials.")
    listed = [axes.grid([word for use in lists["grid"] for word in use])]
    listed += [axes.zipped(use) for use in lists["zip"]]
    listed += [axes.sample(use, values.random_seed or 0) for use in lists["random"]]
    if (swept := sweep_of(source.file)) is not None:
        listed.append(swept)
    if values.seeds:
        listed.append(axes.seeds(values.seeds, source.base.seed))
    listed = [overrides for overrides in listed if overrides != [{}]]
    if not listed:
        raise UserError("Nothing is swept: give values, as in --grid model.hidden=128,256.")
    return source.resolve(axes.product(*listed))


def sweep_of(file: str) -> list[Overrides] | None:
    """Return the overrides that a config file's function sweep() yields, None where it has none. Raises UserError."""
    name, *argument = file.split(":", 1)
    if not name.endswith(".py"):
        return None
    try:
        function = getattr(import_file(name), "sweep", None)
        listed = None if function is None else list(function(*argument))
    except (Exception, SystemExit) as error:  # a config file is a program, so it can fail in any way
        raise UserError(describe_failure(file, error)) from error
    if listed is None:
        return None
    if not listed:
        raise UserError(f"sweep() of {file} yields no trial: nothing is left to run.")
    if not all(isinstance(overrides, dict) and overrides for overrides in listed):
        raise UserError(f'sweep() of {file} yields no overrides: yield dicts such as {{"model.hidden": 128}}.')
    return [escape_texts(overrides) for overrides in listed]


if __name__ == "__main__":
    sys.exit(run_command("sweep", main, sys.argv[1:]))
