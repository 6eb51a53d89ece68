"""Weight normalization (Salimans and Kingma 2016): each column of a matrix has its length as a param of its own.

The matrix W is W (length / |W|), column by column, where |W| is the norm of the column; so only the direction of the
stored column counts.
"""

import jax.numpy as jnp

from rnnlm.cells.cell import Param, Params, ones
from rnnlm.nn.initialize import is_drawn

SUFFIX = "_length"
"""Ends the names of the lengths of a matrix's columns."""


def declare_lengths(declared: dict[str, Param]) -> dict[str, Param]:
    """Declare the lengths of the columns of each matrix [rows, columns] but those that a cell starts in its own way."""
    matrices = {name: param.shape for name, param in declared.items() if is_drawn(param)}
    return {name + SUFFIX: Param(shape[1:], ones) for name, shape in matrices.items()}


def set_lengths(params: Params) -> Params:
    """Set the lengths to the norms of the columns, so that the matrices are as they were drawn."""
    lengths = {name for name in params if name.endswith(SUFFIX)}
    return {
        name: jnp.linalg.norm(params[name.removesuffix(SUFFIX)], axis=0) if name in lengths else p
        for name, p in params.items()
    }


def apply_lengths(params: Params) -> Params:
    """Return the params with matrices that have their lengths, and without these."""
    folded = {name: p for name, p in params.items() if not name.endswith(SUFFIX)}
    for name, length in params.items():
        if name.endswith(SUFFIX):
            w = folded[name.removesuffix(SUFFIX)]
            folded[name.removesuffix(SUFFIX)] = w * (length / jnp.linalg.norm(w, axis=0))[None, :]
    return folded
