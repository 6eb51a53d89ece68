"""The independently recurrent network (Li et al. 2018): h' = relu(W_x x + b + v h), each unit fed back to itself alone.

|v| is kept within a bound, by default 1; beyond it the forward pass uses the bound, and the gradient passes as if it
had not, so that a weight can come back.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Cell, Param, Params, uniform, vector_carry, zeros
from rnnlm.options import IndRNNOptions


def make_cell(options: IndRNNOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(partial(params, options), vector_carry("h"), step=partial(step, options), recurrent=())


def params(options: IndRNNOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, b and v, which starts between 0 and the bound."""

    def positive(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.uniform(key, shape, jnp.float32, 0.0, options.bound)

    return {
        "W_x": Param((inputs, hidden), uniform(hidden)),
        "b": Param((hidden,), zeros),
        "v": Param((hidden,), positive),
    }


def step(options: IndRNNOptions, params: Params, carry: Carry, u_BH: jax.Array, dtype: DTypeLike) -> Carry:
    """Return (h,) after one step."""
    v = params["v"]
    v = v + jax.lax.stop_gradient(jnp.clip(v, -options.bound, options.bound) - v)
    return (jax.nn.relu(u_BH + v[None, :] * carry[0]),)
