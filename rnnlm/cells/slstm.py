"""The sLSTM (Beck et al. 2024, equations 8 to 17): an LSTM with exponential gates, a normalizer n and a stabilizer m.

Gate order i, f, z, o within each head. With log f = logsigmoid(f), or f itself for forget_gate=exp,
  m' = max(log f + m, i),  i' = exp(i - m'),  f' = exp(log f + m - m'),
  c' = f' c + i' tanh(z),  n' = f' n + i',  h' = sigmoid(o) c' / n'.
In the first step, where n = 0, m' = i, so that n' = 1; from then on n is at least 1. W_h holds a matrix for each head,
a block of units, so that h reaches the gates of its own head only; it starts at zero (NX-AI/xlstm).
"""

from functools import partial

import jax
import jax.numpy as jnp

from rnnlm.cells.cell import Carry, Cell, Gates, Param, Params, uniform, vector_carry, zeros
from rnnlm.cells.rnn import mix
from rnnlm.options import SLSTMOptions


def make_cell(options: SLSTMOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        vector_carry("h", "c", "n", "m"),
        mix=mix,
        update=partial(update, options),
        gates=partial(gates, options),
        hidden_multiple=options.heads,
    )


def params(options: SLSTMOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, W_h and b, with the columns of i, f, z, o of one head after those of another."""
    units = hidden // options.heads

    def bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        by_head = jnp.zeros((options.heads, 4, units)).at[:, 1].set(forget_bias(options, units))
        return by_head.reshape(shape)

    return {
        "W_x": Param((inputs, 4 * hidden), uniform(hidden)),
        "W_h": Param((options.heads, units, 4 * units), zeros),
        "b": Param((4 * hidden,), bias),
    }


def forget_bias(options: SLSTMOptions, units: int) -> jax.Array:
    """Return the initial bias of a head's forget gates, a power law from 5 to -7; the gates start alike for both kinds.

    The exponent is that of the reference's first block, since a cell does not know how deep its layer is.
    """
    bias = 5.0 - 12.0 * jnp.linspace(0.0, 1.0, units) ** 0.3
    return jax.nn.log_sigmoid(bias) if options.forget_gate == "exp" else bias


def log_forget(options: SLSTMOptions, f: jax.Array) -> jax.Array:
    """Return the logarithm of the forget gate from its pre-activation."""
    return f if options.forget_gate == "exp" else jax.nn.log_sigmoid(f)


def run(options: SLSTMOptions, m: jax.Array, n: jax.Array, a_BG: jax.Array) -> tuple[Gates, jax.Array]:
    """Compute the gates of a step: -> (i' and f', tanh(z) and sigmoid(o) by name, m')."""
    by_head = a_BG.reshape(len(a_BG), options.heads, 4, -1)
    i, f, z, o = (gate.reshape(m.shape) for gate in jnp.split(by_head, 4, axis=2))
    # Each unit of a fresh lane starts by itself: a test of the whole batch, as in the reference, would miss resets.
    kept = jnp.where(n == 0, -jnp.inf, log_forget(options, f) + m)
    # Not maximum, whose gradient compares its result with kept: it is lost where a program computes kept twice and
    # rounds it in two ways.
    m = jnp.where(kept > i, kept, i)
    return {"i": jnp.exp(i - m), "f": jnp.exp(kept - m), "z": jnp.tanh(z), "o": jax.nn.sigmoid(o)}, m


def gates(options: SLSTMOptions, vectors: Params, carry: Carry, a_BG: jax.Array) -> Gates:
    """Return the activations of the gates, i and f after stabilization."""
    return run(options, carry[3], carry[2], a_BG)[0]


def update(options: SLSTMOptions, vectors: Params, carry: Carry, a_BG: jax.Array) -> Carry:
    """Return (h, c, n, m) after one step."""
    _, c, n, m = carry
    gate, m = run(options, m, n, a_BG)
    c = gate["f"] * c + gate["i"] * gate["z"]
    n = gate["f"] * n + gate["i"]
    return gate["o"] * c / n, c, n, m
