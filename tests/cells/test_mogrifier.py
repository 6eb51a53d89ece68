"""A cell of several products a step and extra matrices: the Mogrifier LSTM (Melis et al. 2020, equations 1 and 2)."""

import jax
import jax.numpy as jnp
import numpy as np

from rnnlm.cells.cell import Cell, Param, uniform, vector_carry, zeros
from rnnlm.product import product
from tests.cells import laws


def make_cell(options):
    """Make the cell; `rounds` gates of input and carry by one another come before the LSTM."""
    rounds = options.get("rounds", 3)

    def params(inputs, hidden):
        declared = {
            "W_in": Param((inputs, 4 * hidden), uniform(hidden)),
            "W_h": Param((hidden, 4 * hidden), uniform(hidden)),
            "bias": Param((4 * hidden,), zeros),
        }
        shapes = [(hidden, inputs), (inputs, hidden)]
        return declared | {f"M_{i}": Param(shapes[i % 2], uniform(hidden)) for i in range(rounds)}

    def step(params, carry, x_BD, dtype):
        (h, c), x = carry, x_BD
        for i in range(rounds):
            if i % 2 == 0:
                x = 2 * jax.nn.sigmoid(product(h, params[f"M_{i}"], dtype)) * x
            else:
                h = 2 * jax.nn.sigmoid(product(x, params[f"M_{i}"], dtype)) * h
        a = product(x, params["W_in"], dtype) + product(h, params["W_h"], dtype) + params["bias"][None, :]
        i, f, g, o = jnp.split(a, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    return Cell(params, vector_carry("h", "c"), step=step)


def numpy_step(p, carry, x):
    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    h, c = carry
    x = 2 * sigmoid(h @ p["M_0"]) * x
    h = 2 * sigmoid(x @ p["M_1"]) * h
    x = 2 * sigmoid(h @ p["M_2"]) * x
    i, f, g, o = np.split(x @ p["W_in"] + h @ p["W_h"] + p["bias"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return (sigmoid(o) * np.tanh(c), c), sigmoid(o) * np.tanh(c)


def test_it_satisfies_the_laws():
    laws.check_scan(make_cell({}), numpy_step)
    laws.check_model("tests.cells.test_mogrifier:make_cell", rounds=2)
