"""The backward pass of the scan of a recurrence.

It is written out because autodiff of a scan adds an [H, G] gradient of W_h at every step. Here the reverse scan
computes only the cotangents of carries and inputs; one pass over all T*B rows then computes the gradients of the
weights. A product that a step makes by one of its params is computed once (`replay`).
"""

from functools import partial

import jax
import jax.numpy as jnp

from rnnlm.cells.cell import Carry, Masks, Params, drop, one_step, vectors_of
from rnnlm.nn.recurrence import Recurrence, cast_recurrent, split_masks, where_lanes
from rnnlm.nn.replay import record, replay, substitute
from rnnlm.product import product, weight_gradient


def back_through_updates(
    recurrence: Recurrence,
    params: Params,
    before_TB: Carry,
    a_TBA: jax.Array,
    reset_TB: jax.Array,
    masks_TB: Masks,
    dcarry: Carry,
    dh_TBH: jax.Array,
) -> tuple[Params, Carry, jax.Array]:
    """Differentiate a cell of the update form: one product a step in the reverse scan, one for W_h after it."""
    mix, update, dtype = recurrence.cell.mix, recurrence.cell.update, recurrence.dtype
    assert mix is not None and update is not None
    w, vectors, (step_masks, window_masks) = params["W_h"], vectors_of(params), split_masks(masks_TB, len(dh_TBH))
    # Transpose once: XLA on CPU would fold the transpose into the loop's product, which is then a third slower.
    transposed = jax.lax.optimization_barrier(w.mT.astype(dtype))

    def unmix(da: jax.Array) -> tuple[jax.Array, jax.Array]:
        zeros = jnp.zeros((*da.shape[:-1], w.size // w.shape[-2]), da.dtype)
        return jax.vjp(mix, zeros, zeros)[1](da)

    def step(
        d: tuple[Carry, Params, jax.Array], inputs: tuple[jax.Array, jax.Array, Carry, jax.Array, dict[str, jax.Array]]
    ) -> tuple[tuple[Carry, Params, jax.Array], None]:
        dcarry, dvectors, a_TBA = d
        t, dh_BH, before, reset_B, masks_of_step = inputs
        masks = window_masks | masks_of_step
        dcarry = (dcarry[0] + dh_BH, *dcarry[1:])
        forward = partial(update, masks=masks) if masks else update
        step_dvectors, dbefore, da_BA = jax.vjp(forward, vectors, before, a_TBA[t])[1](dcarry)
        _, dz_BG = unmix(da_BA)
        dread_BH = product(dz_BG, transposed, dtype)
        dbefore = (dbefore[0] + drop(masks, "state", dread_BH), *dbefore[1:])
        # Overwrite the pre-activation, which is not needed again, by its cotangent: no new array is allocated.
        a_TBA = jax.lax.dynamic_update_index_in_dim(a_TBA, da_BA, t, 0)
        return (block_reset(dbefore, reset_B), jax.tree.map(jnp.add, dvectors, step_dvectors), a_TBA), None

    start = (dcarry, jax.tree.map(jnp.zeros_like, vectors), a_TBA)
    steps = (jnp.arange(len(dh_TBH)), dh_TBH, before_TB, reset_TB, step_masks)
    (dcarry, dvectors, da_TBA), _ = jax.lax.scan(step, start, steps, reverse=True)
    du_TBG, dz_TBG = unmix(da_TBA)
    dw = weight_gradient(drop(masks_TB, "state", before_TB[0]), w, dz_TBG, dtype)
    return dvectors | {"W_h": dw}, dcarry, du_TBG


def back_through_steps(
    recurrence: Recurrence,
    params: Params,
    before_TB: Carry,
    inputs_TB: tuple[jax.Array, list[jax.Array]],
    reset_TB: jax.Array,
    masks_TB: Masks,
    dcarry: Carry,
    dh_TBH: jax.Array,
) -> tuple[Params, Carry, jax.Array]:
    """Differentiate any cell: the reverse scan stores each step's cotangents, and one VJP of the params follows it."""

    def run(params: Params, before: Carry, u_BG: jax.Array, masks: Masks) -> tuple[Carry, jax.Array]:
        return one_step(recurrence.cell, params, before, u_BG, recurrence.dtype, masks=masks)[:2]

    u_TBG, outs_TB = inputs_TB
    step_masks, window_masks = split_masks(masks_TB, len(u_TBG))
    cast = cast_recurrent(recurrence, params)
    # Transposed once, as in back_through_updates.
    transposed = jax.lax.optimization_barrier({name: p.mT for name, p in cast.items() if p.ndim > 1})
    first = jax.tree.map(lambda x: x[0], (before_TB, u_TBG, masks_TB))
    xs = jax.eval_shape(lambda *args: record(run, *args)[1], cast, *first)

    def step(
        dcarry: Carry, inputs: tuple[jax.Array, Carry, jax.Array, list[jax.Array], jax.Array, dict[str, jax.Array]]
    ) -> tuple[Carry, tuple[Carry, jax.Array, list[jax.Array]]]:
        dh_BH, before, u_BG, outs, reset_B, masks = inputs
        taps = [jnp.zeros(x.shape, x.dtype) for x in xs]

        def forward(before: Carry, u_BG: jax.Array, taps: list[jax.Array]) -> tuple[Carry, jax.Array]:
            return replay(outs, taps, run, cast, transposed, before, u_BG, window_masks | masks)

        dbefore, du_BG, dxs = jax.vjp(forward, before, u_BG, taps)[1]((dcarry, dh_BH))
        return block_reset(dbefore, reset_B), (dcarry, du_BG, dxs)

    steps = (dh_TBH, before_TB, u_TBG, outs_TB, reset_TB, step_masks)
    dstart, (dcarry_TB, du_TBG, dxs_TB) = jax.lax.scan(step, dcarry, steps, reverse=True)
    masks_TB = {name: jnp.broadcast_to(m, (*reset_TB.shape, m.shape[-1])) for name, m in masks_TB.items()}
    rows = (before_TB, u_TBG, outs_TB, dxs_TB, (dcarry_TB, dh_TBH), masks_TB)
    before, u, outs, dxs, d, masks = jax.tree.map(join_rows, rows)
    (dparams,) = jax.vjp(lambda p: substitute(outs, dxs, run, p, before, u, masks), params)[1](d)
    return dparams, dstart, du_TBG


def block_reset(dcarry: Carry, reset_B: jax.Array) -> Carry:
    """Return the cotangent of a carry before its reset: zero in the lanes that were reset."""
    return tuple(where_lanes(reset_B, jnp.zeros_like(d), d) for d in dcarry)


def join_rows(x: jax.Array) -> jax.Array:
    """Join time and lanes: [T, B, ...] -> [T * B, ...]."""
    return x.reshape(-1, *x.shape[2:])
