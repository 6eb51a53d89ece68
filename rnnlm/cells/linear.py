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
"""(params, u_BG, dtype) -> a and b of h' = a h + b, [B, S] each."""
Scan = Callable[..., jax.Array]
"""(a [T, ...], b [T, ...], h [...], reverse=False) -> h after each step [T, ...]."""


def step(coefficients: Coefficients, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Carry:
    """Return (h,) after one step of a cell with the given coefficients."""
    a_BS, b_BS = coefficients(params, u_BG, dtype)
    return (a_BS * carry[0] + b_BS,)


def window(
    coefficients: Coefficients,
    params: Params,
    carry: Carry,
    u_TBG: jax.Array,
    reset_TB: jax.Array,
    dtype: DTypeLike,
) -> tuple[Carry, jax.Array]:
    """Return (h,) after a window of a cell with the given coefficients, and h after each step."""
    a_TBS, b_TBS = in_rows(lambda u_NG: coefficients(params, u_NG, dtype), u_TBG)
    h_TBS = run(a_TBS, b_TBS, carry[0], reset_TB)
    return (h_TBS[-1],), h_TBS


def run(a_TBS: jax.Array, b_TBS: jax.Array, h_BS: jax.Array, reset_TB: jax.Array) -> jax.Array:
    """Return h_TBS after each step of h' = a h + b, where h is zero before a step at which its lane is reset."""
    return recur(fastest_scan(), jnp.where(reset_TB[:, :, None], 0, a_TBS), b_TBS, h_BS)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(scan: Scan, a_TBS: jax.Array, b_TBS: jax.Array, h_BS: jax.Array) -> jax.Array:
    """Return h_TBS after each step of h' = a h + b, from h_BS before the first one."""
    return scan(a_TBS, b_TBS, h_BS)


def _forward(
    scan: Scan, a_TBS: jax.Array, b_TBS: jax.Array, h_BS: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    h_TBS = scan(a_TBS, b_TBS, h_BS)
    return h_TBS, (a_TBS, h_TBS, h_BS)


def _backward(
    scan: Scan, residuals: tuple[jax.Array, jax.Array, jax.Array], dh_TBS: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    a_TBS, h_TBS, h_BS = residuals
    # The cotangent of h_t is dh_t + a_{t+1} times that of h_{t+1}.
    next_a_TBS = jnp.concatenate([a_TBS[1:], jnp.zeros_like(a_TBS[:1])])
    db_TBS = scan(next_a_TBS, dh_TBS, jnp.zeros_like(h_BS), reverse=True)
    return db_TBS * shift(h_TBS, h_BS), db_TBS, a_TBS[0] * db_TBS[0]


recur.defvjp(_forward, _backward)


def fastest_scan() -> Scan:
    """Return the form of the recurrence that is faster on the devices of this process.

    On a CPU stepping takes less time than the associative scan, for 50 steps as for 5,000 (docs/performance.md).
    """
    return step_by_step if jax.default_backend() == "cpu" else associative


def step_by_step(a_TBS: jax.Array, b_TBS: jax.Array, h_BS: jax.Array, reverse: bool = False) -> jax.Array:
    """Compute h_TBS one step after another; in reverse the last step comes first."""

    def advance(h_BS: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        a_BS, b_BS = inputs
        h_BS = a_BS * h_BS + b_BS
        return h_BS, h_BS

    return jax.lax.scan(advance, h_BS, (a_TBS, b_TBS), reverse=reverse)[1]


def associative(a_TBS: jax.Array, b_TBS: jax.Array, h_BS: jax.Array, reverse: bool = False) -> jax.Array:
    """Compute as `step_by_step` does, in two passes over all steps for each doubling of T (Blelloch 1990)."""

    def join(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    start = -1 if reverse else 0
    b_TBS = b_TBS.at[start].add(a_TBS[start] * h_BS)
    return jax.lax.associative_scan(join, (a_TBS, b_TBS), reverse=reverse)[1]


def shift(x_TBS: jax.Array, before_BS: jax.Array) -> jax.Array:
    """Return the array of the step before each step, `before_BS` for the first one."""
    return jnp.concatenate([before_BS[None], x_TBS[:-1]])


def in_rows(function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """Call a function of arrays [N, ...] on arrays [T, B, ...]: -> its arrays, [T, B, ...] too."""
    time, lanes = arrays[0].shape[:2]
    rows = function(*(x.reshape(-1, *x.shape[2:]) for x in arrays))
    return jax.tree.map(lambda y: y.reshape(time, lanes, *y.shape[1:]), rows)
