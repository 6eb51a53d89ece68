"""Name the trials of a sweep: each is a config, the overrides that made it, and a stable, readable id."""

import copy
import hashlib
import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from launch.axes import DIGITS, Overrides
from rnnlm.commands.overrides import apply_overrides
from rnnlm.config import RENAMED, TEXTS, Config, is_foreign
from rnnlm.data.splits import open_dataset
from rnnlm.data.windows import TrainWindows
from rnnlm.errors import UserError
from rnnlm.schema import fields, flatten

LONGEST_VALUE = 32
"""Characters of a value in an id; a longer one is cut and gets a digest."""
LONGEST_ID = 120
"""Characters of an id; a longer one is cut and gets a digest."""


@dataclass(frozen=True)
class Trial:
    """Hold one trial of a sweep: its id, the values of its keys as the config has them, and the whole config."""

    id: str
    overrides: Overrides
    config: Config


def resolve_trials(base: Any, listed: Iterable[Overrides], given: Sequence[str] = ()) -> list[Trial]:
    """Make trials of overrides of a ConfigDict, to which the overrides `given` for all of them are applied as well.

    Raises UserError for a wrong key or value of any trial, and where two trials are the same.
    """
    trials: dict[str, Trial] = {}
    shared = {word.removeprefix("--config.").partition("=")[0] for word in given}
    for overrides in listed:
        for key in overrides:
            if key in shared:
                raise UserError(f"{key} is swept, and set for all trials by --config.{key}: leave out one of them.")
        words = [f"--config.{key}={override_text(key, value)}" for key, value in overrides.items()]
        values = apply_overrides(copy.deepcopy(base), [*given, *words])
        trial = make_trial(Config.from_dict(values), values, overrides)
        if trial.id in trials:
            raise UserError(f"Two trials are the same: {trial.id}. Leave out one of them.")
        trials[trial.id] = trial
    return list(trials.values())


def make_trial(config: Config, values: dict[str, Any], overrides: Overrides) -> Trial:
    """Make the trial of a config, of which `overrides` name the keys that the sweep has set."""
    flat = dict(flatten(values))
    keys = [RENAMED.get(key, key) if key not in flat else key for key in overrides]
    typed = {key: operator.attrgetter(key)(config) for key in keys}
    return Trial(trial_id(typed), typed, config)


def check_trials(trials: Sequence[Trial], split: str) -> None:
    """Raise UserError where training cannot begin: there is no such cell, or the text cannot be had or is too short.

    Also where the text of a trial lacks the split on which trials are evaluated, "" for none. A text that is to be
    downloaded is there afterwards.
    """
    from rnnlm.cells import find_cell  # imports jax

    open_once = lru_cache(open_dataset)
    for config in (trial.config for trial in trials):
        if not is_foreign(config.model.cell):  # whose code only the trial runs
            find_cell(config.model)
        dataset = open_once(config.data)
        TrainWindows(dataset.slice("train"), config.train.batch, config.train.window)
        if split:
            dataset.slice(split)


def override_text(key: str, value: Any) -> str:
    """Write a value as an override gives it: text as it is, numbers as Python does, lists as tuples."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        items = [item if isinstance(item, str) else repr(item) for item in value]
        is_text = any(isinstance(item, str) for item in value)
        return ",".join(items) if is_text else f"({''.join(f'{item},' for item in items)})"
    if isinstance(value, bool | int | float):
        return repr(value)
    raise UserError(f"{key}={value!r} cannot be swept: a value is text, a number, True, False, or a list of them.")


def escape_texts(overrides: Overrides) -> Overrides:
    """Protect the backslashes of text that Python gave, since those of the command line's text are escapes."""
    return {
        key: value.replace("\\", r"\\") if key in TEXTS and isinstance(value, str) else value
        for key, value in overrides.items()
    }


def trial_id(overrides: Overrides) -> str:
    """Return a file name that tells overrides apart: KEY=VALUE,KEY=VALUE, keys without their section if that is clear.

    It depends on nothing else, so that a larger sweep has the ids of a smaller one.
    """
    name = ",".join(f"{short_key(key)}={value_text(value)}" for key, value in overrides.items()) or "base"
    return name if len(name) <= LONGEST_ID else f"{name[: LONGEST_ID - 9]}~{digest(name)}"


def approximate_id(overrides: Overrides) -> str:
    """Return a readable file name of overrides that rounds numbers, so that it does not tell all values apart."""
    rounded = {key: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for key, v in overrides.items()}
    return trial_id(rounded)


def short_key(key: str) -> str:
    """Return the last part of a key if no other key of the config ends in it, else the whole key."""
    last = key.rpartition(".")[2]
    return last if [name.rpartition(".")[2] for name, _, _ in fields(Config)].count(last) == 1 else key


def value_text(value: Any) -> str:
    """Write a value in letters that are safe in every file name, with a digest where that loses something."""
    text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
    if isinstance(value, list | tuple):
        text = "+".join(map(value_text, value)) or "none"
    safe = re.sub(r"[^A-Za-z0-9._+-]", "-", text)[:LONGEST_VALUE]
    return safe if safe == text and text else f"{safe}~{digest(text)}"


def digest(text: str) -> str:
    """Return eight characters that tell texts apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
