"""The recurrent highway network (Zilly et al. 2017, equations 6 to 9): several highway layers in each time step.

For l = 1 ... recurrence_depth, of which the first also reads the input:
  n = tanh(W_n x + s R_n + b_n),  t = sigmoid(W_t x + s R_t + b_t),  s <- t n + k s,
with k = 1 - t where the gates are coupled, else a carry gate k = sigmoid(W_k x + s R_k + b_k).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import (
    NO_MASKS,
    Carry,
    Cell,
    Gates,
    Masks,
    Param,
    Params,
    drop,
    equal_masks,
    uniform,
    vector_carry,
)
from rnnlm.options import RHNOptions
from rnnlm.product import product


def make_cell(options: RHNOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        vector_carry("h"),
        step=partial(step, options),
        gates=partial(gates, options),
        recurrent=tuple(f"R_{i}" for i in range(options.recurrence_depth)),
        masks=equal_masks("state"),
    )


def params(options: RHNOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, and R_l and bias_l of each highway layer; the transform gates start almost closed."""
    starts = [0.0, options.transform_bias] + ([] if options.coupled else [-options.transform_bias])
    width = len(starts) * hidden

    def bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.repeat(jnp.array(starts), hidden)

    declared = {"W_x": Param((inputs, width), uniform(hidden))}
    for i in range(options.recurrence_depth):
        declared[f"R_{i}"] = Param((hidden, width), uniform(hidden))
        declared[f"bias_{i}"] = Param((width,), bias)
    return declared


def run(
    options: RHNOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS
) -> tuple[jax.Array, Gates]:
    """Run the highway layers of a time step, which share a mask: -> (h_BH, gates of the last one)."""
    s_BH, gate = carry[0], {}
    for i in range(options.recurrence_depth):
        a_BG = product(drop(masks, "state", s_BH), params[f"R_{i}"], dtype) + params[f"bias_{i}"][None, :]
        n, t, *k = jnp.split(a_BG + u_BG if i == 0 else a_BG, 2 if options.coupled else 3, axis=-1)
        gate = {"n": jnp.tanh(n), "t": jax.nn.sigmoid(t)}
        gate["k"] = 1 - gate["t"] if options.coupled else jax.nn.sigmoid(k[0])
        s_BH = gate["t"] * gate["n"] + gate["k"] * s_BH
    return s_BH, gate


def gates(options: RHNOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates of the last highway layer."""
    return run(options, params, carry, u_BG, dtype)[1]


def step(
    options: RHNOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS
) -> Carry:
    """Return (h,) after one step."""
    return (run(options, params, carry, u_BG, dtype, masks)[0],)
