"""The simple recurrent unit (Lei et al. 2018, equations 1 and 2), whose gate sees the input and the unit's own carry.

c' = f c + (1 - f) W x,  f = sigmoid(W_f x + v_f c + b_f),  h = c'
The highway connection of the paper (equations 3 and 4) is `model.block=highway`. Without `feedback` v_f is left out.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import linear
from rnnlm.cells.cell import Carry, Cell, Gates, Param, Params, uniform, vector_carry, zeros
from rnnlm.options import SRUOptions


def make_cell(options: SRUOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        vector_carry("c"),
        step=step,
        window=None if options.feedback else partial(linear.window, coefficients),
        gates=gates,
        recurrent=(),
    )


def params(options: SRUOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare (W, W_f), b_f and v_f."""
    feedback = {"v_f": Param((hidden,), uniform(1))} if options.feedback else {}
    return {"W_x": Param((inputs, 2 * hidden), uniform(hidden)), "b_f": Param((hidden,), zeros)} | feedback


def gates(params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activation of the forget gate."""
    a_BH = jnp.split(u_BG, 2, axis=-1)[1] + params["b_f"][None, :]
    return {"f": jax.nn.sigmoid(a_BH + params["v_f"][None, :] * carry[0] if "v_f" in params else a_BH)}


def step(params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Carry:
    """Return (c,) after one step."""
    f = gates(params, carry, u_BG, dtype)["f"]
    return (f * carry[0] + (1 - f) * jnp.split(u_BG, 2, axis=-1)[0],)


def coefficients(params: Params, u_BG: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
    """Return a and b of c' = a c + b, without feedback."""
    f = gates(params, (), u_BG, dtype)["f"]
    return f, (1 - f) * jnp.split(u_BG, 2, axis=-1)[0]
