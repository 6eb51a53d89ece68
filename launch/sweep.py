"""Run a sweep: trials of one config that differ in overrides, each an ordinary run folder DIR/NAME/ID.

    python launch/sweep.py --config=configs/X.py --name=NAME --grid optim.learning_rate=1e-3,2e-3 model.hidden=64,128

The same command again does what is missing, and goes on with what was cut off. docs/sweeps.md explains the flags.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: the packages lie beside this one's folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from absl import flags

from launch import axes, local
from launch.axes import Overrides
from launch.folder import SweepDir, check_name, shown
from launch.table import Table
from launch.trials import Trial, escape_texts, make_trial, resolve_trials
from rnnlm.commands.config_file import describe_failure, import_file, load_config
from rnnlm.commands.flags import trust_flag
from rnnlm.commands.overrides import apply_overrides, config_flag, parse_overrides
from rnnlm.config import Config
from rnnlm.data.corpora import resolve
from rnnlm.errors import UserError
from rnnlm.runtime import signals

LISTS = ("grid", "zip", "random", "space")
"""Flags that take all words up to the next flag, and may be given again."""


def main(argv: list[str]) -> int:
    """Run, show or submit a sweep: -> its exit code, 1 where trials have failed."""
    lists, others = split_lists(argv)
    values = flags.FlagValues()
    define_flags(values)
    overrides = parse_overrides("sweep", values, others, usage="--config=X.py --name=NAME --grid KEY=V1,V2 ...")
    check_name(values.name or "")
    base, trials = list_trials(values.config, overrides, lists, values)
    sweep = SweepDir(Path(values.dir) / values.name)
    if values.dry_run:
        for trial in trials:
            for command in sweep.commands(trial, values.eval):
                print(shown(command))
        return 0
    trials = sweep.write(base, trials, values.eval)
    if values.retry_failed:
        for trial in trials:
            sweep.forget_failure(trial)
    return run_local(sweep, trials, values.jobs)


def run_local(sweep: SweepDir, trials: Sequence[Trial], jobs: int) -> int:
    """Run the trials of a sweep on this machine: -> the exit code of the sweep."""
    table = Table(sweep, trials)
    if not local.run(sweep, trials, jobs, table):
        print(f"stopped; the same command goes on with {sweep.path}")
        return signals.EXIT_CODE
    for trial in table.failures:
        print(f"failed: {sweep.run_dir(trial)} (its output: {sweep.log(trial)}); --retry_failed runs it again")
    return 1 if table.failures else 0


def define_flags(values: flags.FlagValues) -> None:
    """Define the flags of a sweep, but for those that take several words."""
    config_flag(values, "the config file that all trials share; its function sweep(), if any, yields overrides")
    flags.DEFINE_string("name", None, "name of the sweep, whose folder is DIR/NAME", flag_values=values)
    flags.DEFINE_string("dir", "runs", "folder of sweeps", flag_values=values)
    flags.DEFINE_integer("seeds", 0, "run each trial with so many seeds", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("random_seed", 0, "seed of --random", flag_values=values)
    flags.DEFINE_integer("jobs", 1, "trials side by side, which share the cores", lower_bound=1, flag_values=values)
    split = "evaluate each trial on a split at its end: train, valid or test; unless given only as it trains"
    flags.DEFINE_string("eval", "", split, flag_values=values)
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
        elif words is not None:
            words.append(word)
        else:
            others.append(word)
    for name, uses in lists.items():
        if not all(uses):
            raise UserError(f"--{name} is without values: give some, as in --{name} model.hidden=128,256.")
    return lists, others


def list_trials(
    file: str, overrides: Sequence[str], lists: dict[str, list[list[str]]], values: flags.FlagValues
) -> tuple[Config, list[Trial]]:
    """Return the base config of a sweep and its trials. Raises UserError for what is wrong with any of them."""
    if not file:
        raise UserError("--config is missing: give a config file, as in --config=configs/quickstart.py.")
    loaded = load_config(file, values.trust_code)
    base = make_trial(Config.from_dict(apply_overrides(loaded.copy_and_resolve_references(), list(overrides))), {}, {})
    listed = [axes.grid([word for use in lists["grid"] for word in use])]
    listed += [axes.zipped(use) for use in lists["zip"]]
    listed += [axes.sample(use, values.random_seed) for use in lists["random"]]
    if (swept := sweep_of(file)) is not None:
        listed.append(swept)
    if values.seeds:
        listed.append(axes.seeds(values.seeds, base.config.seed))
    trials = resolve_trials(loaded, axes.product(*listed), overrides)
    return freeze(base).config, [freeze(trial) for trial in trials]


def freeze(trial: Trial) -> Trial:
    """Return a trial whose config names its text by absolute paths, so that it is valid in any working directory."""
    return replace(trial, config=replace(trial.config, data=resolve(trial.config.data)))


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
    if not listed or not all(isinstance(overrides, dict) and overrides for overrides in listed):
        raise UserError(f'sweep() of {file} yields no overrides: yield dicts such as {{"model.hidden": 128}}.')
    return [escape_texts(overrides) for overrides in listed]


def run_main(argv: list[str]) -> Any:
    """Run `main`, and print what is wrong with its arguments: -> the exit code."""
    try:
        return main(argv)
    except UserError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(run_main(sys.argv[1:]))
