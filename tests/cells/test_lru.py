"""A cell with a complex diagonal state and a separate output: the LRU (Orvieto et al. 2023, equation 8)."""

import jax.numpy as jnp
import numpy as np

from rnnlm.cells.cell import Cell, Param, State, uniform
from rnnlm.product import product
from tests.cells import laws


def params(inputs, hidden):
    """Declare W_x = (Re B, Im B), C, and nu and theta of lambda = exp(-exp(nu) + i exp(theta))."""
    return {
        "W_x": Param((inputs, 2 * hidden), uniform(hidden)),
        "C_re": Param((hidden, hidden), uniform(hidden)),
        "C_im": Param((hidden, hidden), uniform(hidden)),
        "nu": Param((hidden,), lambda key, shape: jnp.linspace(-4.0, -1.0, *shape)),
        "theta": Param((hidden,), lambda key, shape: jnp.linspace(-3.0, 0.0, *shape)),
    }


def step(params, carry, u_BG, dtype):
    decay = jnp.exp(-jnp.exp(params["nu"]))
    turn = jnp.exp(params["theta"])
    lam = (decay * (jnp.cos(turn) + 1j * jnp.sin(turn)))[None, :]
    u_re, u_im = jnp.split(u_BG, 2, axis=-1)
    return (lam * carry[0] + jnp.sqrt(1 - decay**2)[None, :] * (u_re + 1j * u_im),)


def output(params, carry, u_BG, dtype):
    (x,) = carry
    return product(jnp.real(x), params["C_re"], dtype) - product(jnp.imag(x), params["C_im"], dtype)


def carry(hidden):
    return {"x": State((hidden,), np.complex64)}


cell = Cell(params, carry, step=step, output=output, recurrent=())


def numpy_step(p, carry, x):
    lam = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    re, im = np.split(x @ p["W_x"], 2, axis=-1)
    state = lam * carry[0] + np.sqrt(1 - np.abs(lam) ** 2) * (re + 1j * im)
    return (state,), (state @ (p["C_re"] + 1j * p["C_im"])).real


def test_it_satisfies_the_laws():
    laws.check_scan(cell, numpy_step)
    laws.check_model("tests.cells.test_lru:cell")
