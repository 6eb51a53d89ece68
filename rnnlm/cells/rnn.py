"""The simple recurrent network with tanh (Elman 1990): h' = tanh(W_x x + b + W_h h)."""

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


def make_cell(options: None = None) -> Cell:
    """Make the cell, which has no options."""
    return Cell(params, vector_carry("h"), mix=mix, update=update, masks=equal_masks("state", "zoneout_h"))


def params(inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, W_h and b."""
    return {
        "W_x": Param((inputs, hidden), uniform(hidden)),
        "W_h": Param((hidden, hidden), uniform(hidden)),
        "b": Param((hidden,), zeros),
    }


def mix(u_BH: jax.Array, z_BH: jax.Array) -> jax.Array:
    """Add the projected input and the recurrent product."""
    return u_BH + z_BH


def update(vectors: Params, carry: Carry, a_BH: jax.Array, masks: Masks = NO_MASKS) -> Carry:
    """Return (h,) after one step."""
    return (zone_out(masks, "zoneout_h", carry[0], jnp.tanh(a_BH)),)
