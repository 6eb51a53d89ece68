"""Load the params of a run's checkpoint, as they are evaluated, without the rest of its training state."""

from collections.abc import Callable

import jax
import numpy as np

from rnnlm.cells import Params
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn import model
from rnnlm.runs import checkpoint, metrics, restore
from rnnlm.runs.layout import RunDir, RunInfo


def load_params(run: RunInfo, step: str | int, report: Callable[[str], None]) -> tuple[int, Params]:
    """Load the params of a run at its "best" checkpoint by validation bpc, its "latest" or that of a step.

    Returns (step, params), the moving average where the run keeps one. Damaged checkpoints are reported and skipped.
    Raises UserError where there is no such checkpoint or none is sound.
    """
    run_dir, group = RunDir(run.folder), "average" if run.config.optim.keeps_average else "params"
    loaded_step, tree = restore.load(run_dir.checkpoints, candidate_steps(run_dir, step), report, group=group)
    template = {group: params_template(run.config.model, len(run.vocabulary))}
    params: Params = restore.restore_into(template, tree, str(run_dir.checkpoints / str(loaded_step)))[group]
    return loaded_step, params


def params_template(config: ModelConfig, vocab: int) -> Params:
    """Return the shapes and dtypes of a model's params, without computing any."""
    key = jax.ShapeDtypeStruct((2,), np.uint32)
    template: Params = jax.eval_shape(lambda key: model.init_params(config, vocab, key), key)
    return template


def candidate_steps(run_dir: RunDir, step: str | int) -> list[int]:
    """List the checkpoints to try, the one asked for first. Raises UserError for a step that has none."""
    saved = checkpoint.steps(run_dir.checkpoints)
    if step == "latest":
        return saved[::-1]
    if step == "best":
        rows, _ = metrics.read_rows(run_dir.metrics, max(saved, default=0))
        best = checkpoint.best_of(saved, metrics.validation_scores(rows))
        return saved[::-1] if best is None else [best, *(s for s in saved[::-1] if s != best)]
    if not str(step).isdecimal() or int(step) not in saved:
        raise UserError(
            f"{run_dir.checkpoints} has no checkpoint {step}: it has best, latest and {', '.join(map(str, saved))}."
        )
    return [int(step)]
