"""Matrix products in a compute dtype, summed in the dtype of their inputs, with gradients computed likewise."""

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state
from jax.typing import DTypeLike

Multiply = Callable[[jax.Array, jax.Array, DTypeLike], jax.Array]
"""(x, w, dtype) -> their product."""

_interceptor: ContextVar[tuple[Multiply, Any] | None] = ContextVar("_interceptor", default=None)
"""What computes the products of the function that is being traced, and the state of tracing in which it began."""


def product(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Multiply x [..., N] @ w [N, M] with operands in `dtype`: the result [..., M] is summed in the dtype of x.

    A block-diagonal w of J blocks is [J, N / J, M / J].
    """
    interceptor = _interceptor.get()
    if interceptor is None or interceptor[1] != get_opaque_trace_state():
        return multiply(x, w, dtype)
    return interceptor[0](x, w, dtype)


@contextlib.contextmanager
def intercept(compute: Multiply) -> Iterator[None]:
    """Let `compute` compute the products of the block, but not those inside a loop, a `vmap` or a `jit` in it."""
    token = _interceptor.set((compute, get_opaque_trace_state()))
    try:
        yield
    finally:
        _interceptor.reset(token)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def multiply(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Multiply as `product` does, past any interceptor.

    The VJP is written out because JAX would compute the gradients of a bfloat16 product as float32 products.
    """
    dot = partial(jnp.dot, preferred_element_type=x.dtype)
    by_block = dot if w.ndim == 2 else jax.vmap(dot, (1, 0), 1)
    out = by_block(split_rows(x, w).astype(dtype), w.astype(dtype))
    return out.reshape(*x.shape[:-1], w.size // w.shape[-2])


def _multiply_forward(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return multiply(x, w, dtype), (x, w)


def _multiply_backward(
    dtype: DTypeLike, operands: tuple[jax.Array, jax.Array], d: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, w = operands
    return multiply(d, w.mT, dtype), weight_gradient(x, w, d, dtype)


multiply.defvjp(_multiply_forward, _multiply_backward)


def weight_gradient(x: jax.Array, w: jax.Array, d: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Return the gradient of w from that of the product of all rows of x."""

    def dot(x: jax.Array, d: jax.Array) -> jax.Array:
        return jnp.dot(x.T.astype(dtype), d.astype(dtype), preferred_element_type=d.dtype)

    by_block = dot if w.ndim == 2 else jax.vmap(dot, 1)
    return by_block(split_rows(x, w), split_rows(d, w.mT)).astype(w.dtype)


def split_rows(x: jax.Array, w: jax.Array) -> jax.Array:
    """Join all axes of x but the last, and cut rows into the blocks of w: [..., N] -> [rows, N] or [rows, J, N / J]."""
    return x.reshape(math.prod(x.shape[:-1]), *w.shape[:-1])
