"""A layer over time: one product for all inputs, the scan of the recurrence, and the scan's backward pass.

The backward pass of the `mix`/`update` cells is written out, because differentiating a scan adds a whole [H, G]
gradient of W_h at every step. Here the reverse scan makes only the cotangents of the pre-activations, and one product
over all T*B rows makes the weights' gradient after it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import Carry, Cell, Params


def product(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
    """x @ w with operands in `dtype`, summed and returned in the dtype of w; leading axes of x are flattened."""
    rows = x.reshape(-1, x.shape[-1]).astype(dtype)
    out = jnp.dot(rows, w.astype(dtype), preferred_element_type=w.dtype)
    return out.reshape(*x.shape[:-1], w.shape[-1])


def project(params: Params, x_TBD: jax.Array, dtype: DTypeLike) -> jax.Array:
    """The input's part of every gate at every step, u_TBG = x_TBD @ W_x + b."""
    return product(x_TBD, params["W_x"], dtype) + params["b"][None, None, :]


def reset(carry: Carry, fresh_B: jax.Array) -> Carry:
    """Zero in the lanes that start afresh."""
    return tuple(jnp.where(fresh_B[:, None], jnp.zeros_like(s), s) for s in carry)


def scan(
    cell: Cell, params: Params, carry: Carry, u_TBG: jax.Array, fresh_TB: jax.Array, dtype: DTypeLike
) -> tuple[Carry, jax.Array]:
    """Run the recurrence over time: -> (carry after the last step, h_TBH).

    `carry` holds [B, H] arrays; where fresh_TB is set the lane's carry is zeroed before that step.
    """
    if cell.update is None:
        return scan_steps(cell, params, carry, u_TBG, fresh_TB, dtype)
    bias = {name: p for name, p in params.items() if name not in ("W_x", "W_h", "b")}
    return _scan(cell, dtype, params["W_h"], bias, carry, u_TBG, fresh_TB)


def scan_steps(
    cell: Cell, params: Params, carry: Carry, u_TBG: jax.Array, fresh_TB: jax.Array, dtype: DTypeLike
) -> tuple[Carry, jax.Array]:
    """The same by the definition, differentiated by jax: what `scan` must agree with."""

    def step(carry: Carry, now: tuple[jax.Array, jax.Array]) -> tuple[Carry, jax.Array]:
        u_BG, fresh_B = now
        carry = reset(carry, fresh_B)
        if cell.step is not None:
            carry = cell.step(params, carry, u_BG, dtype)
        else:
            assert cell.mix is not None and cell.update is not None
            carry = cell.update(params, carry, cell.mix(u_BG, product(carry[0], params["W_h"], dtype)))
        return carry, carry[0]

    return jax.lax.scan(step, carry, (u_TBG, fresh_TB))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan(
    cell: Cell,
    dtype: DTypeLike,
    w_HG: jax.Array,
    bias: Params,
    carry: Carry,
    u_TBG: jax.Array,
    fresh_TB: jax.Array,
) -> tuple[Carry, jax.Array]:
    return scan_steps(cell, bias | {"W_h": w_HG}, carry, u_TBG, fresh_TB, dtype)


def _scan_fwd(
    cell: Cell,
    dtype: DTypeLike,
    w_HG: jax.Array,
    bias: Params,
    carry: Carry,
    u_TBG: jax.Array,
    fresh_TB: jax.Array,
) -> tuple[tuple[Carry, jax.Array], Any]:
    assert cell.mix is not None and cell.update is not None
    mix, update = cell.mix, cell.update

    def step(carry: Carry, now: tuple[jax.Array, jax.Array]) -> tuple[Carry, Any]:
        u_BG, fresh_B = now
        before = reset(carry, fresh_B)
        a_BA = mix(u_BG, product(before[0], w_HG, dtype))
        carry = update(bias, before, a_BA)
        return carry, (carry[0], before, a_BA)

    carry, (h_TBH, before_TBH, a_TBA) = jax.lax.scan(step, carry, (u_TBG, fresh_TB))
    return (carry, h_TBH), (w_HG, bias, before_TBH, a_TBA, fresh_TB)


def _scan_bwd(
    cell: Cell, dtype: DTypeLike, kept: Any, cotangents: tuple[Carry, jax.Array]
) -> tuple[jax.Array, Params, Carry, jax.Array, None]:
    assert cell.mix is not None and cell.update is not None
    mix, update = cell.mix, cell.update
    w_HG, bias, before_TBH, a_TBA, fresh_TB = kept
    # Transposed once: XLA on CPU would fold it into the loop's product, which is then a third slower.
    w_GH = jax.lax.optimization_barrier(w_HG.T)
    dcarry, dh_TBH = cotangents

    def unmix(da: jax.Array) -> tuple[jax.Array, jax.Array]:
        zeros = jnp.zeros((*da.shape[:-1], w_HG.shape[-1]), da.dtype)
        return jax.vjp(mix, zeros, zeros)[1](da)

    def step(d: tuple[Carry, Params], now: Any) -> tuple[tuple[Carry, Params], jax.Array]:
        dcarry, dbias = d
        dh_BH, before, a_BA, fresh_B = now
        dcarry = (dcarry[0] + dh_BH, *dcarry[1:])
        more, dbefore, da_BA = jax.vjp(update, bias, before, a_BA)[1](dcarry)
        _, dz_BG = unmix(da_BA)
        dbefore = (dbefore[0] + product(dz_BG, w_GH, dtype), *dbefore[1:])
        return (reset(dbefore, fresh_B), jax.tree.map(jnp.add, dbias, more)), da_BA

    start = (dcarry, jax.tree.map(jnp.zeros_like, bias))
    (dcarry, dbias), da_TBA = jax.lax.scan(step, start, (dh_TBH, before_TBH, a_TBA, fresh_TB), reverse=True)
    du_TBG, dz_TBG = unmix(da_TBA)
    rows = before_TBH[0].reshape(-1, w_HG.shape[0])
    dw_HG = product(rows.T, dz_TBG.reshape(-1, w_HG.shape[1]).astype(w_HG.dtype), dtype)
    return dw_HG, dbias, dcarry, du_TBG, None


_scan.defvjp(_scan_fwd, _scan_bwd)
