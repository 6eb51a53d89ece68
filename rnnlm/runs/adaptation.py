"""Tuned settings and gradient statistics of dynamic evaluation, kept in a run folder by the digest of the params."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from rnnlm.cells import Params
from rnnlm.data.text import TextSlice
from rnnlm.errors import UserError
from rnnlm.evaluation.dynamic import STATISTICS_LANES, STATISTICS_SEGMENTS, Adapter
from rnnlm.files import reading, write_atomic
from rnnlm.runs import checkpoint


def tuned_path(folder: Path, params: Params, method: str, normalize: str) -> Path:
    """Where a run's folder keeps the settings that were found for params."""
    return folder / "dynamic" / f"tuned-{checkpoint.digest(params)[:16]}-{method}-{normalize}.json"


def kept_statistics(
    folder: Path, adapter: "Adapter", params: Params, train: Callable[[], TextSlice], segment: int
) -> Params:
    """`statistics` over a run's training part, as `train` finds it, collected once and kept in its folder."""
    path = folder / "dynamic" / f"rms-{checkpoint.digest(params)[:16]}-{segment}.npz"
    template, structure = jax.tree.flatten(params)
    if not path.exists():
        found = adapter.statistics(params, train(), segment, STATISTICS_LANES, STATISTICS_SEGMENTS)
        file = io.BytesIO()
        np.savez(file, *map(np.asarray, jax.tree.leaves(found)))
        write_atomic(path, [file.getvalue()])
    try:
        with reading(path):
            file = io.BytesIO(path.read_bytes())
        with np.load(file) as arrays:
            leaves = [arrays[name] for name in arrays.files]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:  # of what the file holds
        raise UserError(f"{path} is damaged ({error}): delete it, and it is made again.") from None
    if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in template]:
        raise UserError(f"{path} holds the statistics of another model: delete it, and it is made again.")
    return jax.tree.unflatten(structure, leaves)
