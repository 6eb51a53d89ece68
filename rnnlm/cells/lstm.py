"""Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000), no peepholes.

Gate order i, f, g, o, as PyTorch's and cuDNN's:
c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c').
"""

from functools import partial

import jax
import jax.numpy as jnp

from rnnlm.cells.cell import Carry, Cell, Gates, Param, Params, uniform, vector_carry, zeros
from rnnlm.config import LSTMOptions


def make_cell(options: LSTMOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(partial(params, options), vector_carry("h", "c"), mix=mix, update=update, gates=gates)


def params(options: LSTMOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, W_h and b, whose forget gate starts at `forget_bias`; with two biases also b_h, added to b."""

    def bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.zeros(shape).at[hidden : 2 * hidden].set(options.forget_bias)

    declared = {
        "W_x": Param((inputs, 4 * hidden), uniform(hidden)),
        "W_h": Param((hidden, 4 * hidden), uniform(hidden)),
        "b": Param((4 * hidden,), bias),
    }
    return declared | ({"b_h": Param((4 * hidden,), zeros)} if options.biases == 2 else {})


def mix(u_BG: jax.Array, z_BG: jax.Array) -> jax.Array:
    """Add the projected input and the recurrent product."""
    return u_BG + z_BG


def gates(vectors: Params, carry: Carry, a_BG: jax.Array) -> Gates:
    """Return the activations of the gates."""
    if "b_h" in vectors:
        a_BG = a_BG + vectors["b_h"][None, :]
    i, f, g, o = jnp.split(a_BG, 4, axis=-1)
    return {"i": jax.nn.sigmoid(i), "f": jax.nn.sigmoid(f), "g": jnp.tanh(g), "o": jax.nn.sigmoid(o)}


def update(vectors: Params, carry: Carry, a_BG: jax.Array) -> Carry:
    """Return (h, c) after one step."""
    gate = gates(vectors, carry, a_BG)
    c_BH = gate["f"] * carry[1] + gate["i"] * gate["g"]
    return gate["o"] * jnp.tanh(c_BH), c_BH
