"""Evaluation protocols, and the score of a text slice under one."""

import math
import typing
from dataclasses import dataclass, replace
from typing import Any

from rnnlm.config import Config
from rnnlm.data.text import TextSlice
from rnnlm.data.windows import EvalWindows
from rnnlm.errors import UserError
from rnnlm.evaluation.tally import Blocks, Tally

TIME = 128
"""Symbols of each lane in one dispatch."""
MOST_LANES = 128
STREAMS = 10
"""Lanes of the protocol streams: those of mLSTM and AWD-LSTM, on the test and the validation split."""
CHUNK = 1000
"""Symbols of a chunk: those of mLSTM on the validation split."""


@dataclass(frozen=True)
class EvalProtocol:
    """Say how a text slice is read; only scores of the same protocol, or of exact ones, compare.

    carry    from the first symbol to the last with the carry, cut into `lanes` stretches side by side, each warmed up
             on the `warmup` symbols before it; exact in one lane. lanes=0 chooses as many as keep the warm-up at an
             eighth of the work at most
    windows  `window` symbols at a time, each time from a reset carry; the last `stride` of them count, 0 for half, so
             every symbol has window - stride symbols of context or more, but for the slice's first ones (as
             transformer papers do)
    records  like carry, but with a reset at each symbol `separator`, which is the first input of the next record;
             exact in one lane, and where no record is longer than the warm-up

    The logits are divided by `temperature`, which makes a distribution flatter above 1 and sharper below it. Raises
    UserError for values that make no protocol.
    """

    name: str = "carry"
    lanes: int = 0
    warmup: int = 512
    window: int = 512
    stride: int = 0
    separator: str = ""
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in ("carry", "windows", "records"):
            raise UserError(f"There is no protocol {self.name!r}: it is carry, windows or records.")
        if self.stride == 0:
            object.__setattr__(self, "stride", max(1, self.window // 2))
        if min(self.lanes, self.warmup) < 0 or not 0 < self.stride <= self.window:
            raise UserError(
                f"Cannot read in lanes={self.lanes} with warmup={self.warmup}, window={self.window}, "
                f"stride={self.stride}: lanes and warm-up are from 0 up, the stride from 1 up to the window."
            )
        if not 0 < self.temperature < math.inf:
            raise UserError(
                f"temperature={self.temperature} cannot divide the logits of an evaluation: give a number above 0, "
                "such as 0.95; the likeliest symbol alone has no bits per character."
            )
        if bool(self.separator) != (self.name == "records"):
            raise UserError("The protocol records, and no other one, takes a separator: the symbol that ends a record.")

    @classmethod
    def of_run(cls, config: Config, name: str = "") -> "EvalProtocol":
        """Return the protocol of a name with the lanes, warm-up and separator of a run's config.

        Unless named, it is records for a run with data.separator, else carry. A run without a separator has lines as
        its records. As some papers do, "streams" is carry in STREAMS lanes, or those of the config, without warm-up,
        and "chunks" is windows of CHUNK that all count.
        """
        name = name or ("records" if config.data.separator else "carry")
        if name == "windows":
            return cls(name)
        if name == "streams":
            return cls("carry", config.eval.lanes or STREAMS, 0)
        if name == "chunks":
            return cls("windows", window=CHUNK, stride=CHUNK)
        separator = config.data.separator or "\n" if name == "records" else ""
        return cls(name, config.eval.lanes, config.eval.warmup, separator=separator)

    def resolve(self, symbols: int) -> "EvalProtocol":
        """Choose the lanes for a number of symbols; one lane needs no warm-up."""
        most = self.lanes or MOST_LANES
        if self.name == "windows":
            return replace(self, lanes=min(most, -(-symbols // self.stride)), warmup=0)
        lanes = min(self.lanes or max(1, min(most, symbols // (8 * max(1, self.warmup)))), symbols)
        return replace(self, lanes=lanes, warmup=self.warmup if lanes > 1 else 0)

    def windows(self, text_slice: TextSlice) -> EvalWindows:
        """Return the windows that read a slice under a resolved protocol.

        Raises UserError where the separator is not one symbol of the vocabulary.
        """
        symbols = len(text_slice)
        if self.name == "windows":
            stride, context = min(self.stride, symbols), min(self.window - self.stride, symbols)
            return EvalWindows(text_slice, stride, context, self.lanes, TIME)
        stride, vocabulary = -(-symbols // self.lanes), text_slice.text.vocabulary
        separator = vocabulary.separator_id(self.separator) if self.separator else None
        return EvalWindows(text_slice, stride, min(self.warmup, symbols), self.lanes, TIME, separator)

    def as_fields(self) -> dict[str, Any]:
        """Return the protocol as fields of a result; null where a field is of another protocol."""
        windows = self.name == "windows"
        return {
            "protocol_name": self.name,
            "window": self.window if windows else None,
            "stride": self.stride if windows else None,
            "separator": self.separator or None,
            "dynamic": None,
            "temperature": self.temperature,
        }

    def __str__(self) -> str:
        tempered = "" if self.temperature == 1 else f"temperature {self.temperature:.6g}, "
        if self.name == "windows":
            return f"{tempered}windows of {self.window}, stride {self.stride}"
        lanes = f"{self.lanes} lanes, {self.warmup} warm-up" if self.lanes > 1 else "1 lane"
        after = f" after {self.separator!r}" if self.separator else ""
        return f"{tempered}{self.name}{after}, {lanes}"


class ResolvedProtocol(typing.Protocol):
    """Describe a static or dynamic protocol whose lanes are chosen; `str` puts it in words."""

    @property
    def lanes(self) -> int:
        """Return the number of stretches that are read side by side."""

    @property
    def warmup(self) -> int:
        """Return the number of symbols that are read before each stretch."""

    def as_fields(self) -> dict[str, Any]:
        """Return the protocol as fields of a result."""


@dataclass(frozen=True)
class Score:
    """Hold the cost of symbols begin..end of a text slice, counted from the slice's first, under a protocol.

    `whole` is true if these are all of the slice's symbols, and `bytes` is how many bytes they are.
    """

    split: str
    protocol: ResolvedProtocol
    begin: int
    end: int
    whole: bool
    blocks: Blocks
    bytes: int

    def __repr__(self) -> str:
        half = self.blocks.half_interval()
        interval = "" if half is None else f" +- {half:.4f} (95 %)"
        return f"Score({self.split}, {self.tally.bpc:.4f}{interval} bpc, {self.tally.count:,} symbols, {self.sentence})"

    @classmethod
    def of_subrange(
        cls, text_slice: TextSlice, scored: TextSlice, protocol: ResolvedProtocol, blocks: Blocks, size: int
    ) -> "Score":
        """Make the score of `scored`, a subrange of `text_slice` that has `size` bytes."""
        begin, end = scored.begin - text_slice.begin, scored.end - text_slice.begin
        return cls(text_slice.split, protocol, begin, end, len(scored) == len(text_slice), blocks, size)

    @property
    def tally(self) -> Tally:
        """Return the nats and the count of all symbols."""
        return self.blocks.tally

    @property
    def stderr(self) -> float | None:
        """Return the standard error of the bpc; None where `no_interval` says why."""
        return self.blocks.stderr()

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the ends of the 95 % confidence interval of the bpc; None where `no_interval` says why."""
        return self.blocks.interval()

    @property
    def no_interval(self) -> str | None:
        """Return why there is no standard error and no interval; None if there are."""
        return self.blocks.no_interval

    @property
    def sentence(self) -> str:
        """Return the protocol in words, with the symbols if they are not the whole slice."""
        return f"{self.protocol}" + ("" if self.whole else f", symbols {self.begin}..{self.end}")

    def as_dict(self) -> dict[str, Any]:
        """Return the score as it is printed with --json."""
        return {
            "split": self.split,
            "protocol": self.sentence,
            "count": self.tally.count,
            "nats": self.tally.nats,
            "bpc": self.tally.bpc,
            "bpb": self.tally.per(self.bytes),
            **self.blocks.uncertainty(),
        }
