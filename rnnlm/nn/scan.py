"""A layer over time: one product for all inputs, the scan of the recurrence, and the scan's backward pass.

The backward pass is written out, because differentiating a scan adds a whole [H, G] gradient of W_h at every step.
Here the reverse scan makes only the cotangents of what each step read, and one pass over all T*B rows makes the
weights' gradient after it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import Carry, Cell, Params
from rnnlm.product import flat, product


@jax.custom_vjp
def embed(table_VG: jax.Array, x_TB: jax.Array) -> jax.Array:
    """The table's row of each symbol, [T, B, G]: what a product with one-hot vectors would give."""
    return table_VG.at[x_TB].get(mode="promise_in_bounds")


def _embed_fwd(table_VG: jax.Array, x_TB: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return embed(table_VG, x_TB), (x_TB, table_VG)


def _embed_bwd(residuals: tuple[jax.Array, jax.Array], d_TBG: jax.Array) -> tuple[jax.Array, None]:
    x_TB, table_VG = residuals
    # Adding row by row is a third of the product's work on a CPU. Elsewhere its order, and so its sum, would vary.
    ways = {"cpu": partial(segment_sum, len(table_VG)), "default": partial(one_hot_matmul, len(table_VG))}
    return jax.lax.platform_dependent(x_TB.reshape(-1), flat(d_TBG), **ways), None


def segment_sum(vocab: int, x_N: jax.Array, d_NG: jax.Array) -> jax.Array:
    """The sum [V, G] of the rows d_NG of each symbol."""
    return jnp.zeros((vocab, d_NG.shape[1]), d_NG.dtype).at[x_N].add(d_NG, mode="promise_in_bounds")


def one_hot_matmul(vocab: int, x_N: jax.Array, d_NG: jax.Array) -> jax.Array:
    """The same as a product."""
    return jnp.dot(jax.nn.one_hot(x_N, vocab, dtype=d_NG.dtype).T, d_NG, precision=jax.lax.Precision.HIGHEST)


embed.defvjp(_embed_fwd, _embed_bwd)


def project(params: Params, x_TBD: jax.Array, dtype: DTypeLike) -> jax.Array:
    """The input's part of every gate at every step but for the bias, u_TBG = x_TBD @ W_x."""
    return product(x_TBD, params["W_x"], dtype)


def reset(carry: Carry, fresh_B: jax.Array) -> Carry:
    """Zero in the lanes that start afresh."""
    return tuple(jnp.where(fresh_B[:, None], jnp.zeros_like(s), s) for s in carry)


def stack(carry: Carry) -> jax.Array:
    """The carry as one array [states, B, H] for a loop to hold; `tuple` undoes it.

    XLA's CPU code would update the [B, H] arrays themselves in place, and does so one number at a time: without this,
    an LSTM of 512 units took 1.35 times as long and a GRU 1.6 times.
    """
    return jnp.stack(carry)


def scan(
    cell: Cell, params: Params, carry: Carry, u_TBG: jax.Array, fresh_TB: jax.Array, dtype: DTypeLike
) -> tuple[Carry, jax.Array]:
    """Run the recurrence over time: -> (carry after the last step, h_TBH).

    `carry` holds [B, H] arrays; where fresh_TB is set the lane's carry is zeroed before that step.
    """
    recurrent = {name: p for name, p in params.items() if name != "W_x"}
    return _scan(cell, dtype, recurrent, carry, u_TBG, fresh_TB)


def one_step(cell: Cell, params: Params, before: Carry, u_BG: jax.Array, dtype: DTypeLike) -> tuple[Carry, jax.Array]:
    """-> (the carry after one step, what its backward pass needs to know besides the carry before it)."""
    if cell.step is not None:
        return cell.step(params, before, u_BG + params["b"][None, :], dtype), u_BG
    assert cell.mix is not None and cell.update is not None
    a_BA = cell.mix(u_BG + params["b"][None, :], product(before[0], params["W_h"], dtype))
    return cell.update(params, before, a_BA), a_BA


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan(
    cell: Cell, dtype: DTypeLike, params: Params, carry: Carry, u_TBG: jax.Array, fresh_TB: jax.Array
) -> tuple[Carry, jax.Array]:
    cast = params | {"W_h": params["W_h"].astype(dtype)}  # once, not at each step

    def step(carry_SBH: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        carry, _ = one_step(cell, cast, reset(tuple(carry_SBH), now[1]), now[0], dtype)
        return stack(carry), carry[0]

    carry_SBH, h_TBH = jax.lax.scan(step, stack(carry), (u_TBG, fresh_TB))
    return tuple(carry_SBH), h_TBH


def _scan_fwd(
    cell: Cell, dtype: DTypeLike, params: Params, carry: Carry, u_TBG: jax.Array, fresh_TB: jax.Array
) -> tuple[tuple[Carry, jax.Array], Any]:
    cast = params | {"W_h": params["W_h"].astype(dtype)}  # once, not at each step

    def step(carry: Carry, now: tuple[jax.Array, jax.Array]) -> tuple[Carry, Any]:
        # The residual is the carry before the step, not the one after it, so that it is not updated in place.
        before = reset(carry, now[1])
        carry, residuals = one_step(cell, cast, before, now[0], dtype)
        return carry, (carry[0], before, residuals)

    carry, (h_TBH, before_TBH, residuals_TB) = jax.lax.scan(step, carry, (u_TBG, fresh_TB))
    return (carry, h_TBH), (params, before_TBH, residuals_TB, fresh_TB)


def _scan_bwd(
    cell: Cell, dtype: DTypeLike, residuals: Any, cotangents: tuple[Carry, jax.Array]
) -> tuple[Params, Carry, jax.Array, None]:
    back = _back_through_updates if cell.step is None else _back_through_steps
    params, before_TBH, residuals_TB, fresh_TB = residuals
    dparams, dcarry, du_TBG = back(cell, dtype, params, before_TBH, residuals_TB, fresh_TB, *cotangents)
    return dparams | {"b": jnp.sum(du_TBG, (0, 1))}, dcarry, du_TBG, None


_scan.defvjp(_scan_fwd, _scan_bwd)


def _back_through_updates(
    cell: Cell,
    dtype: DTypeLike,
    params: Params,
    before_TBH: Carry,
    a_TBA: jax.Array,
    fresh_TB: jax.Array,
    dcarry: Carry,
    dh_TBH: jax.Array,
) -> tuple[Params, Carry, jax.Array]:
    """For cells of one product: its gradient is one product, too, and the reverse scan holds one more."""
    assert cell.mix is not None and cell.update is not None
    mix, update = cell.mix, cell.update
    w_HG = params["W_h"]
    vectors = {name: p for name, p in params.items() if name not in ("W_h", "b")}
    # Transposed once: XLA on CPU would fold it into the loop's product, which is then a third slower.
    w_GH = jax.lax.optimization_barrier(w_HG.T.astype(dtype))

    def unmix(da: jax.Array) -> tuple[jax.Array, jax.Array]:
        zeros = jnp.zeros((*da.shape[:-1], w_HG.shape[-1]), da.dtype)
        return jax.vjp(mix, zeros, zeros)[1](da)

    def step(d: tuple[Carry, Params, jax.Array], now: Any) -> tuple[tuple[Carry, Params, jax.Array], None]:
        dcarry, dvectors, a_TBA = d
        t, dh_BH, before, fresh_B = now
        dcarry = (dcarry[0] + dh_BH, *dcarry[1:])
        more, dbefore, da_BA = jax.vjp(update, vectors, before, a_TBA[t])[1](dcarry)
        _, dz_BG = unmix(da_BA)
        dbefore = (dbefore[0] + product(dz_BG, w_GH, dtype), *dbefore[1:])
        # A pre-activation is not needed again: its cotangent takes its place, and no new array is filled.
        a_TBA = jax.lax.dynamic_update_index_in_dim(a_TBA, da_BA, t, 0)
        return (reset(dbefore, fresh_B), jax.tree.map(jnp.add, dvectors, more), a_TBA), None

    start = (dcarry, jax.tree.map(jnp.zeros_like, vectors), a_TBA)
    steps = (jnp.arange(len(dh_TBH)), dh_TBH, before_TBH, fresh_TB)
    (dcarry, dvectors, da_TBA), _ = jax.lax.scan(step, start, steps, reverse=True)
    du_TBG, dz_TBG = unmix(da_TBA)
    dw_HG = product(flat(before_TBH[0]).T, flat(dz_TBG), dtype)
    return dvectors | {"W_h": dw_HG}, dcarry, du_TBG


def _back_through_steps(
    cell: Cell,
    dtype: DTypeLike,
    params: Params,
    before_TBH: Carry,
    u_TBG: jax.Array,
    fresh_TB: jax.Array,
    dcarry: Carry,
    dh_TBH: jax.Array,
) -> tuple[Params, Carry, jax.Array]:
    """For any cell: the reverse scan keeps each step's cotangent; from these, all rows at once give the params'."""

    def run(params: Params, before: Carry, u_BG: jax.Array) -> Carry:
        return one_step(cell, params, before, u_BG, dtype)[0]

    def step(dcarry: Carry, now: Any) -> tuple[Carry, tuple[Carry, jax.Array]]:
        dh_BH, before, u_BG, fresh_B = now
        dcarry = (dcarry[0] + dh_BH, *dcarry[1:])
        dbefore, du_BG = jax.vjp(partial(run, params), before, u_BG)[1](dcarry)
        return reset(dbefore, fresh_B), (dcarry, du_BG)

    start, (dcarry_TBH, du_TBG) = jax.lax.scan(step, dcarry, (dh_TBH, before_TBH, u_TBG, fresh_TB), reverse=True)
    before, u, d = jax.tree.map(flat, (before_TBH, u_TBG, dcarry_TBH))
    (dparams,) = jax.vjp(lambda p: run(p, before, u), params)[1](d)
    return dparams, start, du_TBG
