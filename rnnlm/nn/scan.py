"""A layer over time: one product for all inputs, the scan of the recurrence, and the scan's backward pass.

The backward pass is written out because autodiff of a scan adds an [H, G] gradient of W_h at every step. Here the
reverse scan computes only the cotangents of carries and inputs; one pass over all T*B rows then computes the gradients
of the weights. A product that a step makes by one of its params is computed once (`replay`).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Cell, Gates, Params, add_bias, one_step, read_gates, vectors_of
from rnnlm.nn.replay import record, replay, substitute
from rnnlm.product import product, weight_gradient

Inputs = jax.Array | tuple[jax.Array, list[jax.Array]]
"""a_TBA of a cell of the update form; of the step form u_TBG and the results of its products, [T, B, ...] each."""
Residuals = tuple[Params, Carry, Inputs, jax.Array]
"""(params, carry before each step [T, B, ...], inputs, reset_TB)."""


class Recurrence(NamedTuple):
    """Hold the static arguments of a compiled scan: a cell, its hidden width and the dtype of its products."""

    cell: Cell
    hidden: int
    dtype: DTypeLike


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
) -> tuple[Carry, jax.Array]:
    """Run the recurrence over time: -> (carry after the last step, output h_TBH).

    `carry` holds arrays [B, ...]; where reset_TB is set, the lane's carry is replaced by the initial one before the
    step. `keys_B` holds a key for each lane, into which random cells fold the time step.
    """
    recurrence = Recurrence(cell, hidden, dtype)
    recurrent = {name: p for name, p in params.items() if name != "W_x"}
    if cell.window is not None and len(u_TBG) > 1:
        return cell.window(recurrent, carry, add_bias(params, u_TBG), reset_TB, dtype)
    if cell.random or not all(jnp.issubdtype(s.dtype, jnp.inexact) for s in carry):
        return _scan_plain(recurrence, recurrent, carry, u_TBG, reset_TB, keys_B)
    return _scan(recurrence, recurrent, carry, u_TBG, reset_TB)


def trace(
    cell: Cell, hidden: int, params: Params, carry: Carry, u_TBG: jax.Array, reset_TB: jax.Array, dtype: DTypeLike
) -> tuple[Carry, jax.Array, Carry, Gates]:
    """Run the recurrence as `scan` does, and record carry and gates of each step.

    Returns (carry, h_TBH, carry after each step [T, B, ...], gates by name [T, B, ...]).
    """
    recurrence = Recurrence(cell, hidden, dtype)

    def step(carry: Carry, inputs: tuple[jax.Array, jax.Array]) -> tuple[Carry, tuple[jax.Array, Carry, Gates]]:
        before = reset(recurrence, carry, inputs[1])
        carry, h_BH, a_BA = one_step(cell, params, before, inputs[0], dtype)
        return carry, (h_BH, carry, read_gates(cell, params, before, inputs[0], a_BA, dtype))

    carry, (h_TBH, carry_TB, gates_TB) = jax.lax.scan(step, carry, (u_TBG, reset_TB))
    return carry, h_TBH, carry_TB, gates_TB


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


def block_reset(dcarry: Carry, reset_B: jax.Array) -> Carry:
    """Return the cotangent of a carry before its reset: zero in the lanes that were reset."""
    return tuple(where_lanes(reset_B, jnp.zeros_like(d), d) for d in dcarry)


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


def cast_recurrent(recurrence: Recurrence, params: Params) -> Params:
    """Cast the recurrent matrices to the compute dtype, once for all steps."""
    names = [name for name in recurrence.cell.recurrent if name in params]
    return params | {name: params[name].astype(recurrence.dtype) for name in names}


def _scan_plain(
    recurrence: Recurrence,
    params: Params,
    carry: Carry,
    u_TBG: jax.Array,
    reset_TB: jax.Array,
    keys_B: jax.Array | None = None,
) -> tuple[Carry, jax.Array]:
    """Run the scan without the custom VJP, for autodiff."""
    cast = cast_recurrent(recurrence, params)

    def step(packed: Carry, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Carry, jax.Array]:
        t, u_BG, reset_B = inputs
        keys = None if keys_B is None else jax.vmap(jax.random.fold_in, (0, None))(keys_B, t)
        before = reset(recurrence, unpack(packed, carry), reset_B)
        after, h_BH, _ = one_step(recurrence.cell, cast, before, u_BG, recurrence.dtype, keys)
        return pack(after), h_BH

    packed, h_TBH = jax.lax.scan(step, pack(carry), (jnp.arange(len(u_TBG)), u_TBG, reset_TB))
    return unpack(packed, carry), h_TBH


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan(
    recurrence: Recurrence, params: Params, carry: Carry, u_TBG: jax.Array, reset_TB: jax.Array
) -> tuple[Carry, jax.Array]:
    cast = cast_recurrent(recurrence, params)

    def step(packed: Carry, inputs: tuple[jax.Array, jax.Array]) -> tuple[Carry, jax.Array]:
        before = reset(recurrence, unpack(packed, carry), inputs[1])
        after, h_BH, _ = one_step(recurrence.cell, cast, before, inputs[0], recurrence.dtype)
        return pack(after), h_BH

    packed, h_TBH = jax.lax.scan(step, pack(carry), (u_TBG, reset_TB))
    return unpack(packed, carry), h_TBH


def _scan_fwd(
    recurrence: Recurrence, params: Params, carry: Carry, u_TBG: jax.Array, reset_TB: jax.Array
) -> tuple[tuple[Carry, jax.Array], Residuals]:
    cast = cast_recurrent(recurrence, params)

    def step(
        carry: Carry, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[Carry, tuple[jax.Array, Carry, jax.Array | None, list[jax.Array]]]:
        # The residual is the carry before the step; that after it would be updated in place, which is slow (`pack`).
        before = reset(recurrence, carry, inputs[1])
        run = partial(one_step, recurrence.cell, cast, before, inputs[0], recurrence.dtype)
        (carry, h_BH, a_BA), _, outs = record(run)
        return carry, (h_BH, before, a_BA, outs if a_BA is None else [])

    carry, (h_TBH, before_TB, a_TBA, outs_TB) = jax.lax.scan(step, carry, (u_TBG, reset_TB))
    return (carry, h_TBH), (params, before_TB, (u_TBG, outs_TB) if a_TBA is None else a_TBA, reset_TB)


def _scan_bwd(
    recurrence: Recurrence, residuals: Residuals, cotangents: tuple[Carry, jax.Array]
) -> tuple[Params, Carry, jax.Array, None]:
    params, before_TB, inputs_TB, reset_TB = residuals
    if isinstance(inputs_TB, tuple):
        gradients = _back_through_steps(recurrence, params, before_TB, inputs_TB, reset_TB, *cotangents)
    else:
        gradients = _back_through_updates(recurrence, params, before_TB, inputs_TB, reset_TB, *cotangents)
    dparams, dcarry, du_TBG = gradients
    if "b" in params:
        dparams |= {"b": jnp.sum(du_TBG, (0, 1))}
    return dparams, dcarry, du_TBG, None


_scan.defvjp(_scan_fwd, _scan_bwd)


def _back_through_updates(
    recurrence: Recurrence,
    params: Params,
    before_TB: Carry,
    a_TBA: jax.Array,
    reset_TB: jax.Array,
    dcarry: Carry,
    dh_TBH: jax.Array,
) -> tuple[Params, Carry, jax.Array]:
    """Differentiate a cell of the update form: one product a step in the reverse scan, one for W_h after it."""
    mix, update, dtype = recurrence.cell.mix, recurrence.cell.update, recurrence.dtype
    assert mix is not None and update is not None
    w, vectors = params["W_h"], vectors_of(params)
    # Transpose once: XLA on CPU would fold the transpose into the loop's product, which is then a third slower.
    transposed = jax.lax.optimization_barrier(w.mT.astype(dtype))

    def unmix(da: jax.Array) -> tuple[jax.Array, jax.Array]:
        zeros = jnp.zeros((*da.shape[:-1], w.size // w.shape[-2]), da.dtype)
        return jax.vjp(mix, zeros, zeros)[1](da)

    def step(
        d: tuple[Carry, Params, jax.Array], inputs: tuple[jax.Array, jax.Array, Carry, jax.Array]
    ) -> tuple[tuple[Carry, Params, jax.Array], None]:
        dcarry, dvectors, a_TBA = d
        t, dh_BH, before, reset_B = inputs
        dcarry = (dcarry[0] + dh_BH, *dcarry[1:])
        step_dvectors, dbefore, da_BA = jax.vjp(update, vectors, before, a_TBA[t])[1](dcarry)
        _, dz_BG = unmix(da_BA)
        dbefore = (dbefore[0] + product(dz_BG, transposed, dtype), *dbefore[1:])
        # Overwrite the pre-activation, which is not needed again, by its cotangent: no new array is allocated.
        a_TBA = jax.lax.dynamic_update_index_in_dim(a_TBA, da_BA, t, 0)
        return (block_reset(dbefore, reset_B), jax.tree.map(jnp.add, dvectors, step_dvectors), a_TBA), None

    start = (dcarry, jax.tree.map(jnp.zeros_like, vectors), a_TBA)
    steps = (jnp.arange(len(dh_TBH)), dh_TBH, before_TB, reset_TB)
    (dcarry, dvectors, da_TBA), _ = jax.lax.scan(step, start, steps, reverse=True)
    du_TBG, dz_TBG = unmix(da_TBA)
    dw = weight_gradient(before_TB[0], w, dz_TBG, dtype)
    return dvectors | {"W_h": dw}, dcarry, du_TBG


def _back_through_steps(
    recurrence: Recurrence,
    params: Params,
    before_TB: Carry,
    inputs_TB: tuple[jax.Array, list[jax.Array]],
    reset_TB: jax.Array,
    dcarry: Carry,
    dh_TBH: jax.Array,
) -> tuple[Params, Carry, jax.Array]:
    """Differentiate any cell: the reverse scan stores each step's cotangents, and one VJP of the params follows it."""

    def run(params: Params, before: Carry, u_BG: jax.Array) -> tuple[Carry, jax.Array]:
        return one_step(recurrence.cell, params, before, u_BG, recurrence.dtype)[:2]

    u_TBG, outs_TB = inputs_TB
    cast = cast_recurrent(recurrence, params)
    # Transposed once, as in _back_through_updates.
    transposed = jax.lax.optimization_barrier({name: p.mT for name, p in cast.items() if p.ndim > 1})
    first = jax.tree.map(lambda x: x[0], (before_TB, u_TBG))
    xs = jax.eval_shape(lambda *args: record(run, *args)[1], cast, *first)

    def step(
        dcarry: Carry, inputs: tuple[jax.Array, Carry, jax.Array, list[jax.Array], jax.Array]
    ) -> tuple[Carry, tuple[Carry, jax.Array, list[jax.Array]]]:
        dh_BH, before, u_BG, outs, reset_B = inputs
        taps = [jnp.zeros(x.shape, x.dtype) for x in xs]

        def again(before: Carry, u_BG: jax.Array, taps: list[jax.Array]) -> tuple[Carry, jax.Array]:
            return replay(outs, taps, run, cast, transposed, before, u_BG)

        dbefore, du_BG, dxs = jax.vjp(again, before, u_BG, taps)[1]((dcarry, dh_BH))
        return block_reset(dbefore, reset_B), (dcarry, du_BG, dxs)

    steps = (dh_TBH, before_TB, u_TBG, outs_TB, reset_TB)
    dstart, (dcarry_TB, du_TBG, dxs_TB) = jax.lax.scan(step, dcarry, steps, reverse=True)
    before, u, outs, dxs, d = jax.tree.map(join_rows, (before_TB, u_TBG, outs_TB, dxs_TB, (dcarry_TB, dh_TBH)))
    (dparams,) = jax.vjp(lambda p: substitute(outs, dxs, run, p, before, u), params)[1](d)
    return dparams, dstart, du_TBG


def join_rows(x: jax.Array) -> jax.Array:
    """Join time and lanes: [T, B, ...] -> [T * B, ...]."""
    return x.reshape(-1, *x.shape[2:])
