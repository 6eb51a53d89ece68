"""Every recurrence on War and Peace, in the order and splits of char-rnn's loader, with 0.5 million parameters.

    python launch/sweep.py --config=experiments/004_which_recurrence/contest.py:gains --name=which_gains --jobs=2

The stages are `gains`, `rates`, `clock` and `symbols`; a stage reads what collect.py has kept of those before it.
README.md beside this file has results and verdict.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs import base
from rnnlm.files import read_lines

Setting = tuple[float, float]
"""(initial gain, learning rate)."""
FOLDER = Path(__file__).parent
STAGES = ("gains", "rates", "clock", "symbols")
CLOCK_SECONDS = 240
"""Time of two cores that each model of the stage `clock` takes; a trial of `gains` or `rates` takes a quarter of it."""
EQUAL_STEPS = 625
"""Steps of each model of the stage `symbols`: 2 million symbols."""
GAINS = (1.0, 4.0)
"""Values of model.init_gain."""
MIDDLE_RATE = 6e-3
RATES = (2e-3, MIDDLE_RATE, 1.8e-2)
BATCH, WINDOW = 50, 64

PLAIN = (
    *("rnn", "irnn", "indrnn", "gru", "gru_before", "lstm", "mlstm", "mogrifier", "hyperlstm", "rhn", "fsrnn", "slstm"),
    *("mingru", "minlstm", "qrnn", "sru", "lru", "rglru", "matrix_lstm"),
)
ENTRIES: dict[str, dict[str, Any]] = (
    {cell: {"model.cell": cell} for cell in PLAIN}
    | {
        "lstm, peepholes": {"model.cell": "lstm", "model.lstm.peepholes": True},
        "lstm, coupled": {"model.cell": "lstm", "model.lstm.input_gate": "coupled"},
        "lstm, layer_norm": {"model.cell": "lstm", "model.lstm.layer_norm": True},
        "qrnn, window 2": {"model.cell": "qrnn", "model.qrnn.window": 2},
        "sru, highway": {"model.cell": "sru", "model.block": "highway"},
    }
    | {
        f"{cell}, prenorm": {"model.cell": cell, "model.block": "prenorm"}
        for cell in ("lstm", "mingru", "lru", "rglru", "matrix_lstm")
    }
)
"""The overrides of each contestant: cells in plain layers, and some with the options or the block of their papers."""


def get_config(stage: str = "") -> ConfigDict:
    """Return what all trials share; `stage` is for `sweep` alone."""
    config = base.get_config()
    config.data.corpus = "warpeace"
    config.data.split = "columns_100x100_0.8/0.1/0.1"
    config.model.params = 0.5e6
    config.model.embedding = 64
    config.train.batch, config.train.window = BATCH, WINDOW
    config.optim.name = "adamw"
    config.optim.schedule = "cosine"
    config.optim.final = 0.02
    config.optim.b2 = 0.99
    config.optim.weight_decay = 0.1
    config.eval.every = config.checkpoint.every = 1_000
    config.eval.max_symbols = 0  # all of the validation split
    config.sample.every = 0
    return config


def steps_within(seconds: float) -> dict[str, int]:
    """Return how many steps of each contestant take so many seconds, by the speeds that were measured in one run."""
    speeds = {row["entry"]: row["symbols_per_second"] for row in read_lines(FOLDER / "speeds.jsonl")}
    return {entry: int(seconds * speeds[entry] / (BATCH * WINDOW)) for entry in ENTRIES}


def tried() -> dict[str, dict[Setting, float]]:
    """Return the validation bpc of each contestant after a quarter of the time by setting; a failed run is infinite."""
    found: dict[str, dict[Setting, float]] = {entry: {} for entry in ENTRIES}
    for row in read_lines(FOLDER / "results.jsonl"):
        if row["stage"] in ("gains", "rates"):
            bpc = row["best_valid_bpc"]
            found[row["entry"]][row["init_gain"], row["learning_rate"]] = math.inf if bpc is None else bpc
    return found


def settings(stage: str) -> dict[str, list[Setting]]:
    """Return the settings with which a stage trains each contestant, as far as the stages before it are done.

    The last two stages leave out a contestant whose runs have all failed.
    """
    if stage == "gains":
        return {entry: [(gain, MIDDLE_RATE) for gain in GAINS] for entry in ENTRIES}
    chosen = {}
    for entry, found in tried().items():
        gains = {gain: bpc for (gain, rate), bpc in found.items() if rate == MIDDLE_RATE}
        if len(gains) < len(GAINS):
            continue
        best_gain = min(gains, key=lambda gain: gains[gain])
        rates = [(best_gain, rate) for rate in RATES]
        if stage == "rates":
            chosen[entry] = [setting for setting in rates if setting[1] != MIDDLE_RATE]
        elif found.keys() >= set(rates) and min(found.values()) < math.inf:
            chosen[entry] = [min(found, key=lambda setting: found[setting])]
    return chosen


def sweep(stage: str = "gains") -> Iterator[dict[str, Any]]:
    """Yield the overrides of the trials of a stage that results.jsonl lacks; a tenth of each run is warm-up."""
    lines = [row for row in read_lines(FOLDER / "results.jsonl") if row["stage"] == stage]
    done = {(row["entry"], row["init_gain"], row["learning_rate"], row["steps"]) for row in lines}
    seconds = CLOCK_SECONDS if stage == "clock" else CLOCK_SECONDS / 4
    steps = dict.fromkeys(ENTRIES, EQUAL_STEPS) if stage == "symbols" else steps_within(seconds)
    for entry, chosen in settings(stage).items():
        for gain, rate in chosen:
            if (entry, gain, rate, steps[entry]) not in done:
                setting = {"model.init_gain": gain, "optim.learning_rate": rate}
                yield ENTRIES[entry] | setting | {"train.steps": steps[entry], "optim.warmup": steps[entry] // 10}
