"""Plan a training: count its parameters and FLOPs, and find its memory, speed, time and cost, before it begins."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import optax

from rnnlm.config import Config
from rnnlm.data.splits import Dataset, open_dataset
from rnnlm.data.windows import TrainWindows
from rnnlm.errors import UserError
from rnnlm.nn import size, width
from rnnlm.planning import accelerators, roofline
from rnnlm.planning.accelerators import Accelerator
from rnnlm.planning.compiled import step_bytes
from rnnlm.planning.trial import Trial, read_only_cache, run_trial
from rnnlm.runs.layout import Row
from rnnlm.runtime import parallel
from rnnlm.schema import at_least
from rnnlm.training import budget, optim
from rnnlm.training.footprint import size_of

TRIAL_SECONDS = 10.0
DEVICES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""The numbers of devices whose speed is estimated."""


def make_plan(
    config: Config, accelerator: str = "", trial_seconds: float | None = None, price: float = 0.0, link: float = 0.0
) -> Row:
    """Plan the training of a config: -> what `rnnlm plan --json` prints, as docs/planning.md explains it.

    Without `accelerator` the speed is that of a trial here of `trial_seconds`, 10 unless given; 0 makes none. `price`
    is that of an hour of this machine, or of one accelerator. `link` is the bandwidth between machines or devices, in
    GB/s in one direction. Raises UserError for a wrong config, an unknown accelerator, and a trial that cannot fit in
    memory.
    """
    for name, value in (("price", price), ("link", link), ("trial_seconds", trial_seconds or 0.0)):
        at_least(name, value, 0)
    if accelerator and trial_seconds:
        raise UserError(
            f"A trial of {trial_seconds:g} s runs here, and accelerator={accelerator} asks for an estimate: give one."
        )
    device = accelerators.find(accelerator) if accelerator else None
    config = budget.keep_steps(Path(), None, config)
    dataset = open_dataset(config.data)
    vocab, train = len(dataset.text.vocabulary), config.train
    config = replace(config, model=width.solve(config.model, vocab))
    windows = TrainWindows(dataset.slice("train"), train.batch, train.window, train.drop_state, config.seed)
    schedule = optim.make_schedule(config.optim, train.steps, windows.steps_per_epoch)
    optimizer = optim.make_optimizer(config.optim, schedule, train.freeze)
    seconds = TRIAL_SECONDS if trial_seconds is None else trial_seconds
    speed = estimate_speed(config, vocab, optimizer, device) if device else {}
    with read_only_cache():
        if seconds and not device:  # first, so that what is resident before is what a run has
            speed = trial_speed(config, run_trial(config, dataset, seconds))
        memory: Row = dict(step_bytes(config, vocab, optimizer))
    memory |= {"devices": parallel.count(), "compiled_for": parallel.describe_devices()}
    memory["process_growth"] = speed.pop("process_growth", None)
    plan = describe_size(config, dataset, windows.steps_per_epoch) | {"memory": memory}
    plan |= {"speed": speed or None, "price": price, "scaling": []}
    if speed:
        plan |= total_time(plan)
        plan["scaling"] = scale(config, vocab, optimizer, device, plan, 1e9 * link)
    return plan


def describe_size(config: Config, dataset: Dataset, steps_per_epoch: float) -> Row:
    """Return what is counted: of text, parameters, FLOPs and steps."""
    vocab, train = len(dataset.text.vocabulary), config.train
    shapes = size.param_shapes(config.model, vocab)
    forward = size.flops_per_symbol(config.model, vocab)
    return {
        "text": {"name": dataset.corpus.name, "symbols": len(dataset.text), "kinds": vocab},
        "budget": config.model.params,
        "hidden": list(config.model.hidden_sizes),
        "parameters": size.count_shapes(shapes),
        "modules": {name: size.count_shapes(shapes[name]) for name in config.model.modules},
        "flops_per_symbol": {"forward": forward, "training": 3 * forward},
        "gradient_bytes": size_of(shapes),
        "minutes": train.minutes,
        "steps": train.steps,
        "symbols_per_step": train.batch * train.window,
        "steps_per_epoch": steps_per_epoch,
    }


