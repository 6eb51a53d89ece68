"""What a config may say: one frozen dataclass a section, without defaults, each value checked where it is held.

The defaults are in `configs/base.py`, once. `Config.from_dict` takes the plain dict that a config file or a run folder
gives, so that a missing, unknown, mistyped or impossible entry ends as one sentence and not as a run.
"""

import dataclasses
import difflib
import typing
from dataclasses import dataclass
from typing import Any

from rnnlm.errors import UserError


@dataclass(frozen=True)
class DataConfig:
    corpus: str
    files: str
    split: str
    symbols: str

    def check(self) -> None:
        one_of("data.symbols", self.symbols, ("byte", "byte_seen", "char"))


@dataclass(frozen=True)
class ModelConfig:
    cell: str
    layers: int
    hidden: int
    sizes: tuple[int, ...]
    embedding: int
    tied: bool
    forget_bias: float
    dropout: float
    dropout_input: float
    dropout_output: float
    dropout_mask: str
    dtype: str

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """The width of each layer."""
        return self.sizes or (self.hidden,) * self.layers

    def check(self) -> None:
        one_of("model.cell", self.cell, ("rnn", "lstm", "gru", "gru_before"))
        one_of("model.dropout_mask", self.dropout_mask, ("step", "window"))
        one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        at_least("model.layers", self.layers, 1)
        at_least("model.hidden", self.hidden, 1)
        at_least("model.embedding", self.embedding, 0)
        for size in self.sizes:
            at_least("model.sizes", size, 1)
        for name in ("dropout", "dropout_input", "dropout_output"):
            within(f"model.{name}", getattr(self, name), 0, 1)
        if self.tied and self.embedding != self.hidden_sizes[-1]:
            raise UserError(
                f"model.tied shares the embedding with the output, but model.embedding={self.embedding} differs from "
                f"the last layer's width {self.hidden_sizes[-1]}: make them equal or set model.tied=False."
            )


@dataclass(frozen=True)
class TrainConfig:
    batch: int
    window: int
    steps: int
    accumulate: int
    remat: int
    drop_state: float

    def check(self) -> None:
        for name in ("batch", "window", "steps", "accumulate"):
            at_least(f"train.{name}", getattr(self, name), 1)
        if self.batch % self.accumulate:
            raise UserError(
                f"train.batch={self.batch} cannot be cut into train.accumulate={self.accumulate} equal parts: "
                "choose a divisor."
            )
        within("train.drop_state", self.drop_state, 0, 1)
        at_least("train.remat", self.remat, 0)
        if self.remat and self.window % self.remat:
            raise UserError(
                f"train.window={self.window} cannot be cut into chunks of train.remat={self.remat} steps: choose a "
                "divisor, best near the window's square root, or 0."
            )


@dataclass(frozen=True)
class OptimConfig:
    name: str
    learning_rate: float
    schedule: str
    warmup: int
    final: float
    decay: float
    decay_after: float
    b1: float
    b2: float
    eps: float
    momentum: float
    weight_decay: float
    clip_norm: float
    clip_value: float
    ema: float

    def check(self) -> None:
        one_of("optim.name", self.name, ("adam", "adamw", "rmsprop", "sgd"))
        one_of("optim.schedule", self.schedule, ("constant", "cosine", "exponential", "epoch"))
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"optim.learning_rate={self.learning_rate} is not a positive number.")
        if not 0 < self.decay <= 1:
            raise UserError(f"optim.decay={self.decay} is outside (0, 1]: it multiplies the learning rate.")
        if not 0 < self.eps < float("inf"):
            raise UserError(f"optim.eps={self.eps} is not a positive number: it keeps a division from failing.")
        for name in ("warmup", "decay_after", "weight_decay", "clip_norm", "clip_value"):
            at_least(f"optim.{name}", getattr(self, name), 0)
        for name in ("b1", "b2", "momentum", "ema"):
            within(f"optim.{name}", getattr(self, name), 0, 1)
        if not 0 <= self.final <= 1:
            raise UserError(f"optim.final={self.final} is outside [0, 1]: it is a share of optim.learning_rate.")
        if self.clip_norm and self.clip_value:
            raise UserError("optim.clip_norm and optim.clip_value are both set: choose one and set the other to 0.")


