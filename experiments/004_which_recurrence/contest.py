"""Every recurrence on War and Peace, in the order and splits of char-rnn's loader, with 0.5 million parameters.

    mkdir -p runs
    python experiments/001_compression/columns.py warpeace_input.txt > runs/warpeace_columns.txt
    python launch/sweep.py --config=experiments/004_which_recurrence/contest.py:rates --name=which_rates \
        --config.data.files=runs/warpeace_columns.txt --jobs=2

The stages are `rates`, `clock` and `symbols`; a stage reads what collect.py has kept of the stage before. README.md
beside this file has results and verdict.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs import base
from rnnlm.files import read_lines

FOLDER = Path(__file__).parent
STAGES = ("rates", "clock", "symbols")
CLOCK_SECONDS = 240
"""Time of two cores that each model of the stage `clock` takes; a trial of `rates` takes a quarter of it."""
EQUAL_STEPS = 1_500
"""Steps of each model of the stage `symbols`: 4.8 million symbols."""
RATES = (2e-3, 6e-3, 1.8e-2)
BATCH, WINDOW = 50, 64

PLAIN = (
    *("rnn", "irnn", "indrnn", "gru", "gru_before", "lstm", "mlstm", "mogrifier", "hyperlstm", "rhn", "fsrnn", "slstm"),
    *("mingru", "minlstm", "qrnn", "sru", "lru", "rglru", "matrix_lstm"),
)
ENTRIES: dict[str, dict[str, Any]] = (
    {cell: {"model.cell": cell} for cell in PLAIN}
    | {
        # Its outputs grow with time, since they do not saturate: it is better without the gain.
        "indrnn": {"model.cell": "indrnn", "model.init_gain": 1.0},
        "lstm, peepholes": {"model.cell": "lstm", "model.lstm.peepholes": True},
        "lstm, coupled": {"model.cell": "lstm", "model.lstm.input_gate": "coupled"},
        "lstm, layer_norm": {"model.cell": "lstm", "model.lstm.layer_norm": True},
        "qrnn, window 2": {"model.cell": "qrnn", "model.qrnn.window": 2},
        "sru, highway": {"model.cell": "sru", "model.block": "highway"},
    }
    | {
        # Its inputs are normalized, so that its gates do not start alike.
        f"{cell}, prenorm": {"model.cell": cell, "model.block": "prenorm", "model.init_gain": 1.0}
        for cell in ("lstm", "mingru", "lru", "rglru", "matrix_lstm")
    }
)
"""The overrides of each contestant: cells in plain layers, and some with the options or the block of their papers."""


def get_config(stage: str = "") -> ConfigDict:
    """Return what all trials share; `stage` is for `sweep` alone."""
    config = base.get_config()
    config.data.files = "runs/warpeace_columns.txt"
    config.data.split = "2600000/320000/330000"
    config.model.params = 0.5e6
    config.model.embedding = 64
    config.model.init_gain = 4.0
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


def best_rates() -> dict[str, float]:
    """Return the learning rate of each contestant that was best on the validation split, where all were tried.

    A contestant whose runs have all failed has none.
    """
    tried: dict[str, dict[float, float | None]] = {}
    for row in read_lines(FOLDER / "results.jsonl"):
        if row["stage"] == "rates":
            tried.setdefault(row["entry"], {})[row["learning_rate"]] = row["best_valid_bpc"]
    scores = {
        entry: {rate: bpc for rate, bpc in by_rate.items() if bpc is not None}
        for entry, by_rate in tried.items()
        if by_rate.keys() == set(RATES)
    }
    return {entry: min(by_rate, key=lambda rate: by_rate[rate]) for entry, by_rate in scores.items() if by_rate}


def sweep(stage: str = "rates") -> Iterator[dict[str, Any]]:
    """Yield the overrides of the trials of a stage that results.jsonl lacks; a tenth of each run is warm-up."""
    lines = [row for row in read_lines(FOLDER / "results.jsonl") if row["stage"] == stage]
    done = {(row["entry"], row["learning_rate"], row["steps"]) for row in lines}
    if stage == "rates":
        steps, rates = steps_within(CLOCK_SECONDS / 4), dict.fromkeys(ENTRIES, RATES)
    else:
        steps = steps_within(CLOCK_SECONDS) if stage == "clock" else dict.fromkeys(ENTRIES, EQUAL_STEPS)
        rates = {entry: (rate,) for entry, rate in best_rates().items()}
    for entry, tried in rates.items():
        for rate in tried:
            if (entry, rate, steps[entry]) in done:
                continue
            length = {"train.steps": steps[entry], "optim.warmup": steps[entry] // 10}
            yield ENTRIES[entry] | {"optim.learning_rate": rate} | length
