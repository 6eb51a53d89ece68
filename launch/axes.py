"""Parse what --grid, --zip, --random and --seeds say into lists of overrides."""

import itertools
import json
import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from rnnlm.errors import UserError

Overrides: TypeAlias = dict[str, Any]
"""Config keys with the values of a trial: text as the command line gives it, or what JSON holds."""

ATTEMPTS = 1000
"""Draws of a trial after which its ranges are taken to have no other values."""
RANGE = re.compile(r"[-+.e\d]+(:[-+.e\d]+){1,2}", re.IGNORECASE)
"""Numbers between colons, which lack the kind of their range."""
DIGITS = 3
"""Significant digits of a number drawn at random, so that ids stay short."""


def parse_values(word: str, flag: str) -> tuple[str, list[Any]]:
    """Split KEY=V1,V2,... into the key and its values; values that hold commas are written as a JSON list.

    Raises UserError for a key without values, and for a value that stands twice.
    """
    key, equals, text = word.partition("=")
    if not key or not equals or not text:
        raise UserError(f"{flag} {word} has no values: write KEY=V1,V2, as in {flag} model.hidden=128,256.")
    values: list[Any] = text.split(",")
    if text.startswith("["):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UserError(f'{flag} {word} is no JSON list ({error}): write it as {key}=\'["a","b"]\'.') from None
    elif text.startswith("("):
        raise UserError(f"{flag} {word} has brackets: write lists as JSON, as in {key}=[[64,32],[128,64]].")
    elif "" in values:
        raise UserError(f"{flag} {word} has an empty value: separate the values with single commas.")
    if not values:
        raise UserError(f"{flag} {word} is an empty list: give at least one value.")
    for i, value in enumerate(values):
        if value in values[:i]:
            raise UserError(f"{flag} {word} has {value} twice: leave out one of them.")
    return key, values


def grid(words: Sequence[str]) -> list[Overrides]:
    """Return every combination of the values of KEY=V1,V2,... words; the last key varies first. Raises UserError."""
    axes = [parse_values(word, "--grid") for word in words]
    for word in words:
        if word.partition("=")[2].startswith(("log:", "lin:", "int:")):
            raise UserError(f"--grid {word} is a range: list values, or draw N from it by --random N {word}.")
    refuse_repeated([key for key, _ in axes])
    keys = [key for key, _ in axes]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(values for _, values in axes))]


def zipped(words: Sequence[str]) -> list[Overrides]:
    """Return the first values of all KEY=V1,V2,... words together, then the second ones, and so on.

    Raises UserError where the numbers of values differ.
    """
    axes = [parse_values(word, "--zip") for word in words]
    refuse_repeated([key for key, _ in axes])
    counts = {key: len(values) for key, values in axes}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{key} has {count}" for key, count in counts.items())
        raise UserError(f"--zip takes keys with equally many values, but {listed}.")
    return [dict(zip(counts, values, strict=True)) for values in zip(*(values for _, values in axes), strict=True)]


def sample(words: Sequence[str], seed: int) -> list[Overrides]:
    """Draw N different trials from the words N, KEY=log:LOW:HIGH, ...; more of them begin with the fewer.

    Raises UserError for a number or a range that cannot be used.
    """
    count, *ranges = words
    if not count.isdecimal() or not int(count) or not ranges:
        raise UserError(
            f"--random {' '.join(words)}: write the number of trials and at least one range, as in --random 20 "
            "optim.learning_rate=log:1e-4:1e-2."
        )
    parsed = [parse_range(word, "--random") for word in ranges]
    refuse_repeated([key for key, _ in parsed])
    drawn: list[Overrides] = []
    for i in range(int(count)):
        for attempt in range(ATTEMPTS):
            trial = {key: draw(spec, random.Random(f"{seed}/{i}/{attempt}/{key}")) for key, spec in parsed}
            if trial not in drawn:
                break
        else:
            raise UserError(
                f"--random {' '.join(words)}: the ranges have fewer than {count} values of {DIGITS} digits."
            )
        drawn.append(trial)
    return drawn


def parse_range(word: str, flag: str) -> tuple[str, list[Any]]:
    """Parse KEY=log:LOW:HIGH, KEY=lin:LOW:HIGH, KEY=int:LOW:HIGH[:STEP] or KEY=V1,V2,...: -> (key, spec).

    A spec is ["log", low, high], ["lin", low, high], ["int", low, high, step] or ["of", values]. Raises UserError.
    """
    key, _, text = word.partition("=")
    kind, *bounds = text.split(":")
    if kind not in ("log", "lin", "int"):
        if RANGE.fullmatch(text):
            raise UserError(f"{flag} {word} does not say how to draw: write log:{text}, lin:{text} or int:{text}.")
        return key, ["of", parse_values(word, flag)[1]]
    try:
        numbers = [int(bound) if kind == "int" else float(bound) for bound in bounds]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)) or len(numbers) not in ((2, 3) if kind == "int" else (2,)):
        raise UserError(
            f"{flag} {word} is no range: write log:LOW:HIGH, lin:LOW:HIGH, int:LOW:HIGH or int:LOW:HIGH:STEP, or "
            "values separated by commas."
        )
    low, high, step = numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else 1
    if not low < high or (kind == "log" and low <= 0) or step < 1:
        raise UserError(
            f"{flag} {word} is an empty range: LOW must be below HIGH, above 0 for log, and STEP at least 1."
        )
    return key, [kind, low, high, *([step] if kind == "int" else [])]


def draw(spec: list[Any], rng: random.Random) -> Any:
    """Draw a value of a range that `parse_range` returns."""
    kind, *bounds = spec
    if kind == "of":
        return rng.choice(bounds[0])
    if kind == "int":
        low, high, step = bounds
        return rng.randrange(low, high + 1, step)
    low, high = bounds
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if kind == "log" else rng.uniform(low, high)
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)


def seeds(count: int, first: int) -> list[Overrides]:
    """Return the overrides of `count` seeds from `first` on."""
    return [{"seed": first + i} for i in range(count)]


def product(*axes: Iterable[Overrides]) -> Iterator[Overrides]:
    """Yield every combination of overrides, one of each list. Raises UserError where two of them set one key."""
    for parts in itertools.product(*axes):
        refuse_repeated([key for part in parts for key in part])
        yield {key: value for part in parts for key, value in part.items()}


def refuse_repeated(keys: Sequence[str]) -> None:
    """Raise UserError for a key that stands twice."""
    for i, key in enumerate(keys):
        if key in keys[:i]:
            raise UserError(f"{key} is swept twice: name it in one of --grid, --zip, --random, --space, --seeds.")
