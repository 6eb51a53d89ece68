"""The quasi-recurrent network (Bradbury et al. 2017, equations 1, 2 and 4), whose gates see the newest inputs alone.

(z, f, o) = (tanh, sigmoid, sigmoid)(W x_t + V x_{t-1} + b), the second product only with `window` 2;
c' = f c + (1 - f) z,  h = o c'  (fo-pooling). The symbol before the first one of a text counts as x = 0.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import linear
from rnnlm.cells.cell import Carry, Cell, Gates, Param, Params, State, uniform, zeros
from rnnlm.options import QRNNOptions


def make_cell(options: QRNNOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        partial(carry, options),
        step=partial(step, options),
        window=partial(window, options),
        gates=partial(gates, options),
        recurrent=(),
    )


def params(options: QRNNOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x = (W, V) and the bias of z, f and o."""
    width = 3 * hidden
    return {
        "W_x": Param((inputs, options.window * width), uniform(hidden)),
        "bias": Param((width,), zeros),
    }


def carry(options: QRNNOptions, hidden: int) -> dict[str, State]:
    """Declare h, c and, with `window` 2, V x of the input before, whose width does not depend on that of x."""
    before = {"v": State((3 * hidden,))} if options.window == 2 else {}
    return {"h": State((hidden,)), "c": State((hidden,))} | before


def gates(options: QRNNOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates."""
    a_BG, _ = jnp.split(u_BG, [len(params["bias"])], axis=-1)
    return activate(params, a_BG + carry[2] if options.window == 2 else a_BG)


def activate(params: Params, a_BG: jax.Array) -> Gates:
    """Return the activations of the gates from what they read, without the bias."""
    z, f, o = jnp.split(a_BG + params["bias"][None, :], 3, axis=-1)
    return {"z": jnp.tanh(z), "f": jax.nn.sigmoid(f), "o": jax.nn.sigmoid(o)}


def step(options: QRNNOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Carry:
    """Return (h, c) after one step, and V x with `window` 2."""
    gate = gates(options, params, carry, u_BG, dtype)
    c_BH = gate["f"] * carry[1] + (1 - gate["f"]) * gate["z"]
    return gate["o"] * c_BH, c_BH, *((u_BG[:, len(params["bias"]) :],) if options.window == 2 else ())


def window(
    options: QRNNOptions, params: Params, carry: Carry, u_TBG: jax.Array, reset_TB: jax.Array, dtype: DTypeLike
) -> tuple[Carry, jax.Array]:
    """Return the carry after a window, and h after each step."""
    a_TBG, v_TBG = jnp.split(u_TBG, [len(params["bias"])], axis=-1)
    if options.window == 2:
        a_TBG = a_TBG + jnp.where(reset_TB[:, :, None], 0, linear.shift(v_TBG, carry[2]))
    gate = linear.in_rows(partial(activate, params), a_TBG)
    c_TBH = linear.run(gate["f"], (1 - gate["f"]) * gate["z"], carry[1], reset_TB)
    h_TBH = gate["o"] * c_TBH
    return (h_TBH[-1], c_TBH[-1], *((v_TBG[-1],) if options.window == 2 else ())), h_TBH
