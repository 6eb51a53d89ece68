"""Matrix products in a compute dtype, summed in the dtype of their inputs, with gradients computed likewise."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Multiply x [..., N] @ w [N, M] with operands in `dtype`: the result [..., M] is summed in the dtype of x.

    The VJP is written out because JAX would compute the gradients of a bfloat16 product as float32 products.
    """
    out = jnp.dot(flat(x).astype(dtype), w.astype(dtype), preferred_element_type=x.dtype)
    return out.reshape(*x.shape[:-1], w.shape[-1])


def _forward(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return product(x, w, dtype), (x, w)


def _backward(dtype: DTypeLike, residuals: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w = residuals
    return product(d, w.T, dtype), product(flat(x).T, flat(d), dtype).astype(w.dtype)


product.defvjp(_forward, _backward)


def flat(x: jax.Array) -> jax.Array:
    """Join all axes but the last: [..., N] -> [rows, N]."""
    return x.reshape(-1, x.shape[-1])


def block_product(x_NH: jax.Array, w_MKJ: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Multiply rows by a block-diagonal matrix of M blocks [K, J], H = M K: -> [N, M, J]."""
    blocks, rows, _ = w_MKJ.shape
    return jax.vmap(lambda x, w: product(x, w, dtype), (1, 0), 1)(x_NH.reshape(-1, blocks, rows), w_MKJ)
