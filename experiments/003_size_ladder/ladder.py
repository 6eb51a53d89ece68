"""Recurrent models of several sizes on War and Peace, in the order and splits of char-rnn's loader.

    python launch/sweep.py --config=experiments/003_size_ladder/ladder.py --name=size_ladder --jobs=2 --eval=test

The grid of Karpathy, Johnson and Li (2015, arXiv 1506.02078). README.md beside this file has results and verdict.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from configs import base

STEPS = {64: 16_000, 128: 8_000, 256: 2_600, 512: 700}
"""Steps of 3,200 symbols for each width: about four minutes of 2 cores of an AMD EPYC."""


def get_config(hidden: str = "") -> ConfigDict:
    """Return what all trials share; `hidden` is for `sweep` alone."""
    config = base.get_config()
    config.data.corpus = "warpeace"
    config.data.split = "columns_100x100_0.8/0.1/0.1"
    config.model.init_gain = 1.0  # as when these runs were made, before the default was 4
    config.train.batch = 50
    config.train.window = 64
    config.optim.name = "adamw"
    config.optim.learning_rate = 1e-2
    config.optim.schedule = "cosine"
    config.optim.warmup = 100
    config.optim.final = 0.02
    config.optim.b1, config.optim.b2 = 0.8, 0.99
    config.optim.weight_decay = 0.1
    config.eval.every = config.checkpoint.every = 500
    config.eval.max_symbols = 0  # all of the validation split
    config.sample.every = 0
    return config


def trial(cell: str, layers: int, hidden: int, seed: int = 0) -> dict[str, Any]:
    """Return the overrides of one trial."""
    return {
        "model.cell": cell,
        "model.layers": layers,
        "model.hidden": hidden,
        "train.steps": STEPS[hidden],
        "seed": seed,
    }


def sweep(hidden: str = "") -> Iterator[dict[str, Any]]:
    """Yield the overrides of every trial; with `hidden`, as in ladder.py:512, of the gated cells of that width."""
    if hidden:
        for layers in (1, 2, 3):
            for cell in ("lstm", "gru"):
                yield trial(cell, layers, int(hidden))
        return
    for width in (64, 128):
        for layers in (1, 2, 3):
            for cell in ("lstm", "gru", "rnn"):
                yield trial(cell, layers, width)
    for seed in (1, 2):
        for cell in ("lstm", "gru", "rnn"):
            yield trial(cell, 2, 128, seed)
    for cell in ("lstm", "gru"):
        yield trial(cell, 2, 256)
