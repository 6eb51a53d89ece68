"""The real-gated linear recurrent unit (De et al. 2024, Griffin, equations 1 to 4), whose gates see the input alone.

y = W_x x + b,  r = sigmoid(W_r y + b_r),  i = sigmoid(W_i y + b_i),  a = exp(-8 softplus(p) r),
h' = a h + sqrt(1 - a^2) i y. W_r and W_i are block-diagonal. In the paper a convolution is between W_x and y, where
`model.block=prenorm` has it before W_x; its code does not scale the first input of a text by sqrt(1 - a^2).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import linear
from rnnlm.cells.cell import Carry, Cell, Gates, Param, Params, uniform, vector_carry, zeros
from rnnlm.options import RGLRUOptions
from rnnlm.product import product

MIN_SQUARE = 2.5e-7
"""Least 1 - a^2 of which a root is taken, so that its gradient stays below 1,000."""


def make_cell(options: RGLRUOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        vector_carry("h"),
        step=partial(linear.step, coefficients),
        window=partial(linear.window, coefficients),
        gates=gates,
        recurrent=(),
        hidden_multiple=options.heads,
    )


def params(options: RGLRUOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, b, W_r, b_r, W_i, b_i, and p, with which exp(-softplus(p)) is in [0.9, 0.999] as in the code."""

    def decay(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        log_a = 0.5 * jnp.log(jax.random.uniform(key, shape, minval=0.9**2, maxval=0.999**2))
        return jnp.log(jnp.expm1(-log_a))

    width = hidden // options.heads
    gate = {
        letter: {
            f"W_{letter}": Param((options.heads, width, width), uniform(width)),
            f"b_{letter}": Param((hidden,), zeros),
        }
        for letter in "ri"
    }
    inward = {"W_x": Param((inputs, hidden), uniform(hidden)), "b": Param((hidden,), zeros)}
    return inward | gate["r"] | gate["i"] | {"p": Param((hidden,), decay)}


def gates(params: Params, carry: Carry, u_BH: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates r and i."""

    def gate(letter: str) -> jax.Array:
        a_BH = product(u_BH, params[f"W_{letter}"], dtype)
        return jax.nn.sigmoid(a_BH + params[f"b_{letter}"][None, :])

    return {"r": gate("r"), "i": gate("i")}


def coefficients(params: Params, u_BH: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
    """Return a and b of h' = a h + b."""
    gate = gates(params, (), u_BH, dtype)
    log_a = -8 * jax.nn.softplus(params["p"])[None, :] * gate["r"]
    scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), MIN_SQUARE))
    return jnp.exp(log_a), scale * gate["i"] * u_BH
