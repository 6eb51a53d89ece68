"""Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000), no peepholes.

Gate order i, f, g, o, as PyTorch's and cuDNN's:
c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c').
"""

import jax
import jax.numpy as jnp


def mix(u_BG: jax.Array, z_BG: jax.Array) -> jax.Array:
    return u_BG + z_BG


def update(vectors: dict[str, jax.Array], carry: tuple[jax.Array, ...], a_BG: jax.Array) -> tuple[jax.Array, ...]:
    del vectors
    _, c_BH = carry
    i, f, g, o = jnp.split(a_BG, 4, axis=-1)
    c_BH = jax.nn.sigmoid(f) * c_BH + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c_BH), c_BH


def forget_slice(hidden: int) -> slice:
    """Where the forget gate's units stand in a vector of G."""
    return slice(hidden, 2 * hidden)
