"""A cell whose carry holds a matrix [B, H, H] and does not start at zero: a gated fast-weight memory.

C' = f C + i v k^T, n' = f n + i k, h = C' q / max(|n' . q|, 1), as the mLSTM of Beck et al. 2024 (equations 19 to 27)
with sigmoid gates.
"""

import jax
import jax.numpy as jnp
import numpy as np

from rnnlm.cells.cell import Cell, Param, State, uniform, zeros
from tests.cells import laws


def params(inputs, hidden):
    return {
        "W_x": Param((inputs, 3 * hidden + 2), uniform(hidden)),
        "b": Param((3 * hidden + 2,), zeros),
    }


def carry(hidden):
    return {"C": State((hidden, hidden)), "n": State((hidden,), start=np.full(hidden, 0.5, np.float32))}


def split(u_BG):
    hidden = (u_BG.shape[-1] - 2) // 3
    q, k, v, gates = jnp.split(u_BG, [hidden, 2 * hidden, 3 * hidden], axis=-1)
    return q, k, v, jax.nn.sigmoid(gates[:, :1]), jax.nn.sigmoid(gates[:, 1:])


def step(params, carry, u_BG, dtype):
    memory, n = carry
    _, k, v, i, f = split(u_BG)
    return f[:, :, None] * memory + i[:, :, None] * v[:, :, None] * k[:, None, :], f * n + i * k


def output(params, carry, u_BG, dtype):
    memory, n = carry
    q = split(u_BG)[0]
    norm = jnp.maximum(jnp.abs(jnp.sum(n * q, axis=-1, keepdims=True)), 1.0)
    return jnp.sum(memory * q[:, None, :], axis=-1) / norm


cell = Cell(params, carry, step=step, output=output, recurrent=())


def numpy_step(p, carry, x):
    memory, n = carry
    hidden = n.shape[-1]
    q, k, v, gates = np.split(x @ p["W_x"] + p["b"], [hidden, 2 * hidden, 3 * hidden], axis=-1)
    i, f = np.split(1 / (1 + np.exp(-gates)), 2, axis=-1)
    memory, n = f[..., None] * memory + i[..., None] * np.einsum("bv,bk->bvk", v, k), f * n + i * k
    out = np.einsum("bvk,bk->bv", memory, q) / np.maximum(np.abs((n * q).sum(-1, keepdims=True)), 1)
    return (memory, n), out


def test_it_satisfies_the_laws():
    laws.check_scan(cell, numpy_step)
    laws.check_model("tests.cells.test_matrix_memory:cell")
