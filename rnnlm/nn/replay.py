"""The products of a step, whose results a backward pass reuses instead of computing them again.

The gradients of a step need its elementwise part again, but not its products, which cost most: the forward pass records
them. The reverse scan replays them, which takes one product for each gradient of an x; with these gradients known, the
weights of all steps together take one more. So training costs three times the products of the forward pass.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.typing import DTypeLike

from rnnlm.product import multiply, observe, weight_gradient


class Product(NamedTuple):
    """Hold the operands and the result of a product that a function has computed."""

    x: jax.Array
    w: jax.Array
    out: jax.Array


def record(function: Callable[..., Any], *args: Any) -> tuple[Any, list[Product]]:
    """Call a function: -> (its result, its products in turn)."""
    products = []

    def observer(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
        products.append(Product(x, w, multiply(x, w, dtype)))
        return products[-1].out

    with observe(observer):
        return function(*args), products


def replay(
    outs: list[jax.Array], taps: list[jax.Array], transposed: list[jax.Array], function: Callable[..., Any], *args: Any
) -> Any:
    """Call a function whose products are known, without computing them, for the gradients of all but their weights.

    The gradient of a tap, zeros of the shape of x, is that of x, computed by the transposed weights.
    """
    known = zip(outs, taps, transposed, strict=True)
    with observe(lambda x, w, dtype: _replay(dtype, x, *next(known))):
        return function(*args)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _replay(dtype: DTypeLike, x: jax.Array, out: jax.Array, tap: jax.Array, transposed: jax.Array) -> jax.Array:
    return out


def _replay_forward(
    dtype: DTypeLike, x: jax.Array, out: jax.Array, tap: jax.Array, transposed: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return out, transposed


def _replay_backward(dtype: DTypeLike, transposed: jax.Array, d: jax.Array) -> tuple[jax.Array | None, ...]:
    dx = multiply(d, transposed, dtype)
    return dx, None, dx, None


_replay.defvjp(_replay_forward, _replay_backward)


def substitute(outs: list[jax.Array], dxs: list[jax.Array], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function whose products and their gradients of x are known, for the gradients of its weights.

    A product whose x has another shape, because it does not depend on the rows, is computed.
    """
    known = zip(outs, dxs, strict=True)

    def observer(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
        out, dx = next(known)
        return _substitute(dtype, x, w, out, dx) if x.shape == dx.shape else multiply(x, w, dtype)

    with observe(observer):
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
