"""Matrix products in a compute dtype, with sums in the dtype of what goes in; their gradients are such products too."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: jax.Array, w: jax.Array, dtype: DTypeLike) -> jax.Array:
    """x [..., N] @ w [N, M] with operands in `dtype`, summed and returned in the dtype of x.

    Left to jax, the gradients of a bfloat16 product would be float32 products, rounded to bfloat16 afterwards.
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
    """All axes but the last as one axis of rows."""
    return x.reshape(-1, x.shape[-1])
