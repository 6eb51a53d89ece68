"""The multiplicative LSTM (Krause et al. 2016), whose recurrent matrix depends on the input.

m = (W_mx x) (W_m h), and the gates of an LSTM are computed from x and m in place of x and h:
c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c').
"""

from functools import partial

import jax
from jax.typing import DTypeLike

from rnnlm.cells import lstm
from rnnlm.cells.cell import (
    NO_MASKS,
    Carry,
    Cell,
    Gates,
    Masks,
    Param,
    Params,
    drop,
    uniform,
    vector_carry,
)
from rnnlm.options import LSTMOptions, MLSTMOptions
from rnnlm.product import product


def make_cell(options: MLSTMOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        vector_carry("h", "c"),
        step=step,
        gates=gates,
        recurrent=("W_m", "W_h"),
        masks=partial(lstm.masks, LSTMOptions()),
    )


def params(options: MLSTMOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x = (W_mx, those of i, f, g, o), W_m, W_h and the bias of the gates."""
    return {
        "W_x": Param((inputs, 5 * hidden), uniform(hidden)),
        "W_m": Param((hidden, hidden), uniform(hidden)),
        "W_h": Param((hidden, 4 * hidden), uniform(hidden)),
        "bias": Param((4 * hidden,), lstm.gate_bias(options.forget_bias)),
    }


def pre_activations(
    params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS
) -> jax.Array:
    """Return the pre-activations of the gates."""
    h_BH = drop(masks, "state", carry[0])
    hidden = h_BH.shape[-1]
    m_BH = u_BG[:, :hidden] * product(h_BH, params["W_m"], dtype)
    return u_BG[:, hidden:] + product(m_BH, params["W_h"], dtype) + params["bias"][None, :]


def gates(params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates."""
    return lstm.gates(LSTMOptions(), {}, carry, pre_activations(params, carry, u_BG, dtype))


def step(params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS) -> Carry:
    """Return (h, c) after one step."""
    return lstm.update(LSTMOptions(), {}, carry, pre_activations(params, carry, u_BG, dtype, masks), masks)
