"""Start or resume a run: all of its processes begin with the same state, or none begins."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import optax

from rnnlm.config import Config
from rnnlm.data.splits import Dataset
from rnnlm.errors import UserError
from rnnlm.runs import checkpoint, restore
from rnnlm.runtime import parallel
from rnnlm.runtime.console import Console
from rnnlm.training import optim, state
from rnnlm.training.parent import Parent
from rnnlm.training.state import TrainState
from rnnlm.training.step import state_to_devices


def start_or_resume(
    config: Config,
    dataset: Dataset,
    optimizer: optax.GradientTransformation,
    checkpoints_dir: Path,
    console: Console,
    parent: Parent | None = None,
) -> tuple[int, TrainState]:
    """Make the state before the first step, or restore the newest sound checkpoint: -> (step, state on the devices).

    Without a checkpoint the params are those of `parent`, if there is one. All processes restore the same checkpoint.
    Raises UserError in all of them if one cannot read it, or if they differ in config, text, parent or checkpoints.
    """
    with parallel.sync_errors():
        create = partial(state.create, config, len(dataset.text.vocabulary), optimizer)
        initial_state = create(parent.adopt) if parent else create()
        steps = checkpoint.steps(checkpoints_dir)[::-1]
    # The path of the text may differ between machines; the text must not.
    refuse_difference(checkpoints_dir, "configs", replace(config, data=replace(config.data, corpus="", files="")))
    refuse_difference(checkpoints_dir, "texts", dataset.corpus.sha256)
    refuse_difference(checkpoints_dir, "checkpoints", steps)
    refuse_difference(checkpoints_dir, "params to begin with", parent and parent.record["params"])
    if not steps:
        return 0, state_to_devices(config.model, initial_state)
    step, tree = restore.load(checkpoints_dir, steps, console.warn, every_process=True)
    with parallel.sync_errors():
        restored = restore.restore_into(initial_state, tree, str(checkpoints_dir / str(step)))
        if parallel.is_main():
            restore.quarantine(checkpoints_dir, step)
        console.say(f"going on from step {step}")
    return step, state_to_devices(config.model, restored)


def refuse_difference(checkpoints_dir: Path, what: str, value: object) -> None:
    """Raise UserError if the processes of the run have different values of `what`."""
    if not parallel.same_everywhere(value):
        raise UserError(
            f"The processes of this run have different {what}: start all of them with the same command, with "
            f"{checkpoints_dir.parent} on a disk that they share."
        )


def refuse_shorter(workdir: Path, saved: list[int], steps: int) -> None:
    """Raise UserError if a run with checkpoints at the steps `saved` has gone beyond the steps that it shall have."""
    reached = max(saved, default=0)
    if steps < reached:
        raise UserError(
            f"{workdir} holds a run that is at step {reached:,} already, beyond train.steps={steps:,}: give at least "
            f"{reached}, or name a new folder."
        )


def describe_changes(saved: Config, given: Config, first: int, steps_per_epoch: float) -> list[str]:
    """Say what another length, and another validation, change in a run that goes on from step `first`."""
    lines = []
    before, after = (
        float(optim.make_schedule(config.optim, config.train.steps, steps_per_epoch)(first))
        for config in (saved, given)
    )
    if not np.isclose(before, after, rtol=1e-5, atol=0):
        old, new = (config.optim.steps or config.train.steps for config in (saved, given))
        lines.append(
            f"the learning rate goes on with {after:.3g} in place of {before:.3g}, since its schedule now has {new:,} "
            f"steps in place of {old:,}; optim.steps={old} would keep it"
        )
    for name in ("lanes", "warmup", "max_symbols"):
        old, new = getattr(saved.eval, name), getattr(given.eval, name)
        if old != new:
            lines.append(
                f"eval.{name}={new} in place of {old}: the best step is chosen among the validations from here on"
            )
    return lines
