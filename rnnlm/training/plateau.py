"""What the validations so far decide: a lower learning rate on a plateau, and when the params begin to be averaged.

Both are functions of the scores alone, which metrics.jsonl holds: a resumed run decides as an uninterrupted one.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rnnlm.config import OptimConfig

NEVER = np.iinfo(np.int32).max
"""The step from which params are averaged before that is decided."""


class Decisions(NamedTuple):
    """Hold the factor of the learning rate, and the step after which params are averaged."""

    rate: np.float32 = np.float32(1)
    average_from: np.int32 = np.int32(NEVER)


UNDECIDED = Decisions()


def decide(config: OptimConfig, scores: Mapping[int, float]) -> Decisions:
    """Decide by the bpc of the validations so far, by step."""
    steps, bpcs = sorted(scores), [scores[step] for step in sorted(scores)]
    drops = count_drops(bpcs, config.patience) if config.schedule == "plateau" else 0
    start = average_start(config, bpcs)
    return Decisions(np.float32(config.decay**drops), np.int32(NEVER if start is None else steps[start]))


def count_drops(bpcs: list[float], patience: int) -> int:
    """Count the drops of the learning rate.

    One is due where more than `patience` validations have passed since the best one and since the last drop.
    """
    best = last = -1
    drops = 0
    for i, bpc in enumerate(bpcs):
        if best < 0 or bpc < bpcs[best]:
            best = i
        elif i - max(best, last) > patience:
            last, drops = i, drops + 1
    return drops


def average_start(config: OptimConfig, bpcs: list[float]) -> int | None:
    """Return the number of the validation after which averaging begins; None if it has not begun.

    patience      `average_patience` validations have passed since the best one (google-deepmind/lamb)
    nonmonotonic  a validation is worse than the best of those at least `average_patience` + 1 before it (Merity et al.
                  2018)

    or `average_latest` of them are over, where that is not 0.
    """
    best = 0
    for i, bpc in enumerate(bpcs):
        best = i if bpc < bpcs[best] else best
        due = {
            "none": False,
            "patience": i - best >= config.average_patience,
            "nonmonotonic": i > config.average_patience and bpc > min(bpcs[: i - config.average_patience]),
        }[config.average]
        if due or (config.average != "none" and 0 < config.average_latest <= i + 1):
            return i
    return None
