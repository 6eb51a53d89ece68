"""Turn `train.minutes` into a number of steps, by the speed of steps whose results are thrown away.

The run itself starts afresh after the measurement, so that its schedule knows the number of steps from the first one.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.evaluation.protocol import EvalProtocol
from rnnlm.generation.sampler import SamplingOptions
from rnnlm.generation.stepper import CHUNK
from rnnlm.nn.leaves import named_leaves
from rnnlm.runs import checkpoint
from rnnlm.runtime import parallel
from rnnlm.training import state
from rnnlm.training.step import state_to_devices, state_to_host

if TYPE_CHECKING:
    from rnnlm.training.loop import Trainer

DEFAULT_STEPS = 10_000
"""Steps of a run whose config says neither steps nor minutes."""
MEASURED_SECONDS = 5.0
"""Seconds for which steps are measured, and at most a twentieth of the run."""
MEASURED_STEPS = 5
"""Fewest steps that are measured."""
VALIDATED_SECONDS = 5.0
"""Seconds after which a validation is cut off, and the rest of it estimated."""


def keep_steps(workdir: Path, saved: Config | None, given: Config) -> Config:
    """Return the config with its number of steps, or with 0 where `train.minutes` is still to become one.

    `saved` is the config of the folder's run, None if it holds none. Raises UserError where steps and minutes are both
    set, and where the minutes are not those of the run.
    """
    minutes, steps = given.train.minutes, given.train.steps
    if minutes and saved is None and steps:
        raise UserError(
            f"train.steps={steps} and train.minutes={minutes:g} are both set: choose one and set the other to 0."
        )
    if minutes and saved is not None and minutes != saved.train.minutes:
        raise UserError(
            f"{workdir} holds a run of {saved.train.steps:,} steps, whose number minutes do not change any more: leave "
            "out train.minutes, and set train.steps to lengthen it."
        )
    if not steps:
        steps = (saved.train.steps if saved else 0) if minutes else DEFAULT_STEPS
    return replace(given, train=replace(given.train, steps=steps))


def measure_steps(trainer: "Trainer", began: float) -> int:
    """Measure how many steps fit into `train.minutes` since `began`, a reading of time.perf_counter().

    Subtracted are the time until now, the compilation of the run's own step, and the time of validations, samples and
    checkpoints, which are tried here. All processes return the same number.
    """
    config, seconds = trainer.config, 60 * trainer.config.train.minutes
    costs = measure_costs(trainer, min(MEASURED_SECONDS, seconds / 20))
    steps = costs.steps_within(seconds - (time.perf_counter() - began) - costs.compilation, config)
    if steps < 1:
        trainer.console.warn(
            f"train.minutes={config.train.minutes:g} is less than compiling, validating and sampling take: the run has "
            "one step. Give more minutes in a new folder."
        )
    steps = min_of_processes(max(1, steps))
    between = costs.between_steps(config)
    trainer.console.say(
        f"train.minutes={config.train.minutes:g}: {steps:,} steps, at {1000 * costs.step:,.1f} ms a step and "
        f"{between / (costs.step + between):.0%} of the time for validations, samples and checkpoints"
    )
    return steps


@dataclass(frozen=True)
class Costs:
    """Hold measured seconds: of compiling, and of one step, save, validation and sampling (0 where none is due).

    `compilation` is that of the step, `first` what the first validation and the first samples take longer than others.
    """

    compilation: float
    first: float
    step: float
    saving: float
    validation: float
    sampling: float

    def between_steps(self, config: Config) -> float:
        """Return the seconds of validations, samples and saves for each step."""
        validating, sampling, saving = periods(config)
        saves = max(1 / every for every in (saving, validating) if every)
        return self.validation / (validating or 1) + self.sampling / (sampling or 1) + self.saving * saves

    def steps_within(self, seconds: float, config: Config) -> int:
        """Return how many steps fit into seconds, with a validation, a sample and a save at the last one."""
        left = seconds - self.validation - self.sampling - self.saving
        return int(left / (self.step + self.between_steps(config)))

    def total(self, config: Config, steps: int) -> float:
        """Return the seconds of a run of so many steps."""
        due = {every: steps // every + (steps % every > 0) if every else 0 for every in periods(config)}
        saves = max(due[config.checkpoint.every], due[config.eval.every])
        often = due[config.eval.every] * self.validation + due[config.sample.every] * self.sampling
        return self.compilation + self.first + steps * self.step + often + saves * self.saving


def periods(config: Config) -> tuple[int, int, int]:
    """Return the steps between validations, samples and checkpoints."""
    return config.eval.every, config.sample.every, config.checkpoint.every


def measure_costs(trainer: "Trainer", seconds: float) -> Costs:
    """Measure what a run takes, with `seconds` of steps after their compilation, whose results are thrown away.

    Validations and samples are measured where the config has them. All processes call it together.
    """
    config, vocab = trainer.config, len(trainer.dataset.text.vocabulary)
    begin = time.perf_counter()
    train_state = state_to_devices(config.model, state.create(config, vocab, trainer.optimizer))
    train_state, metrics = trainer.step(train_state, *trainer.batch(0))
    jax.block_until_ready(metrics)
    compilation = time.perf_counter() - begin

    count, step = MEASURED_STEPS, 0.0
    for _ in range(2):  # a few steps tell how many fill the time, which all processes then take
        begin = time.perf_counter()
        for i in range(1, 1 + count):
            train_state, following = trainer.step(train_state, *trainer.batch(i))
            jax.device_get(metrics)
            metrics = following
        jax.block_until_ready(metrics)
        step = (time.perf_counter() - begin) / count
        count = max(MEASURED_STEPS, max_of_processes(int(seconds / step)))

    saving, (compile_validation, validation) = save_seconds(trainer, train_state), (0.0, 0.0)
    compile_sampling, sampling = 0.0, 0.0
    if config.eval.every and "valid" in trainer.dataset.splits:
        compile_validation, validation = validation_seconds(trainer, train_state)
    if config.sample.every and parallel.is_main():
        compile_sampling, sampling = sample_seconds(trainer, train_state)
    return Costs(compilation, compile_validation + compile_sampling, step, saving, validation, sampling)


def save_seconds(trainer: "Trainer", train_state: state.TrainState) -> float:
    """Return the seconds that copying and hashing a state takes.

    It is hashed and written while the training goes on, but on a CPU hashing takes its time from the steps.
    """
    begin = time.perf_counter()
    checkpoint.digests(named_leaves(state_to_host(trainer.config.model, train_state)))
    return time.perf_counter() - begin


def validation_seconds(trainer: "Trainer", train_state: state.TrainState) -> tuple[float, float]:
    """Measure a validation: -> (seconds of its compilation, seconds without it)."""
    c, begin = trainer.config.eval, time.perf_counter()
    readings: list[tuple[float, float]] = []
    trainer.evaluator(
        train_state.eval_params,
        trainer.dataset.slice("valid"),
        EvalProtocol.of_run(trainer.config),
        (0, c.max_symbols),
        stop=lambda: time.perf_counter() - begin > VALIDATED_SECONDS and len(readings) > 1,
        progress=lambda share: readings.append((share, time.perf_counter())),
    )
    (share, first), (last_share, last) = readings[0], readings[-1]
    if last_share <= share:
        return 0.0, last - begin
    seconds = (last - first) / (last_share - share)
    return max(0.0, first - begin - share * seconds), seconds


def sample_seconds(trainer: "Trainer", train_state: state.TrainState) -> tuple[float, float]:
    """Measure a sample at each temperature: -> (seconds of the compilation, seconds without it)."""
    c, options = trainer.config.sample, SamplingOptions(seed=trainer.config.seed)
    params = trainer.sampler.stepper.inference_params(parallel.to_numpy(train_state.eval_params))
    drawn, clock = min(c.length, 4 * CHUNK), [time.perf_counter()]
    for _ in range(2):  # the first one compiles
        list(trainer.sampler.chunks(params, trainer.prompt, drawn, options))
        clock.append(time.perf_counter())
    first, second = np.diff(clock)
    return max(0.0, float(first - second)), float(second) * len(c.temperatures) * c.length / drawn


def max_of_processes(number: int) -> int:
    """Return the largest of the processes' numbers."""
    return int(parallel.gather_from_processes(np.array(number)).max())


def min_of_processes(number: int) -> int:
    """Return the smallest of the processes' numbers."""
    return int(parallel.gather_from_processes(np.array(number)).min())
