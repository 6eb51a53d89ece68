"""Begin a run with the params of another run: find them, compare the models, and match their symbols by code."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.config import Config, ModelConfig
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.runs import checkpoint
from rnnlm.runs.layout import Row, load_run
from rnnlm.runs.params import load_params, params_template
from rnnlm.schema import Section, flatten

Axes: TypeAlias = dict[str, Any]
"""A PyTree like params with the axis of each array that holds one entry a symbol, -1 for none."""

ONLY_DRAWS = {"lstm.forget_bias"}
"""Options of cells that say how params are drawn, and nothing about what is computed with them."""


@dataclass(frozen=True)
class Parent:
    """Hold the params that a run begins with, and which of its symbols have params there.

    `vocab` is the number of the run's symbols, `old_ids` and `new_ids` are the ids of the shared ones in the parent and
    in the run, `symbol_axes` is the axis of each param that holds an entry a symbol, -1 for none. `record` is what
    run.json keeps: path, step, digest of the params, digest of the config.
    """

    params: Params
    vocab: int
    old_ids: NDArray[np.int64]
    new_ids: NDArray[np.int64]
    symbol_axes: Axes
    record: Row

    def adopt(self, drawn: Params) -> Params:
        """Replace drawn params by the parent's; in arrays by symbol, only those of shared symbols."""

        def replace_leaf(axis: int, old: NDArray[Any], new: jax.Array) -> jax.Array:
            if axis < 0:
                return jnp.asarray(old)
            merged = np.array(new)
            np.moveaxis(merged, axis, 0)[self.new_ids] = np.moveaxis(old, axis, 0)[self.old_ids]
            return jnp.asarray(merged)

        adopted: Params = jax.tree.map(replace_leaf, self.symbol_axes, self.params, drawn)
        return adopted

    def describe(self) -> str:
        """Say where the params come from, and how many symbols keep theirs."""
        kept = len(self.new_ids)
        where = f"{self.record['path']} at step {self.record['step']}"
        return f"begins with the params of {where}: {kept} of {self.vocab} symbols kept, {self.vocab - kept} drawn anew"


def open_parent(config: Config, workdir: Path, vocabulary: Vocabulary, report: Callable[[str], None]) -> Parent:
    """Open the run that `train.init_from` names. Raises UserError if it has none that fits the config's model."""
    try:
        folder, step = split_step(config.train.init_from)
        if folder.resolve() == workdir.resolve():
            raise UserError("it is the run's own folder: name another run.")
        if not folder.exists() and "@" in folder.name:
            raise UserError(f"there is no folder {folder}: after DIR@ comes best, latest or the number of a step.")
        run = load_run(folder)
        refuse_other_model(run.config.model, config.model)
        loaded_step, params = load_params(run, step, report)
        old_ids, new_ids = match_symbols(run.vocabulary, vocabulary)
        same = run.vocabulary.codes == vocabulary.codes and len(new_ids) == len(vocabulary)
        axes = jax.tree.map(lambda _: -1, params) if same else find_symbol_axes(config.model, len(vocabulary))
    except UserError as error:
        raise UserError(f"train.init_from={config.train.init_from}: {error}") from None
    record = {
        "path": str(folder.absolute()),
        "step": loaded_step,
        "params": checkpoint.digest(params),
        "config": run.config_sha256,
    }
    return Parent(params, len(vocabulary), old_ids, new_ids, axes, record)


def split_step(name: str) -> tuple[Path, str]:
    """Split DIR@STEP: -> (folder, "best", "latest" or a number); best where there is none."""
    folder, _, step = name.rpartition("@")
    if folder and (step in ("best", "latest") or step.isdecimal()):
        return Path(folder), step
    return Path(name), "best"


def match_symbols(old: Vocabulary, new: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the symbols of both vocabularies by their codes: -> (their ids in the old one, in the new one).

    A byte and a character of one code are the same below 128 alone.
    """
    limit = 0x110000 if (old.kind == "char") == (new.kind == "char") else 128
    shared, old_ids, new_ids = np.intersect1d(old.codes, new.codes, assume_unique=True, return_indices=True)
    return old_ids[shared < limit], new_ids[shared < limit]


def find_symbol_axes(config: ModelConfig, vocab: int) -> Axes:
    """Find the axis of each param that holds one entry a symbol, -1 for none: a PyTree like the params.

    It is the axis that is longer in a model with one more symbol. Raises UserError where it holds other things, too.
    """

    def find(shape: jax.ShapeDtypeStruct, longer: jax.ShapeDtypeStruct) -> int:
        axes = [i for i, (a, b) in enumerate(zip(shape.shape, longer.shape, strict=True)) if a != b]
        if any(shape.shape[i] != vocab for i in axes) or len(axes) > 1:
            raise UserError(
                f"the cell {config.cell} has a param in which symbols cannot be told from other inputs, so the "
                "vocabularies must be equal: set model.embedding, or use a text of the same symbols."
            )
        return axes[0] if axes else -1

    axes: Axes = jax.tree.map(find, params_template(config, vocab), params_template(config, vocab + 1))
    return axes


def refuse_other_model(theirs: ModelConfig, ours: ModelConfig) -> None:
    """Raise UserError that names the first key in which two models differ so that params of one do not fit the other.

    Dropout, the dtype of products, and how params are drawn may differ.
    """
    by_sizes = bool(theirs.sizes or ours.sizes)
    there, here = list_architecture(theirs, by_sizes), list_architecture(ours, by_sizes)
    for name in [*there, *here]:
        if there.get(name) != here.get(name):
            raise UserError(
                f"its model is another one, whose model.{name} is {there.get(name)!r}, but {here.get(name)!r} here: "
                "give the config that model, or name another run."
            )


def list_architecture(config: ModelConfig, by_sizes: bool) -> dict[str, Any]:
    """Return the keys of a model that its params depend on; options of other cells than its own are left out."""
    values: dict[str, Any] = {"cell": config.cell}
    values |= {"sizes": config.hidden_sizes} if by_sizes else {"layers": config.layers, "hidden": config.hidden}
    values |= {"embedding": config.embedding, "tied": config.tied, "block": config.block, "options": config.options}
    values |= {"weight_norm": config.weight_norm, "input_projection": config.input_projection}
    own = getattr(config, config.cell, None)
    if isinstance(own, Section):
        values |= {name: value for name, value in flatten({config.cell: asdict(own)}) if name not in ONLY_DRAWS}
    return values
