"""The LSTM with a matrix memory, mLSTM (Beck et al. 2024, xLSTM, equations 19 to 27), by J heads of P = H / J units.

C' = f C + i k v^T,  n' = f n + i k,  r = C'^T q / max(|n' q|, 1),  h = sigmoid(o) gain norm(r), with i = exp(u_i),
f = sigmoid(u_f) and k = u_k / sqrt(P). The carry holds C and n times exp(-m), where m' = max(log f + m, u_i), so that
neither gate overflows. As in the paper's code (NX-AI/xlstm), the r of each head is normalized to mean 0 and variance 1:
otherwise training is unstable wherever n' q is near zero. The paper's convolution belongs to blocks, not to the cell.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import linear
from rnnlm.cells.cell import Carry, Cell, Gates, Param, Params, State, ones, uniform
from rnnlm.cells.lstm import standardize
from rnnlm.options import MatrixLSTMOptions
from rnnlm.product import product

MIN_LOG_SCALE = -80.0
"""Least m in exp(-m), which overflows in float32 below -88."""
NEVER = -1e30
"""The pre-activation of an input gate that is shut."""


class Inputs(NamedTuple):
    """Hold what a step reads, by heads: q, k and v [..., J, P], u_i and log f [..., J]."""

    q: jax.Array
    k: jax.Array
    v: jax.Array
    i: jax.Array
    log_f: jax.Array


def make_cell(options: MatrixLSTMOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        partial(carry, options),
        step=partial(step, options),
        output=partial(output, options),
        window=partial(window, options),
        gates=partial(gates, options),
        recurrent=(),
        hidden_multiple=options.heads,
        flops=partial(flops, options),
    )


def flops(options: MatrixLSTMOptions, inputs: int, hidden: int) -> float:
    """Return the FLOPs of a step: two for each weight of W_x, and for each entry of C as it is written and read."""
    return 2.0 * inputs * (4 * hidden + 2 * options.heads) + 4.0 * hidden**2 / options.heads


def params(options: MatrixLSTMOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x = (q, k, v, o, i, f) and its bias, whose forget gates start from 3 to 6 as in the code, and gain."""
    width = 4 * hidden + 2 * options.heads

    def bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.zeros(shape).at[-options.heads :].set(jnp.linspace(3.0, 6.0, options.heads))

    return {
        "W_x": Param((inputs, width), uniform(hidden)),
        "b": Param((width,), bias),
        "gain": Param((hidden,), ones),
    }


def carry(options: MatrixLSTMOptions, hidden: int) -> dict[str, State]:
    """Declare C, n and m."""
    heads, width = options.heads, hidden // options.heads
    return {"C": State((heads, width, width)), "n": State((heads, width)), "m": State((heads,))}


