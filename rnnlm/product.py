"""Matrix products in a compute dtype, summed in the dtype of their inputs, with gradients computed likewise."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state
from jax.typing import DTypeLike

Multiply = Callable[[jax.Array, jax.Array, DTypeLike], jax.Array]
"""(x, w, dtype) -> their product: `multiply` or `multiply_blocks`."""


def product(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Multiply x [..., N] @ w [N, M] with operands in `dtype`: the result [..., M] is summed in the dtype of x."""
    return _observed(multiply, x, w, dtype)


def block_product(x_NH: jax.Array, w_MKJ: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Multiply rows by a block-diagonal matrix of M blocks [K, J], H = M K: -> [N, M, J]."""
    return _observed(multiply_blocks, x_NH, w_MKJ, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def multiply(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Compute a product that nobody observes.

    The VJP is written out because JAX would compute the gradients of a bfloat16 product as float32 products.
    """
    out = jnp.dot(flat(x).astype(dtype), w.astype(dtype), preferred_element_type=x.dtype)
    return out.reshape(*x.shape[:-1], w.shape[-1])


def _forward(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return multiply(x, w, dtype), (x, w)


def _backward(dtype: DTypeLike, residuals: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w = residuals
    return multiply(d, w.T, dtype), multiply(flat(x).T, flat(d), dtype).astype(w.dtype)


multiply.defvjp(_forward, _backward)


def flat(x: jax.Array) -> jax.Array:
    """Join all axes but the last: [..., N] -> [rows, N]."""
    return x.reshape(-1, x.shape[-1])


def multiply_blocks(x: jax.Array, w_MKJ: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Compute a block product that nobody observes; rows of x are [H] or [M, K]."""
    blocks, rows, _ = w_MKJ.shape
    return jax.vmap(lambda x, w: multiply(x, w, dtype), (1, 0), 1)(x.reshape(-1, blocks, rows), w_MKJ)


Observer = Callable[[Multiply, jax.Array, jax.Array, DTypeLike], jax.Array]

_observer: ContextVar[tuple[Observer, Any] | None] = ContextVar("_observer", default=None)
"""What computes the products of the function that is being traced, and the state of tracing in which it began."""


@contextlib.contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Let an observer compute the products of the block, but not those inside a loop, a `vmap` or a `jit` in it."""
    token = _observer.set((observer, get_opaque_trace_state()))
    try:
        yield
    finally:
        _observer.reset(token)


def _observed(multiply: Multiply, x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
    observed = _observer.get()
    if observed is None or observed[1] != get_opaque_trace_state():
        return multiply(x, w, dtype)
    return observed[0](multiply, x, w, dtype)
