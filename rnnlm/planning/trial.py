"""Try a training for some seconds in a temporary folder, to measure the time and the memory that its run will take."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import jax

from rnnlm.config import Config
from rnnlm.data.splits import Dataset
from rnnlm.runtime import memory
from rnnlm.runtime.console import Console
from rnnlm.training import budget, footprint, state
from rnnlm.training.budget import Costs
from rnnlm.training.loop import Trainer
from rnnlm.training.step import state_to_devices

SAVED_STEPS, BETWEEN_SAVES = 6, 2
"""Steps that are made with saves between them, so that steps run while a state is written, as in a run."""


@dataclass(frozen=True)
class Trial:
    """Hold the measured costs, and by how many bytes the peak of this process's resident memory grew.

    `growth` is None where it is not known, as after earlier work that took more.
    """

    costs: Costs
    growth: int | None


def run_trial(config: Config, dataset: Dataset, seconds: float) -> Trial:
    """Train for so many seconds, and validate, sample and save once, as a run does; nothing of it is kept.

    Raises UserError if the training cannot fit in memory, or fails.
    """
    often = replace(config, checkpoint=replace(config.checkpoint, every=BETWEEN_SAVES))
    with tempfile.TemporaryDirectory(prefix="rnnlm-plan-") as folder:
        trainer = Trainer(often, Path(folder), dataset, Console(False), None)
        vocab = len(dataset.text.vocabulary)
        footprint.refuse_too_large(config, vocab, trainer.optimizer)
        before = memory.process_bytes()
        costs = budget.measure_costs(trainer, seconds)
        begin = time.perf_counter()
        calls = iter(range(SAVED_STEPS))
        trainer.run(
            0,
            state_to_devices(config.model, state.create(config, vocab, trainer.optimizer)),
            stop=lambda: next(calls) == SAVED_STEPS - 1,
        )
        elapsed = time.perf_counter() - begin
        after = memory.process_bytes()
    start = max(0.0, elapsed - SAVED_STEPS * (costs.step + costs.saving / BETWEEN_SAVES))
    growth = None
    if before and after and after.peak > before.peak:
        growth = after.peak - before.resident
    return Trial(replace(costs, first=costs.first + start), growth)


@contextlib.contextmanager
def read_only_cache() -> Iterator[None]:
    """Have jax read the cache of compiled programs and add nothing to it.

    So a trial finds there what the run will find, and its compilation takes as long.
    """
    name = "jax_persistent_cache_min_compile_time_secs"
    least = getattr(jax.config, name)
    jax.config.update(name, float("inf"))
    try:
        yield
    finally:
        jax.config.update(name, least)
