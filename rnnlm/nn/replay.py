"""The products of a step, whose results a backward pass reuses instead of computing them again.

The gradients of a step need its elementwise part again, but not its products, which cost most: the forward pass records
them. The reverse scan replays them, which takes one product for each gradient of an x; with these gradients known, the
weights of all steps together take one more. So training costs three times the products of the forward pass.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.typing import DTypeLike

from rnnlm.cells.cell import Params
from rnnlm.product import intercept, multiply, weight_gradient

Arrays = list[jax.Array]
"""An array for each product of a function, in the order in which it computes them."""


def record(function: Callable[..., Any], *args: Any) -> tuple[Any, Arrays, Arrays]:
    """Call a function: -> (its result, the x of its products, their results)."""
    xs: Arrays = []
    outs: Arrays = []

    def compute(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
        xs.append(x)
        outs.append(multiply(x, w, dtype))
        return outs[-1]

    with intercept(compute):
        return function(*args), xs, outs


def replay(
    outs: Arrays, taps: Arrays, function: Callable[..., Any], params: Params, transposed: Params, *args: Any
) -> Any:
    """Call function(params, *args) with the results of its products, for the gradients of `args` and `taps`.

    A tap is zeros of the shape of x, and its gradient is that of x. Those of a product by one of the params, whose
    transposes are given, take no more than the product that makes the gradient. A product by anything else is computed.
    """
    known = zip(outs, taps, strict=True)

    def compute(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
        out, tap = next(known)
        name = next((name for name, param in params.items() if param is w), None)
        return multiply(x + tap, w, dtype) if name is None else _replay(dtype, x, tap, transposed[name], out)

    with intercept(compute):
        return function(params, *args)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _replay(dtype: DTypeLike, x: jax.Array, tap: jax.Array, transposed: jax.Array, out: jax.Array) -> jax.Array:
    return out


def _replay_forward(
    dtype: DTypeLike, x: jax.Array, tap: jax.Array, transposed: jax.Array, out: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return out, transposed


def _replay_backward(dtype: DTypeLike, transposed: jax.Array, d: jax.Array) -> tuple[jax.Array | None, ...]:
    dx = multiply(d, transposed, dtype)
    return dx, dx, None, None


_replay.defvjp(_replay_forward, _replay_backward)


def substitute(outs: Arrays, dxs: Arrays, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function with the results of its products and the gradients of their x, for those of its weights.

    A product whose x has another shape, because it does not depend on the rows, is computed.
    """
    known = zip(outs, dxs, strict=True)

    def compute(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
        out, dx = next(known)
        return _substitute(dtype, x, w, out, dx) if x.shape == dx.shape else multiply(x, w, dtype)

    with intercept(compute):
        return function(*args)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _substitute(dtype: DTypeLike, x: jax.Array, w: jax.Array, out: jax.Array, dx: jax.Array) -> jax.Array:
    return out


def _substitute_forward(
    dtype: DTypeLike, x: jax.Array, w: jax.Array, out: jax.Array, dx: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    return out, (x, w, dx)


def _substitute_backward(
    dtype: DTypeLike, residuals: tuple[jax.Array, jax.Array, jax.Array], d: jax.Array
) -> tuple[jax.Array | None, ...]:
    x, w, dx = residuals
    return dx, weight_gradient(x, w, d, dtype), None, None


_substitute.defvjp(_substitute_forward, _substitute_backward)