def trial_speed(config: Config, trial: Trial) -> Row:
    """Return what a trial says of the speed; with `train.minutes` also of the number of steps."""
    costs, train = trial.costs, config.train
    steps = train.steps
    if not steps:  # the run compiles its step a second time, after it has measured for some seconds
        tried = min(budget.MEASURED_SECONDS, 3 * train.minutes) + min(budget.VALIDATED_SECONDS, costs.validation)
        tried += costs.saving + costs.sampling + costs.first
        left = 60 * train.minutes - tried - 2 * costs.compilation
        steps = max(1, costs.steps_within(left, config))
    return {
        "source": "trial",
        "device": parallel.describe_devices(),
        "step_seconds": costs.step,
        "symbols_per_second": train.batch * train.window / costs.step,
        "between_steps": costs.between_steps(config),
        "steps": steps,
        "seconds": costs.total(config, steps),
        "process_growth": trial.growth,
    }


def estimate_speed(
    config: Config, vocab: int, optimizer: optax.GradientTransformation, accelerator: Accelerator
) -> Row:
    """Return the estimated speed of one accelerator, without validations, samples and checkpoints."""
    train = config.train
    parts = roofline.step_seconds(config, vocab, optimizer, accelerator, train.batch)
    seconds = sum(parts.values())
    steps = train.steps or max(1, int(60 * train.minutes / seconds))
    return {
        "source": "estimate",
        "device": accelerator.name,
        "step_seconds": seconds,
        "symbols_per_second": train.batch * train.window / seconds,
        "between_steps": 0.0,
        "parts": parts,
        "device_memory": accelerator.memory,
        "steps": steps,
        "seconds": steps * seconds,
    }


def total_time(plan: Row) -> Row:
    """Return the number of steps, and hours and cost of an epoch and of all."""
    speed = plan["speed"]
    steps, seconds = speed.pop("steps"), speed.pop("seconds")
    epoch = plan["steps_per_epoch"] * (speed["step_seconds"] + speed["between_steps"]) / 3600
    return {
        "steps": steps,
        "hours_per_epoch": epoch,
        "hours": seconds / 3600,
        "cost": plan["price"] * seconds / 3600,
    }


def scale(
    config: Config,
    vocab: int,
    optimizer: optax.GradientTransformation,
    accelerator: Accelerator | None,
    plan: Row,
    link: float,
) -> list[Row]:
    """Estimate the speed of several devices whose gradients are summed: -> a row each, or none if no link is known.

    First the batch stays and is shared out, then each device has a batch of its own. How fast this machine is with a
    part of its batch was not tried, so that it has only the second kind of rows.
    """
    if not accelerator and not link:
        return []
    train = config.train
    lanes = train.batch // train.accumulate

    def row(n: int, batch: int, compute: float) -> Row:
        slowest = link or (accelerator.link_of(n) if accelerator else 0.0)
        summing = roofline.all_reduce_seconds(plan["gradient_bytes"], n, slowest)
        rate = batch * train.window / (compute + summing)
        hours = plan["steps"] * plan["symbols_per_step"] / rate / 3600
        ideal = n * plan["speed"]["symbols_per_second"]
        values = {"step_seconds": compute + summing, "all_reduce_seconds": summing, "symbols_per_second": rate}
        costs = {"efficiency": rate / ideal, "hours": hours, "cost": n * plan["price"] * hours}
        return {"devices": n, "batch": batch, **values, **costs}

    rows = []
    if accelerator:
        estimate: Callable[[int], dict[str, float]]
        estimate = partial(roofline.step_seconds, config, vocab, optimizer, accelerator)
        shares = [n for n in DEVICES if lanes % n == 0]
        rows += [row(n, train.batch, sum(estimate(train.batch // n).values())) for n in shares]
    return rows + [row(n, n * train.batch, plan["speed"]["step_seconds"]) for n in DEVICES[1:]]
