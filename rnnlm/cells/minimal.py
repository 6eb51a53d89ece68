"""The minimal GRU and LSTM (Feng et al. 2024, sections 3.1.3 and 3.2.4), whose gates see the input alone.

`mingru`:  h' = (1 - z) h + z n,  z = sigmoid(u_z)
`minlstm`: h' = f' h + i' n,  f' = f / (f + i),  i' = i / (f + i),  f = sigmoid(u_f),  i = sigmoid(u_i)
In both n = g(u_n), where g(a) = a + 1/2 for a >= 0, else sigmoid(a), which is positive. Their references run in log
space, which needs positive carries, and their logarithm in the right place. Here a window is computed by `linear`,
which gives the outputs of single steps from any carry and is as fast (docs/performance.md).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import linear
from rnnlm.cells.cell import Carry, Cell, Gates, Param, Params, uniform, vector_carry, zeros


def make_gru(options: None = None) -> Cell:
    """Make the cell `mingru`, which has no options."""
    return make_cell(2, gru_gates)


def make_lstm(options: None = None) -> Cell:
    """Make the cell `minlstm`, which has no options."""
    return make_cell(3, lstm_gates)


def make_cell(count: int, gates: Callable[..., Gates]) -> Cell:
    """Make the cell with `count` gates."""
    return Cell(
        partial(params, count),
        vector_carry("h"),
        step=partial(linear.step, partial(coefficients, gates)),
        window=partial(linear.window, partial(coefficients, gates)),
        gates=gates,
        recurrent=(),
    )


def params(gates: int, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x and b of all gates, that of n last."""
    return {
        "W_x": Param((inputs, gates * hidden), uniform(hidden)),
        "b": Param((gates * hidden,), zeros),
    }


def positive(a: jax.Array) -> jax.Array:
    """Return a + 1/2 for a >= 0, else sigmoid(a)."""
    return jnp.where(a >= 0, a + 0.5, jax.nn.sigmoid(a))


def gru_gates(params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates of `mingru`."""
    z, n = jnp.split(u_BG, 2, axis=-1)
    return {"f": jax.nn.sigmoid(-z), "i": jax.nn.sigmoid(z), "n": positive(n)}


def lstm_gates(params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates of `minlstm`: f' as f, i' as i, and n."""
    f, i, n = jnp.split(u_BG, 3, axis=-1)
    odds = jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i)  # f / (f + i) where both are tiny
    return {"f": jax.nn.sigmoid(odds), "i": jax.nn.sigmoid(-odds), "n": positive(n)}


def coefficients(
    gates: Callable[..., Gates], params: Params, u_BG: jax.Array, dtype: DTypeLike
) -> tuple[jax.Array, jax.Array]:
    """Return a and b of h' = a h + b from the given gates."""
    gate = gates(params, (), u_BG, dtype)
    return gate["f"], gate["i"] * gate["n"]
