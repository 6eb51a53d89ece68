"""The peers in flax of the cells whose references are in JAX: the linear recurrent unit and the RG-LRU.

They hold arrays as [T, B, H], where the references map over lanes, and hand over the carry, which the LRU's does not.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.peers import MALLOC_ENV, Work, flax_rnn

HEADS = 4  # of the RG-LRU
UNROLL = 128  # steps of a loop that are unrolled (google-deepmind/recurrentgemma)


def variants(device: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings to try on a CPU: rnnlm's number of devices and malloc, with and without its XLA flags."""
    scans = ["associative"] if task["cell"] == "lru" else ["associative", "unrolled"]
    ours = flax_rnn.variants(device, task)[-1]
    return [{"scan": scan} | ours | {"env": env} for scan in scans for env in (MALLOC_ENV, ours["env"])]


def weights(module: nn.Module, name: str, *shape: int) -> jax.Array:
    """Declare a param of a module, drawn with the variance of one over its rows."""
    init = nn.initializers.lecun_normal() if len(shape) > 1 else nn.initializers.normal(0.1)
    return module.param(name, init, shape)


def associative(a_TBH: jax.Array, b_TBH: jax.Array, h_BH: jax.Array) -> jax.Array:
    """Return h' = a h + b for all steps by an associative scan, which the carry precedes as a step."""

    def join(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return second[0] * first[0], second[0] * first[1] + second[1]

    a_TBH = jnp.concatenate([jnp.ones_like(a_TBH[:1]), a_TBH])
    return jax.lax.associative_scan(join, (a_TBH, jnp.concatenate([h_BH[None], b_TBH])))[1][1:]


def unrolled(a_TBH: jax.Array, b_TBH: jax.Array, h_BH: jax.Array) -> jax.Array:
    """Return h' = a h + b for all steps by an unrolled loop."""

    def step(h_BH: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h_BH = inputs[0] * h_BH + inputs[1]
        return h_BH, h_BH

    return jax.lax.scan(step, h_BH, (a_TBH, b_TBH), unroll=UNROLL)[1]


SCANS = {"associative": associative, "unrolled": unrolled}


class LRU(nn.Module):
    """Run a linear recurrent unit (NicolasZucchet/minimal-LRU), with complex products; D is a matrix, as in rnnlm."""

    hidden: int
    scan: str

    @nn.compact
    def __call__(self, carry: jax.Array, x_TBD: jax.Array) -> tuple[jax.Array, jax.Array]:
        inputs, hidden = x_TBD.shape[-1], self.hidden
        nu, theta, log_gamma = (weights(self, name, hidden) for name in ("nu", "theta", "log_gamma"))
        eigenvalues = jnp.exp(-jnp.exp(nu) + 1j * jnp.exp(theta))
        b_re, b_im, d = (weights(self, name, inputs, hidden) for name in ("B_re", "B_im", "D"))
        b_TBH = x_TBD @ ((b_re + 1j * b_im) * jnp.exp(log_gamma))
        s_TBH = SCANS[self.scan](jnp.broadcast_to(eigenvalues, b_TBH.shape), b_TBH, carry)
        c_re, c_im = (weights(self, name, hidden, hidden) for name in ("C_re", "C_im"))
        return s_TBH[-1], (s_TBH @ (c_re + 1j * c_im)).real + x_TBD @ d


class RGLRU(nn.Module):
    """Run an RG-LRU (google-deepmind/recurrentgemma) after a linear layer."""

    hidden: int
    scan: str

    @nn.compact
    def __call__(self, carry: jax.Array, x_TBD: jax.Array) -> tuple[jax.Array, jax.Array]:
        y_TBH = nn.Dense(self.hidden)(x_TBD)
        r, i = (jax.nn.sigmoid(self.block_diagonal(name, y_TBH)) for name in "ri")
        log_a = -8.0 * r * jax.nn.softplus(weights(self, "p", self.hidden))
        scale = jnp.sqrt(jnp.maximum(1 - jnp.exp(2 * log_a), 2.5e-7))
        h_TBH = SCANS[self.scan](jnp.exp(log_a), y_TBH * i * scale, carry)
        return h_TBH[-1], h_TBH

    def block_diagonal(self, name: str, y_TBH: jax.Array) -> jax.Array:
        """Multiply by a block-diagonal matrix and add a bias."""
        units = self.hidden // HEADS
        blocks = y_TBH.reshape(*y_TBH.shape[:-1], HEADS, units)
        out = jnp.einsum("...hi,hij->...hj", blocks, weights(self, f"W_{name}", HEADS, units, units))
        return out.reshape(y_TBH.shape) + weights(self, f"b_{name}", self.hidden)


def train(task: dict[str, Any]) -> Work:
    """Prepare training steps; one unit is one step."""
    layer, dtype = {"lru": (LRU, jnp.complex64), "rglru": (RGLRU, jnp.float32)}[task["cell"]]
    shape = (task["batch"] // task["devices"], task["hidden"])
    return flax_rnn.train_steps(task, lambda: layer(task["hidden"], task["scan"]), lambda: jnp.zeros(shape, dtype))
