"""Gated recurrent units, gate order r, z, n, in two forms.

h' = (1 - z) n + z h. `gru` applies the reset gate after the recurrent product, as cuDNN and PyTorch do:
  n = tanh(u_n + r (h @ W_n + b_n))
`gru_before` applies it before the product, as Cho et al. 2014, Chung et al. 2014 and char-rnn do:
  n = tanh(u_n + (r h) @ W_n)
"""

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
    zeros,
    zone_out,
)
from rnnlm.product import product

masks = equal_masks("state", "candidate", "zoneout_h")
"""H -> the widths of the random masks of a step."""


def make_cell(options: None = None) -> Cell:
    """Make the cell `gru`, which has no options."""
    return Cell(params, vector_carry("h"), mix=mix, update=update, gates=gates, masks=masks)


def make_cell_before(options: None = None) -> Cell:
    """Make the cell `gru_before`, which has no options."""
    return Cell(params_before, vector_carry("h"), step=step_before, gates=gates_before, masks=masks)


def params_before(inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, W_h and b of `gru_before`."""
    return {
        "W_x": Param((inputs, 3 * hidden), uniform(hidden)),
        "W_h": Param((hidden, 3 * hidden), uniform(hidden)),
        "b": Param((3 * hidden,), zeros),
    }


def params(inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, W_h, b, and b_h, the bias of the recurrent product, which the reset gate scales."""
    return params_before(inputs, hidden) | {"b_h": Param((3 * hidden,), zeros)}


def mix(u_BG: jax.Array, z_BG: jax.Array) -> jax.Array:
    """Add u and z for the gates r and z; concatenate those of n, which the reset gate scales differently: A = 4 H."""
    hidden = u_BG.shape[-1] // 3
    gates = u_BG[..., : 2 * hidden] + z_BG[..., : 2 * hidden]
    return jnp.concatenate([gates, u_BG[..., 2 * hidden :], z_BG[..., 2 * hidden :]], axis=-1)


def gates(vectors: Params, carry: Carry, a_BA: jax.Array) -> Gates:
    """Return the activations of the gates."""
    b_r, b_z, b_n = jnp.split(vectors["b_h"][None, :], 3, axis=-1)
    r, z, u_n, z_n = jnp.split(a_BA, 4, axis=-1)
    r = jax.nn.sigmoid(r + b_r)
    n = jnp.tanh(u_n + r * (z_n + b_n))
    return {"r": r, "z": jax.nn.sigmoid(z + b_z), "n": n}


def update(vectors: Params, carry: Carry, a_BA: jax.Array, masks: Masks = NO_MASKS) -> Carry:
    """Return (h,) after one step."""
    return (interpolate(gates(vectors, carry, a_BA), carry[0], masks),)


def interpolate(gate: Gates, h_BH: jax.Array, masks: Masks) -> jax.Array:
    """Return h after a step, from its gates."""
    after_BH = (1 - gate["z"]) * drop(masks, "candidate", gate["n"]) + gate["z"] * h_BH
    return zone_out(masks, "zoneout_h", h_BH, after_BH)


def gates_before(params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS) -> Gates:
    """Return the activations of the gates of `gru_before`."""
    h_BH = drop(masks, "state", carry[0])
    hidden = h_BH.shape[-1]
    w_HG = params["W_h"]
    rz = jax.nn.sigmoid(u_BG[:, : 2 * hidden] + product(h_BH, w_HG[:, : 2 * hidden], dtype))
    r, z = jnp.split(rz, 2, axis=-1)
    n = jnp.tanh(u_BG[:, 2 * hidden :] + product(r * h_BH, w_HG[:, 2 * hidden :], dtype))
    return {"r": r, "z": z, "n": n}


def step_before(params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS) -> Carry:
    """Return (h,) after one step of `gru_before`."""
    return (interpolate(gates_before(params, carry, u_BG, dtype, masks), carry[0], masks),)
