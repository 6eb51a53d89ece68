"""Start or resume a run: all of its processes begin with the same state, or none begins."""

from dataclasses import replace
from pathlib import Path

import optax

from rnnlm.config import Config
from rnnlm.data.splits import Dataset
from rnnlm.errors import UserError
from rnnlm.runs import checkpoint, restore
from rnnlm.runtime import parallel
from rnnlm.runtime.console import Console
from rnnlm.training import state
from rnnlm.training.state import TrainState
from rnnlm.training.step import state_to_devices


def start_or_resume(
    config: Config,
    dataset: Dataset,
    optimizer: optax.GradientTransformation,
    checkpoints_dir: Path,
    console: Console,
) -> tuple[int, TrainState]:
    """Make the state before the first step, or restore the newest sound checkpoint: -> (step, state on the devices).

    All processes restore the same checkpoint. Raises UserError in all of them if one cannot read it, or if they differ
    in config, text or checkpoints.
    """
    with parallel.sync_errors():
        initial_state = state.create(config, len(dataset.text.vocabulary), optimizer)
        steps = checkpoint.steps(checkpoints_dir)[::-1]
    # The path of the text may differ between machines; the text must not.
    refuse_difference(checkpoints_dir, "configs", replace(config, data=replace(config.data, corpus="", files="")))
    refuse_difference(checkpoints_dir, "texts", dataset.corpus.sha256)
    refuse_difference(checkpoints_dir, "checkpoints", steps)
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
