"""The recurrence h' = a h + b over all steps of a window, for cells whose gates see the input alone.

Its backward pass is the same recurrence run backwards, where autodiff of a scan would also store what it multiplies.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Params

Coefficients = Callable[[Params, jax.Array, DTypeLike], tuple[jax.Array, jax.Array]]
"""(params, u_BG, dtype) -> a and b of h' = a h + b, [B, H] each."""
Scan = Callable[..., jax.Array]
"""(a [T, ...], b [T, ...], h [...], reverse=False) -> h after each step [T, ...]."""


def step(coefficients: Coefficients, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Carry:
    """Return (h,) after one step of a cell with the given coefficients."""
    a_BH, b_BH = coefficients(params, u_BG, dtype)
    return (a_BH * carry[0] + b_BH,)


def window(
    coefficients: Coefficients,
    params: Params,
    carry: Carry,
    u_TBG: jax.Array,
    reset_TB: jax.Array,
    dtype: DTypeLike,
) -> tuple[Carry, jax.Array]:
    """Return (h,) after a window of a cell with the given coefficients, and h after each step."""
    a_TBH, b_TBH = in_rows(lambda u_NG: coefficients(params, u_NG, dtype), u_TBG)
    h_TBH = run(a_TBH, b_TBH, carry[0], reset_TB)
    return (h_TBH[-1],), h_TBH


def run(a_TBH: jax.Array, b_TBH: jax.Array, h_BH: jax.Array, reset_TB: jax.Array) -> jax.Array:
    """Return h_TBH after each step of h' = a h + b, where h is zero before a step at which its lane is reset."""
    return recur(fastest_scan(), jnp.where(reset_TB[:, :, None], 0, a_TBH), b_TBH, h_BH)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(scan: Scan, a_TBH: jax.Array, b_TBH: jax.Array, h_BH: jax.Array) -> jax.Array:
    """Return h_TBH after each step of h' = a h + b, from h_BH before the first one."""
    return scan(a_TBH, b_TBH, h_BH)


def _forward(
    scan: Scan, a_TBH: jax.Array, b_TBH: jax.Array, h_BH: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    h_TBH = scan(a_TBH, b_TBH, h_BH)
    return h_TBH, (a_TBH, h_TBH, h_BH)


def _backward(
    scan: Scan, residuals: tuple[jax.Array, jax.Array, jax.Array], dh_TBH: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    a_TBH, h_TBH, h_BH = residuals
    # The cotangent of h_t is dh_t + a_{t+1} times that of h_{t+1}.
    next_a_TBH = jnp.concatenate([a_TBH[1:], jnp.zeros_like(a_TBH[:1])])
    db_TBH = scan(next_a_TBH, dh_TBH, jnp.zeros_like(h_BH), reverse=True)
    return db_TBH * shift(h_TBH, h_BH), db_TBH, a_TBH[0] * db_TBH[0]


recur.defvjp(_forward, _backward)


def fastest_scan() -> Scan:
    """Return the form of the recurrence that is faster on the devices of this process.

    On a CPU stepping takes less time than the associative scan, for 50 steps as for 5,000 (docs/performance.md).
    """
    return step_by_step if jax.default_backend() == "cpu" else associative


def step_by_step(a_TBH: jax.Array, b_TBH: jax.Array, h_BH: jax.Array, reverse: bool = False) -> jax.Array:
    """Compute h_TBH one step after another; in reverse the last step comes first."""

    def advance(h_BH: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        a_BH, b_BH = inputs
        h_BH = a_BH * h_BH + b_BH
        return h_BH, h_BH

    return jax.lax.scan(advance, h_BH, (a_TBH, b_TBH), reverse=reverse)[1]


def associative(a_TBH: jax.Array, b_TBH: jax.Array, h_BH: jax.Array, reverse: bool = False) -> jax.Array:
    """Compute as `step_by_step` does, in two passes over all steps for each doubling of T (Blelloch 1990)."""

    def join(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    start = -1 if reverse else 0
    b_TBH = b_TBH.at[start].add(a_TBH[start] * h_BH)
    return jax.lax.associative_scan(join, (a_TBH, b_TBH), reverse=reverse)[1]


def shift(x_TBH: jax.Array, before_BH: jax.Array) -> jax.Array:
    """Return the array of the step before each step, `before_BH` for the first one."""
    return jnp.concatenate([before_BH[None], x_TBH[:-1]])


def in_rows(function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """Call a function of arrays [N, ...] on arrays [T, B, ...]: -> its arrays, [T, B, ...] too."""
    time, lanes = arrays[0].shape[:2]
    rows = function(*(x.reshape(-1, *x.shape[2:]) for x in arrays))
    return jax.tree.map(lambda y: y.reshape(time, lanes, *y.shape[1:]), rows)
