"""Start or resume a run: all of its processes begin with the same state, or none begins."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import optax

from rnnlm.config import Config
from rnnlm.data.patterns import any_match, make_absolute
from rnnlm.data.splits import Dataset, open_dataset
from rnnlm.errors import UserError, WriteError
from rnnlm.nn import width
from rnnlm.runs import checkpoint, layout, restore
from rnnlm.runs.layout import Row, RunInfo
from rnnlm.runs.lock import lock_run_dir
from rnnlm.runs.metrics import read_rows
from rnnlm.runtime import parallel
from rnnlm.runtime.console import Console
from rnnlm.runtime.signals import Signals
from rnnlm.training import budget, footprint, optim, state
from rnnlm.training.loop import Trainer
from rnnlm.training.parent import Parent, open_parent
from rnnlm.training.state import TrainState
from rnnlm.training.step import state_to_devices


def train(
    config: Config,
    workdir: Path,
    signals: Signals,
    console: Console,
    on_row: Callable[[Row], None] | None = None,
    data: str = "",
) -> Row | None:
    """Start the run of a folder, or resume it: -> its result, or None if a signal stopped it.

    The main process passes each row of metrics.jsonl to `on_row`. `data` is the path of the text of a resumed run, if
    it has moved. Raises UserError, with nothing written, if the folder holds a run of another config or text.
    """
    began = time.perf_counter()
    folder = layout.RunDir(workdir).checkpoints
    with parallel.sync_errors():
        existing, config, dataset = open_run(workdir, config, data)
        trainer = Trainer(config, workdir, dataset, console, on_row)
        saved, parent = checkpoint.steps(folder), None
        if config.train.init_from and not saved:
            parent = open_parent(config, workdir, dataset.text.vocabulary, console.warn)
        footprint.refuse_too_large(config, len(dataset.text.vocabulary), trainer.optimizer)
    with signals as stop, contextlib.ExitStack() as stack:  # from the first file on, a signal saves
        with parallel.sync_errors():
            if parallel.is_main():
                stack.enter_context(lock_run_dir(workdir))
                refuse_changed(workdir, existing, saved)
        stack.enter_context(parallel.naming_lost_processes())
        console.say(trainer.describe())
        if config.model.params:
            console.say(width.describe(config.model, trainer.run_info["parameters"]))
        try:
            if not config.train.steps:
                console.say(f"train.minutes={config.train.minutes:g}: measuring the speed")
                trainer = trainer.with_steps(budget.measure_steps(trainer, began))
                config = trainer.config
            first, state = start_or_resume(config, dataset, trainer.optimizer, folder, console, parent)
            if parent:
                console.say(parent.describe())
            elif existing:
                for line in describe_changes(existing.config, config, first, trainer.windows.steps_per_epoch):
                    console.say(line)
            with parallel.sync_errors():
                if parallel.is_main():
                    start = {"step": first, "devices": parallel.device_names(), "processes": parallel.processes()}
                    record = parent.record if parent else existing and existing.parent
                    info = trainer.run_info | ({"parent": record} if record else {})
                    layout.write_run_info(workdir, config, dataset, info, start)
            return trainer.run(first, state, stop, save_first=parent is not None)
        except WriteError as error:
            last_good = checkpoint.last_good(folder)
            raise UserError(f"{error} {last_good} Once it can be written, the same command goes on.") from error


def refuse_changed(workdir: Path, existing: RunInfo | None, saved: Sequence[int]) -> None:
    """Raise UserError if a folder no longer has the run and the checkpoints that were read before it was locked."""
    if layout.find_run(workdir) != existing or checkpoint.steps(layout.RunDir(workdir).checkpoints) != saved:
        raise UserError(f"Another process has trained in {workdir} meanwhile: run the command again to go on from it.")


def open_run(workdir: Path, config: Config, data: str) -> tuple[RunInfo | None, Config, Dataset]:
    """Open what a folder holds and the text to train on: -> (its run or None, the config, the text).

    The config has its number of steps, and its width where `model.params` is set.

    Raises UserError if the folder holds a run of another config or text, or files that are no run's.
    """
    existing = layout.find_run(workdir)
    config = budget.keep_steps(workdir, existing.config if existing else None, config)
    checkpoint.refuse_file(layout.RunDir(workdir).checkpoints)
    if existing is None:
        layout.refuse_foreign_files(workdir)
        if data:
            raise UserError(
                f"--data={data} names the text of a run, but {workdir} holds none: name the text of a new run by "
                "data.files of its config."
            )
        dataset = open_dataset(config.data)
        return None, replace(config, model=width.solve(config.model, len(dataset.text.vocabulary))), dataset
    config = replace(config, model=width.keep(existing.config.model, config.model, len(existing.vocabulary)))
    layout.refuse_other(workdir, existing.config, config)
    saved = checkpoint.steps(layout.RunDir(workdir).checkpoints)
    refuse_lost(existing, saved)
    refuse_shorter(workdir, saved, config.train.steps)
    if config.data.files not in (existing.config.data.files, make_absolute(existing.config.data.files)):
        if not any_match(config.data.files):
            raise UserError(
                f"data.files={config.data.files} names no file, and {workdir} has a text already "
                f"({existing.config.data.files}): leave it out, or say where that text lies now."
            )
        data = data or config.data.files
    # How the files were opened is a matter of the run's text, which is what it was.
    config = replace(config, data=replace(config.data, binary=existing.config.data.binary))
    return existing, config, existing.open_dataset(data)


def refuse_lost(run: RunInfo, saved: Sequence[int]) -> None:
    """Raise UserError if metrics.jsonl is damaged, or if a run without checkpoints must have had some.

    So it does not begin anew unasked.
    """
    run_dir = layout.RunDir(run.folder)
    rows, _ = read_rows(run_dir.metrics)
    reached = rows[-1]["step"] if rows else 0
    # The first checkpoint is on the disk before the second one is begun.
    if not saved and (run_dir.result.exists() or reached > 2 * run.config.checkpoint.every):
        raise UserError(
            f"{run.folder} holds a run that was at step {reached:,}, but no checkpoint of it: restore "
            f"{run_dir.checkpoints.name}/ from a copy, or name a new folder."
        )


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
    workdir = checkpoints_dir.parent
    without_path = replace(config, data=replace(config.data, corpus="", files=""))
    parallel.refuse_difference(workdir, "configs", without_path)
    parallel.refuse_difference(workdir, "texts", dataset.corpus.sha256)
    parallel.refuse_difference(workdir, "checkpoints", steps)
    parallel.refuse_difference(workdir, "params to begin with", parent and parent.record["params"])
    if not steps:
        return 0, state_to_devices(config.model, initial_state)
    step, tree = restore.load(checkpoints_dir, steps, console.warn, every_process=True)
    with parallel.sync_errors():
        restored = restore.restore_into(initial_state, tree, str(checkpoints_dir / str(step)))
        if parallel.is_main():
            restore.quarantine(checkpoints_dir, step)
        done = step >= config.train.steps
        console.say(f"all {step:,} steps are made" if done else f"going on from step {step}")
    return step, state_to_devices(config.model, restored)


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
