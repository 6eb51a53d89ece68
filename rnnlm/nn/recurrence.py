"""The carry of a recurrence in a loop over time: reset, packed, and the recurrent matrices beside it in their dtype."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Cell, Masks, Params


class Recurrence(NamedTuple):
    """Hold the static arguments of a compiled scan: a cell, its hidden width and the dtype of its products."""

    cell: Cell
    hidden: int
    dtype: DTypeLike


def where_lanes(lanes_B: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Select x in the lanes that are set, and y in the others; arrays are [B, ...]."""
    return jnp.where(jnp.expand_dims(lanes_B, tuple(range(1, y.ndim))), x, y)


def reset(recurrence: Recurrence, carry: Carry, reset_B: jax.Array) -> Carry:
    """Replace the carry by the initial one in the lanes that are reset."""
    states = recurrence.cell.carry(recurrence.hidden).values()
    starts = [
        jnp.broadcast_to(jnp.asarray(state.start, s.dtype), s.shape) if np.any(state.start) else jnp.zeros_like(s)
        for state, s in zip(states, carry, strict=True)
    ]
    return tuple(where_lanes(reset_B, start, s) for start, s in zip(starts, carry, strict=True))


def pack(carry: Carry) -> Carry:
    """Stack arrays of one shape and dtype into [S, B, H] for the carry of a loop; `unpack` undoes it.

    XLA's CPU code updates separate [B, H] arrays in place, one number at a time: without the stack an LSTM of 512 units
    took 1.35 times as long and a GRU 1.6 times.
    """
    return (jnp.stack(carry),) if is_uniform(carry) else carry


def unpack(packed: Carry, like: Carry) -> Carry:
    """Undo `pack` of a carry with the shapes and dtypes of `like`."""
    return tuple(packed[0]) if is_uniform(like) else packed


def is_uniform(carry: Carry) -> bool:
    """Return whether all arrays of a carry have the same shape and dtype."""
    return len({(s.shape, jnp.dtype(s.dtype)) for s in carry}) == 1


def split_masks(masks_TB: Masks, time: int) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Split random masks [T or 1, B, width] into those of each step [T, B, width] and those of all, [B, width]."""
    window_masks = {name: m[0] for name, m in masks_TB.items() if len(m) != time or time == 1}
    return {name: m for name, m in masks_TB.items() if name not in window_masks}, window_masks


def cast_recurrent(recurrence: Recurrence, params: Params) -> Params:
    """Cast the recurrent matrices to the compute dtype, once for all steps."""
    names = [name for name in recurrence.cell.recurrent if name in params]
    return params | {name: params[name].astype(recurrence.dtype) for name in names}
