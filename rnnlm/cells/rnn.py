"""The plain recurrence with tanh (Elman 1990): h' = tanh(W_x x + b + W_h h)."""

import jax
import jax.numpy as jnp


def mix(u_BG: jax.Array, z_BG: jax.Array) -> jax.Array:
    return u_BG + z_BG


def update(vectors: dict[str, jax.Array], carry: tuple[jax.Array, ...], a_BG: jax.Array) -> tuple[jax.Array, ...]:
    del vectors, carry
    return (jnp.tanh(a_BG),)
