"""Sections of typed keys: declare them, check their values, and turn dicts into sections and back; knows no config.

A section is a frozen dataclass whose fields are made by `key`.
"""

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from rnnlm.errors import UserError


def key(
    default: Any, about: str, before: Any = dataclasses.MISSING, follows: str = "", choices: tuple[Any, ...] = ()
) -> Any:
    """Declare a key: its default, its unit and reason in words, and its allowed values if they are few.

    A key that was added after version 1 states `before`, the value that configs without it mean. One that `follows`
    another key of its section has that one's value unless it is set.
    """
    metadata = {"about": about, "before": before, "follows": follows, "choices": choices}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=None if follows else default, metadata=metadata)


def section(cls: type) -> Any:
    """Declare a section of the config with its defaults."""
    return dataclasses.field(default_factory=cls)


@dataclasses.dataclass(frozen=True)
class Section:
    """Check the values of one section of a config when it is made. Raises UserError for an impossible value.

    `prefix` is what the names of its keys begin with, such as "data.".
    """

    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            follows = field.metadata.get("follows")
            if follows and getattr(self, field.name) is None:
                object.__setattr__(self, field.name, getattr(self, follows))
            value, choices = getattr(self, field.name), field.metadata.get("choices")
            if choices and value not in choices:
                raise UserError(
                    f"{self.prefix}{field.name} is {value!r}: expected one of {', '.join(map(str, choices))}."
                )
        self.check()

    def check(self) -> None:
        """Raise UserError for a value out of range, or for values that exclude each other."""


def at_least(name: str, value: float, least: float) -> None:
    """Raise UserError unless the value is finite and not below `least`."""
    if not least <= value < math.inf:
        expected = f"at least {least}" if math.isfinite(value) else f"a finite number from {least} up"
        raise UserError(f"{name}={value} is impossible: it must be {expected}.")


def finite(section: Section, name: str) -> None:
    """Raise UserError unless a key of a section is a finite number."""
    value = getattr(section, name)
    if not math.isfinite(value):
        raise UserError(f"{section.prefix}{name}={value} is not a finite number.")


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise UserError unless low <= value < high."""
    if not low <= value < high:
        raise UserError(f"{name}={value} is impossible: it must be at least {low} and below {high}.")


def fields(cls: type[Section]) -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Yield (dotted name, field, type) of every key of a section and the sections in it, in order."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from fields(hints[field.name])
        else:
            yield cls.prefix + field.name, field, hints[field.name]


def build(
    cls: type[Section], values: Mapping[str, Any], unknown: Callable[[str, list[str]], str], saved: bool = False
) -> Any:
    """Make a section from its dict. Raises UserError for a key or a value that it does not take.

    A missing key has its default or, where `saved`, the value that it had before it existed; one that version 1 had
    must be there. `unknown` tells of a key that is not among the known ones.
    """
    prefix = cls.prefix
    hints, known = typing.get_type_hints(cls), [field.name for field in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            raise UserError(unknown(f"{prefix}{name}", [prefix + field for field in known]))
    made = {}
    for field in dataclasses.fields(cls):
        name, kind = field.name, hints[field.name]
        if dataclasses.is_dataclass(kind):
            value = values.get(name, {})
            if not isinstance(value, Mapping):
                raise UserError(f"{prefix}{name} is {value!r}, but it is a section with keys of its own.")
            made[name] = build(typing.cast(type[Section], kind), value, unknown, saved)
        elif name in values:
            made[name] = coerce(prefix + name, values[name], kind)
        elif saved and field.metadata["before"] is dataclasses.MISSING:
            raise UserError(
                f"The saved config has no {prefix}{name}: restore it from a copy of the run; or if the key is new, "
                "declare with before= what runs without it mean."
            )
        elif saved:
            made[name] = field.metadata["before"]
    return cls(**made)


def coerce(name: str, value: Any, kind: Any) -> Any:
    """Return the value as the type of its key, where nothing is lost by it. Raises UserError."""
    if kind == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(word for item in value for word in item.split(",") if word)  # an override is one item with commas
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(coerce(name, item, typing.get_args(kind)[0]) for item in value)
    if typing.get_origin(kind) is dict and isinstance(value, Mapping):
        return json_dict(name, value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise UserError(f"{name} is {value!r} ({type(value).__name__}), but it takes {type_name(kind)}.")


def json_dict(name: str, value: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a dict as it comes back from JSON, tuples as lists, so that a resumed run has an equal one.

    Raises UserError for what JSON does not hold.
    """
    try:
        copy = json.loads(json.dumps(copy_sections(value)))
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} is kept as JSON, which does not hold it ({error}).") from None
    if set(copy) != set(value):
        raise UserError(f"{name} has keys that are no text: {', '.join(map(repr, value))}.")
    return typing.cast(dict[str, Any], copy)


def type_name(kind: Any) -> str:
    """Return the type of a key as config.py spells it."""
    return str(kind).replace("typing.", "") if typing.get_origin(kind) else str(kind.__name__)


def copy_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy nested dicts, so that the copy can be changed."""
    return {name: copy_sections(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def compact(section: Section) -> dict[str, Any]:
    """Return the values of a section but for those that `build_saved` fills in when they are missing."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(section):
        value, meta = getattr(section, field.name), field.metadata
        before, follows = meta.get("before"), meta.get("follows")
        if isinstance(value, Section):
            values |= {field.name: inner} if (inner := compact(value)) else {}
        elif value != (getattr(section, follows) if before is None and follows else before):
            values[field.name] = value
    return values


def differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return (key, value in a, value in b) for each key in which two configs differ."""
    found = []
    for name in sorted(a.keys() | b.keys()):
        x, y = a.get(name), b.get(name)
        if isinstance(x, dict) and isinstance(y, dict):
            found += differences(x, y, f"{prefix}{name}.")
        elif x != y:
            found.append((prefix + name, x, y))
    return found


def describe_differences(found: list[tuple[str, Any, Any]]) -> str:
    """Return a line for each key in which a saved config and a given one differ."""
    return "".join(f"\n  {name}: {a!r} there, {b!r} here" for name, a, b in found)


def flatten(config: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return (key, value) for each entry, keys as "model.hidden"."""
    flat: list[tuple[str, Any]] = []
    for name, value in config.items():
        flat += flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return flat
