"""A layer over time: one product for all inputs, and the scan of the recurrence with its own backward pass."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import NO_MASKS, Carry, Cell, Gates, Masks, Params, add_bias, one_step, read_gates
from rnnlm.nn.backward import back_through_steps, back_through_updates
from rnnlm.nn.recurrence import Recurrence, cast_recurrent, pack, reset, split_masks, unpack
from rnnlm.nn.replay import record
from rnnlm.product import product

Inputs = jax.Array | tuple[jax.Array, list[jax.Array]]
"""a_TBA of a cell of the update form; of the step form u_TBG and the results of its products, [T, B, ...] each."""
Residuals = tuple[Params, Carry, Inputs, jax.Array, Masks]
"""(params, carry before each step [T, B, ...], inputs, reset_TB, masks_TB)."""


def project(params: Params, x_TBD: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Project the inputs of all steps at once, u_TBG = x_TBD @ W_x; without W_x return them unchanged."""
    return product(x_TBD, params["W_x"], dtype) if "W_x" in params else x_TBD


def scan(
    cell: Cell,
    hidden: int,
    params: Params,
    carry: Carry,
    u_TBG: jax.Array,
    reset_TB: jax.Array,
    dtype: DTypeLike,
    keys_B: jax.Array | None = None,
    masks_TB: Masks = NO_MASKS,
) -> tuple[Carry, jax.Array]:
    """Run the recurrence over time: -> (carry after the last step, output h_TBH).

    `carry` holds arrays [B, ...]; where reset_TB is set, the lane's carry is replaced by the initial one before the
    step. `keys_B` holds a key for each lane, into which random cells fold the time step. `masks_TB` are the random
    masks of the steps [T, B, width], with 1 for an axis of equal ones.
    """
    recurrence = Recurrence(cell, hidden, dtype)
    recurrent = {name: p for name, p in params.items() if name != "W_x"}
    if cell.window is not None and len(u_TBG) > 1:
        return cell.window(recurrent, carry, add_bias(params, u_TBG), reset_TB, dtype)
    if cell.random or not all(jnp.issubdtype(s.dtype, jnp.inexact) for s in carry):
        return _scan_plain(recurrence, recurrent, carry, u_TBG, reset_TB, dict(masks_TB), keys_B)
    return _scan(recurrence, recurrent, carry, u_TBG, reset_TB, dict(masks_TB))


def trace(
    cell: Cell,
    hidden: int,
    params: Params,
    carry: Carry,
    u_TBG: jax.Array,
    reset_TB: jax.Array,
    dtype: DTypeLike,
    masks_TB: Masks = NO_MASKS,
) -> tuple[Carry, jax.Array, Carry, Gates]:
    """Run the recurrence as `scan` does, and record carry and gates of each step.

    Returns (carry, h_TBH, carry after each step [T, B, ...], gates by name [T, B, ...]).
    """
    recurrence = Recurrence(cell, hidden, dtype)
    step_masks, window_masks = split_masks(masks_TB, len(u_TBG))

    def step(
        carry: Carry, inputs: tuple[jax.Array, jax.Array, dict[str, jax.Array]]
    ) -> tuple[Carry, tuple[jax.Array, Carry, Gates]]:
        u_BG, reset_B, masks = inputs
        before = reset(recurrence, carry, reset_B)
        carry, h_BH, a_BA = one_step(cell, params, before, u_BG, dtype, masks=window_masks | masks)
        return carry, (h_BH, carry, read_gates(cell, params, before, u_BG, a_BA, dtype))

    carry, (h_TBH, carry_TB, gates_TB) = jax.lax.scan(step, carry, (u_TBG, reset_TB, step_masks))
    return carry, h_TBH, carry_TB, gates_TB


def _scan_plain(
    recurrence: Recurrence,
    params: Params,
    carry: Carry,
    u_TBG: jax.Array,
    reset_TB: jax.Array,
    masks_TB: Masks,
    keys_B: jax.Array | None = None,
) -> tuple[Carry, jax.Array]:
    """Run the scan without the custom VJP, for autodiff."""
    cast, (step_masks, window_masks) = cast_recurrent(recurrence, params), split_masks(masks_TB, len(u_TBG))

    def step(
        packed: Carry, inputs: tuple[jax.Array, jax.Array, jax.Array, dict[str, jax.Array]]
    ) -> tuple[Carry, jax.Array]:
        t, u_BG, reset_B, masks = inputs
        keys = None if keys_B is None else jax.vmap(jax.random.fold_in, (0, None))(keys_B, t)
        before = reset(recurrence, unpack(packed, carry), reset_B)
        after, h_BH, _ = one_step(recurrence.cell, cast, before, u_BG, recurrence.dtype, keys, window_masks | masks)
        return pack(after), h_BH

    packed, h_TBH = jax.lax.scan(step, pack(carry), (jnp.arange(len(u_TBG)), u_TBG, reset_TB, step_masks))
    return unpack(packed, carry), h_TBH


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan(
    recurrence: Recurrence, params: Params, carry: Carry, u_TBG: jax.Array, reset_TB: jax.Array, masks_TB: Masks
) -> tuple[Carry, jax.Array]:
    return _scan_plain(recurrence, params, carry, u_TBG, reset_TB, masks_TB)


def _scan_fwd(
    recurrence: Recurrence, params: Params, carry: Carry, u_TBG: jax.Array, reset_TB: jax.Array, masks_TB: Masks
) -> tuple[tuple[Carry, jax.Array], Residuals]:
    cast, (step_masks, window_masks) = cast_recurrent(recurrence, params), split_masks(masks_TB, len(u_TBG))

    def step(
        carry: Carry, inputs: tuple[jax.Array, jax.Array, dict[str, jax.Array]]
    ) -> tuple[Carry, tuple[jax.Array, Carry, jax.Array | None, list[jax.Array]]]:
        # The residual is the carry before the step; that after it would be updated in place, which is slow (`pack`).
        u_BG, reset_B, masks = inputs
        before = reset(recurrence, carry, reset_B)
        run = partial(one_step, recurrence.cell, cast, before, u_BG, recurrence.dtype, masks=window_masks | masks)
        (carry, h_BH, a_BA), _, outs = record(run)
        return carry, (h_BH, before, a_BA, outs if a_BA is None else [])

    carry, (h_TBH, before_TB, a_TBA, outs_TB) = jax.lax.scan(step, carry, (u_TBG, reset_TB, step_masks))
    return (carry, h_TBH), (params, before_TB, (u_TBG, outs_TB) if a_TBA is None else a_TBA, reset_TB, masks_TB)


def _scan_bwd(
    recurrence: Recurrence, residuals: Residuals, cotangents: tuple[Carry, jax.Array]
) -> tuple[Params, Carry, jax.Array, None, None]:
    params, before_TB, inputs_TB, reset_TB, masks_TB = residuals
    fixed = reset_TB, masks_TB
    if isinstance(inputs_TB, tuple):
        gradients = back_through_steps(recurrence, params, before_TB, inputs_TB, *fixed, *cotangents)
    else:
        gradients = back_through_updates(recurrence, params, before_TB, inputs_TB, *fixed, *cotangents)
    dparams, dcarry, du_TBG = gradients
    if "b" in params:
        dparams |= {"b": jnp.sum(du_TBG, (0, 1))}
    return dparams, dcarry, du_TBG, None, None


_scan.defvjp(_scan_fwd, _scan_bwd)
