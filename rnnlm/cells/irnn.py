"""The IRNN (Le et al. 2015): h' = relu(W_x x + b + W_h h), where W_h starts as a multiple of the identity."""

from functools import partial

import jax
import jax.numpy as jnp

from rnnlm.cells.cell import (
    NO_MASKS,
    Carry,
    Cell,
    Masks,
    Param,
    Params,
    equal_masks,
    uniform,
    vector_carry,
    zeros,
    zone_out,
)
from rnnlm.cells.rnn import mix
from rnnlm.options import IRNNOptions


def make_cell(options: IRNNOptions) -> Cell:
    """Make the cell with the given options."""
    masks = equal_masks("state", "zoneout_h")
    return Cell(partial(params, options), vector_carry("h"), mix=mix, update=update, masks=masks)


def params(options: IRNNOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, W_h and b."""

    def identity(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return options.scale * jnp.eye(hidden)

    return {
        "W_x": Param((inputs, hidden), uniform(hidden)),
        "W_h": Param((hidden, hidden), identity),
        "b": Param((hidden,), zeros),
    }


def update(vectors: Params, carry: Carry, a_BH: jax.Array, masks: Masks = NO_MASKS) -> Carry:
    """Return (h,) after one step."""
    return (zone_out(masks, "zoneout_h", carry[0], jax.nn.relu(a_BH)),)
