"""Gated recurrent units, gate order r, z, n, in the two forms that go by the name.

h' = (1 - z) n + z h, where the candidate resets after the product, as cuDNN's and PyTorch's (the name `gru`):
  n = tanh(u_n + r (h @ W_n + b_n))
or before it, as Cho et al. 2014, Chung et al. 2014 and char-rnn (the name `gru_before`):
  n = tanh(u_n + (r h) @ W_n)
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.product import product


def mix(u_BG: jax.Array, z_BG: jax.Array) -> jax.Array:
    """The candidate's two parts stay apart, since the reset gate comes between them: A = 4 H."""
    hidden = u_BG.shape[-1] // 3
    gates = u_BG[..., : 2 * hidden] + z_BG[..., : 2 * hidden]
    return jnp.concatenate([gates, u_BG[..., 2 * hidden :], z_BG[..., 2 * hidden :]], axis=-1)


def update(vectors: dict[str, jax.Array], carry: tuple[jax.Array, ...], a_BA: jax.Array) -> tuple[jax.Array, ...]:
    (h_BH,) = carry
    b_r, b_z, b_n = jnp.split(vectors["b_h"][None, :], 3, axis=-1)
    r, z, u_n, z_n = jnp.split(a_BA, 4, axis=-1)
    n = jnp.tanh(u_n + jax.nn.sigmoid(r + b_r) * (z_n + b_n))
    z = jax.nn.sigmoid(z + b_z)
    return ((1 - z) * n + z * h_BH,)


def step_before(
    params: dict[str, jax.Array], carry: tuple[jax.Array, ...], u_BG: jax.Array, dtype: DTypeLike
) -> tuple[jax.Array, ...]:
    (h_BH,) = carry
    hidden = h_BH.shape[-1]
    w_HG = params["W_h"]
    gates = jax.nn.sigmoid(u_BG[:, : 2 * hidden] + product(h_BH, w_HG[:, : 2 * hidden], dtype))
    r, z = jnp.split(gates, 2, axis=-1)
    n = jnp.tanh(u_BG[:, 2 * hidden :] + product(r * h_BH, w_HG[:, 2 * hidden :], dtype))
    return ((1 - z) * n + z * h_BH,)