@dataclass(frozen=True)
class EvalConfig:
    every: int
    lanes: int
    warmup: int
    max_symbols: int

    def check(self) -> None:
        for name in ("every", "lanes", "warmup", "max_symbols"):
            at_least(f"eval.{name}", getattr(self, name), 0)


@dataclass(frozen=True)
class CheckpointConfig:
    every: int
    keep: int

    def check(self) -> None:
        at_least("checkpoint.every", self.every, 1)
        at_least("checkpoint.keep", self.keep, 1)


@dataclass(frozen=True)
class SampleConfig:
    every: int
    length: int
    temperatures: tuple[float, ...]
    prime: str

    def check(self) -> None:
        at_least("sample.every", self.every, 0)
        at_least("sample.length", self.length, 1)
        for temperature in self.temperatures:
            at_least("sample.temperatures", temperature, 0)


@dataclass(frozen=True)
class LogConfig:
    every: int

    def check(self) -> None:
        at_least("log.every", self.every, 1)


@dataclass(frozen=True)
class Config:
    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    optim: OptimConfig
    eval: EvalConfig
    checkpoint: CheckpointConfig
    sample: SampleConfig
    log: LogConfig
    seed: int

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """Raises UserError that names the entry."""
        return typing.cast(Config, build(cls, values, ""))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)

    def check(self) -> None:
        at_least("seed", self.seed, 0)
        if self.seed > MAX_SEED:
            raise UserError(f"seed={self.seed} is impossible: it must be at most {MAX_SEED}.")


MAX_SEED = 2**32 - 1

RUN_LENGTH = ("train.steps",)
"""The entries in which a run may differ when it is resumed."""


def build(cls: type, values: dict[str, Any], prefix: str) -> Any:
    """A section from its dict, or a UserError."""
    fields = typing.get_type_hints(cls)
    for name in values:
        if name not in fields:
            raise UserError(unknown_key_message(prefix + name, [prefix + field for field in fields]))
    made = {}
    for name, kind in fields.items():
        if name not in values:
            raise UserError(f"The config has no {prefix}{name}: start from configs/base.py, which holds every key.")
        value = values[name]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, dict):
                raise UserError(f"{prefix}{name} is {value!r}, but it is a section with keys of its own.")
            made[name] = build(typing.cast(type, kind), value, f"{prefix}{name}.")
        else:
            made[name] = coerce(prefix + name, value, kind)
    section = cls(**made)
    section.check()
    return section


def coerce(name: str, value: Any, kind: Any) -> Any:
    """The value as the field's type, where nothing is lost by it."""
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(coerce(name, item, typing.get_args(kind)[0]) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    expected = kind.__name__ if isinstance(kind, type) and kind is not tuple else str(kind)
    raise UserError(f"{name} is {value!r} ({type(value).__name__}), but it takes {expected}.")


def unknown_key_message(name: str, known: list[str]) -> str:
    """The sentence for a key that does not exist."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}."
    return f"There is no config key {name}; {hint}"


def differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(key, value in a, value in b) for each entry in which two configs differ."""
    found = []
    for name in sorted(a.keys() | b.keys()):
        x, y = a.get(name), b.get(name)
        if isinstance(x, dict) and isinstance(y, dict):
            found += differences(x, y, f"{prefix}{name}.")
        elif x != y:
            found.append((prefix + name, x, y))
    return found


def flatten(config: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(key, value) for each entry, keys as "model.hidden"."""
    flat: list[tuple[str, Any]] = []
    for name, value in config.items():
        flat += flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return flat


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name} is {value!r}: expected one of {', '.join(allowed)}.")


def at_least(name: str, value: float, least: float) -> None:
    if not value >= least or value == float("inf"):
        raise UserError(f"{name}={value} is impossible: it must be at least {least}.")


def within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value < high:
        raise UserError(f"{name}={value} is impossible: it must be at least {low} and below {high}.")