def split(options: MatrixLSTMOptions, u_BG: jax.Array) -> Inputs:
    """Return what a step reads, from rows of the projected input."""
    heads = options.heads
    hidden = (u_BG.shape[-1] - 2 * heads) // 4
    q, k, v, _, i, f = jnp.split(u_BG, [hidden, 2 * hidden, 3 * hidden, 4 * hidden, 4 * hidden + heads], axis=-1)
    q, k, v = (x.reshape(-1, heads, hidden // heads) for x in (q, k, v))
    return Inputs(q, k * q.shape[-1] ** -0.5, v, i, jax.nn.log_sigmoid(f))


def gates(options: MatrixLSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activation of the output gate."""
    hidden = (u_BG.shape[-1] - 2 * options.heads) // 4
    return {"o": jax.nn.sigmoid(u_BG[:, 3 * hidden : 4 * hidden])}


def step(options: MatrixLSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Carry:
    """Return (C, n, m) after one step."""
    (memory, n, m), x = carry, split(options, u_BG)
    kept = x.log_f + m
    new_m = jnp.where(kept > x.i, kept, x.i)  # see slstm.py: the gradient of maximum may be lost
    f, i = jnp.exp(kept - new_m)[:, :, None], jnp.exp(x.i - new_m)[:, :, None]
    return f[..., None] * memory + (i * x.k)[..., None] * x.v[:, :, None, :], f * n + i * x.k, new_m


def output(options: MatrixLSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Return h."""
    (memory, n, m), q = carry, split(options, u_BG).q
    read_BJP = by_head(partial(product, dtype=dtype))(q[:, :, None], memory)[:, :, 0]
    return gate_output(options, params, u_BG, divide(read_BJP, jnp.sum(q * n, axis=-1), m))


def divide(read: jax.Array, total: jax.Array, m: jax.Array) -> jax.Array:
    """Divide what q reads from C [..., P] by max(|n q|, 1), where all are scaled by exp(-m)."""
    return read / jnp.maximum(jnp.abs(total), jnp.exp(-jnp.maximum(m, MIN_LOG_SCALE)))[..., None]


def gate_output(options: MatrixLSTMOptions, params: Params, u_BG: jax.Array, read_BJP: jax.Array) -> jax.Array:
    """Normalize what each head has read, scale it and gate it: -> h."""
    open_BH = gates(options, params, (), u_BG, u_BG.dtype)["o"]
    return open_BH * params["gain"][None, :] * standardize(read_BJP).reshape(open_BH.shape)


def by_head(function: Callable[..., Any]) -> Callable[..., Any]:
    """Apply a function of one head of one lane to arrays [B, J, ...]."""
    return jax.vmap(jax.vmap(function))


def window(
    options: MatrixLSTMOptions, params: Params, carry: Carry, u_TBG: jax.Array, reset_TB: jax.Array, dtype: DTypeLike
) -> tuple[Carry, jax.Array]:
    """Return (C, n, m) after a window, computed by chunks of time steps, and h after each step."""
    time, lanes = reset_TB.shape
    count = -(-time // options.chunk)
    size = -(-time // count)  # chunks of one size, with little padding
    inputs = linear.in_rows(partial(split, options), u_TBG)
    reset_TBJ = jnp.broadcast_to(reset_TB[..., None], inputs.i.shape)

    def in_chunks(x: jax.Array, padding: float) -> jax.Array:
        """Cut time into chunks [chunks, B, J, T, ...], the last one filled up with steps that change nothing."""
        x = jnp.pad(x, [(0, -time % size), *((0, 0) for _ in x.shape[1:])], constant_values=padding)
        return jnp.moveaxis(x.reshape(-1, size, *x.shape[1:]), 1, 3)

    chunks = Inputs(*(in_chunks(x, NEVER if x is inputs.i else 0) for x in inputs)), in_chunks(reset_TBJ, False)
    carry, read = jax.lax.scan(lambda carry, x: by_head(partial(chunk, dtype))(carry, *x), carry, chunks)
    read_TBJP = jnp.moveaxis(read, 3, 1).reshape(-1, lanes, *read.shape[2::2])[:time]
    return carry, linear.in_rows(partial(gate_output, options, params), u_TBG, read_TBJP)


def chunk(dtype: DTypeLike, carry: Carry, x: Inputs, reset_T: jax.Array) -> tuple[Carry, jax.Array]:
    """Run T steps of one head at once: C [P, P], n [P], m; inputs [T, P] and [T] -> (carry after them, r [T, P])."""
    memory, n, m = carry
    resets_T = jnp.cumsum(reset_T)
    # Row t, column s: whether step t reads what step s wrote.
    visible_TT = jnp.tril(resets_T[:, None] == resets_T[None])
    # Summed from the last reset on, so that what was before it does not even show in the rounding.
    decay_T = jnp.sum(jnp.where(visible_TT, x.log_f[None], 0), axis=1)
    carried_T = resets_T == 0
    log_start_T = jnp.where(carried_T, m, 0) + decay_T
    log_weight_TT = jnp.where(visible_TT, decay_T[:, None] - decay_T[None] + x.i[None], -jnp.inf)
    m_T = jnp.maximum(log_start_T, jnp.max(log_weight_TT, axis=1))
    weight_TT = jnp.exp(log_weight_TT - m_T[:, None])
    start_T = jnp.where(carried_T, jnp.exp(log_start_T - m_T), 0)
    score_TT = weight_TT * product(x.q, x.k.T, dtype)
    read_TP = product(score_TT, x.v, dtype) + start_T[:, None] * product(x.q, memory, dtype)
    total_T = jnp.sum(score_TT, axis=1) + start_T * jnp.sum(x.q * n[None], axis=-1)
    last_TP = weight_TT[-1][:, None] * x.k
    memory = start_T[-1] * memory + product(last_TP.T, x.v, dtype)
    return (memory, start_T[-1] * n + jnp.sum(last_TP, axis=0), m_T[-1]), divide(read_TP, total_T, m_T)
