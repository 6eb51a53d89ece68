"""Tuned options and gradient statistics of dynamic evaluation, kept in a run folder by the digest of the params."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from rnnlm.cells import Params
from rnnlm.data.text import TextSlice
from rnnlm.errors import UserError
from rnnlm.evaluation.dynamic import STATISTICS_LANES, STATISTICS_SEGMENTS, TUNED_SYMBOLS, Adaptation, Adapter
from rnnlm.files import reading, write_atomic
from rnnlm.nn.leaves import from_version_1, name_of, named_leaves, to_version_1
from rnnlm.runs import checkpoint
from rnnlm.runs.layout import RunDir, read_json, write_json


def load_tuned(folder: Path, params: Params, method: str, normalize: str = "tensor") -> Adaptation | None:
    """Load the options that were tuned for params, for one stream; None if there are none.

    Raises UserError if their file is damaged.
    """
    path = RunDir(folder).tuned(checkpoint.digest(params), method, normalize)
    if not path.exists():
        return None
    found = read_json(path)
    try:
        segment, rate, decay = found["settings"]
        return Adaptation(method, int(segment), rate, decay, normalize)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}): delete it and tune again.") from None


def save_tuned(folder: Path, params: Params, bpc: float, options: Adaptation) -> None:
    """Save options that were tuned for params, and the bpc that they reached. Raises WriteError."""
    path = RunDir(folder).tuned(checkpoint.digest(params), options.method, options.normalize)
    settings = [options.segment, options.learning_rate, options.decay]
    write_json(path, {"bpc": bpc, "settings": settings, "symbols": TUNED_SYMBOLS})


def load_statistics(
    folder: Path, adapter: Adapter, params: Params, train: Callable[[], TextSlice], segment: int
) -> Params:
    """Load the gradient statistics of params for a segment length: a PyTree like `params`.

    If they are not in the run folder yet, compute them on the training split, which `train` opens, and save them.
    Raises UserError if their file is damaged or of another model, and WriteError.
    """
    path = RunDir(folder).statistics(checkpoint.digest(params), segment)
    template = to_version_1(named_leaves(params))
    if not path.exists():
        found = adapter.statistics(params, train(), segment, STATISTICS_LANES, STATISTICS_SEGMENTS)
        file = io.BytesIO()
        np.savez(file, *to_version_1(named_leaves(found)).values())
        write_atomic(path, [file.getvalue()])
    try:
        with reading(path):
            file = io.BytesIO(path.read_bytes())
        with np.load(file) as arrays:
            leaves = [arrays[name] for name in arrays.files]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:  # of what the file holds
        raise UserError(f"{path} is damaged ({error}): delete it, and it is made again.") from None
    if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in template.values()]:
        raise UserError(f"{path} holds the statistics of another model: delete it, and it is made again.")
    restored = from_version_1(dict(zip(template, leaves, strict=True)))
    return jax.tree_util.tree_map_with_path(lambda path, _: restored[name_of(path)], params)
