"""The sLSTM (Beck et al. 2024, equations 8 to 17): an LSTM with exponential gates, a normalizer n and a stabilizer m.

Gate order i, f, z, o. With log f = logsigmoid(f), or f itself for forget_gate=exp,
  m' = max(log f + m, i),  i' = exp(i - m'),  f' = exp(log f + m - m'),
  c' = f' c + i' tanh(z),  n' = f' n + i',  h' = sigmoid(o) c' / n'.
In the first step, where n = 0, m' = i, so that n' = 1; from then on n is at least 1. R holds a matrix for each head, a
block of units, so that h reaches the gates of its own head only; it starts at zero (NX-AI/xlstm).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Cell, Gates, Param, Params, uniform, vector_carry, zeros
from rnnlm.options import SLSTMOptions
from rnnlm.product import block_product


def make_cell(options: SLSTMOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        vector_carry("h", "c", "n", "m"),
        step=partial(step, options),
        gates=partial(gates, options),
        recurrent=("R",),
        multiple=options.heads,
    )


def params(options: SLSTMOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, R of the heads, each with the columns of its i, f, z, o, and b."""
    units = hidden // options.heads

    def bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        f_H = jnp.tile(forget_bias(options, units), options.heads)
        return jnp.zeros(shape).at[hidden : 2 * hidden].set(f_H)

    return {
        "W_x": Param((inputs, 4 * hidden), uniform(hidden)),
        "R": Param((options.heads, units, 4 * units), zeros),
        "b": Param((4 * hidden,), bias),
    }


def forget_bias(options: SLSTMOptions, units: int) -> jax.Array:
    """Return the initial bias of a head's forget gates, a power law from 5 to -7; the gates start alike for both kinds.

    The exponent is that of the reference's first block, since a cell does not know how deep its layer is.
    """
    sigmoid = 5.0 - 12.0 * jnp.linspace(0.0, 1.0, units) ** 0.3
    return log_forget(SLSTMOptions(), sigmoid) if options.forget_gate == "exp" else sigmoid


def log_forget(options: SLSTMOptions, f: jax.Array) -> jax.Array:
    """Return the logarithm of the forget gate from its pre-activation."""
    return f if options.forget_gate == "exp" else jax.nn.log_sigmoid(f)


def multiply_heads(h_BH: jax.Array, R: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Multiply the units of each head by its matrix: -> [B, 4 H], a gate after another."""
    heads, units, _ = R.shape
    by_head = block_product(h_BH, R, dtype).reshape(-1, heads, 4, units)
    return by_head.swapaxes(1, 2).reshape(-1, 4 * heads * units)


def run(
    options: SLSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike
) -> tuple[Gates, jax.Array]:
    """Compute the gates of a step: -> (i' and f', tanh(z) and sigmoid(o) by name, m')."""
    h, _, n, m = carry
    i, f, z, o = jnp.split(u_BG + multiply_heads(h, params["R"], dtype), 4, axis=-1)
    # Each unit of a fresh lane starts by itself: a test of the whole batch, as in the reference, would miss resets.
    kept = jnp.where(n == 0, -jnp.inf, log_forget(options, f) + m)
    # Not maximum, whose gradient compares its result with kept: it is lost where a program computes kept twice and
    # rounds it in two ways.
    m = jnp.where(kept > i, kept, i)
    return {"i": jnp.exp(i - m), "f": jnp.exp(kept - m), "z": jnp.tanh(z), "o": jax.nn.sigmoid(o)}, m


def gates(options: SLSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates, i and f after stabilization."""
    return run(options, params, carry, u_BG, dtype)[0]


def step(options: SLSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Carry:
    """Return (h, c, n, m) after one step."""
    gate, m = run(options, params, carry, u_BG, dtype)
    c = gate["f"] * carry[1] + gate["i"] * gate["z"]
    n = gate["f"] * carry[2] + gate["i"]
    return gate["o"] * c / n, c, n, m
