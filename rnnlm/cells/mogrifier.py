"""The Mogrifier LSTM (Melis et al. 2020, equations 1 and 2): input and carry gate one another before an LSTM's step.

In round 1, 3, ... x <- 2 sigmoid(h Q_i) x; in round 2, 4, ... h <- 2 sigmoid(x R_i) h. Each matrix is a product of two
of inner width `rank`, or one whole matrix.
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
from rnnlm.options import FULL_RANK, LSTMOptions, MogrifierOptions
from rnnlm.product import product


def make_cell(options: MogrifierOptions) -> Cell:
    """Make the cell with the given options."""
    matrices = tuple(name for i in range(options.rounds) for name in names(options, i))
    return Cell(
        partial(params, options),
        vector_carry("h", "c"),
        step=partial(step, options),
        gates=partial(gates, options),
        recurrent=("W_in", "W_h", *matrices),
        masks=partial(lstm.masks, LSTMOptions()),
    )


def names(options: MogrifierOptions, i: int) -> tuple[str, ...]:
    """Return the names of the matrices of a round, counted from 0."""
    name = f"{'RQ'[i % 2 == 0]}_{i + 1}"
    return (name,) if options.rank == FULL_RANK else (f"{name}_left", f"{name}_right")


def params(options: MogrifierOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare the matrices W_in and W_h and the bias of the LSTM, and those of the rounds."""
    declared = {
        "W_in": Param((inputs, 4 * hidden), uniform(hidden)),
        "W_h": Param((hidden, 4 * hidden), uniform(hidden)),
        "bias": Param((4 * hidden,), lstm.gate_bias(options.forget_bias)),
    }
    for i in range(options.rounds):
        read, write = (hidden, inputs) if i % 2 == 0 else (inputs, hidden)
        shapes = [(read, write)] if options.rank == FULL_RANK else [(read, options.rank), (options.rank, write)]
        for name, shape in zip(names(options, i), shapes, strict=True):
            declared[name] = Param(shape, uniform(shape[0]))
    return declared


def pre_activations(
    options: MogrifierOptions,
    params: Params,
    carry: Carry,
    x_BD: jax.Array,
    dtype: DTypeLike,
    masks: Masks = NO_MASKS,
) -> jax.Array:
    """Return the pre-activations of the gates of the LSTM, after all rounds."""
    x, h = x_BD, drop(masks, "state", carry[0])
    for i in range(options.rounds):
        reading = h if i % 2 == 0 else x
        for name in names(options, i):
            reading = product(reading, params[name], dtype)
        gate = 2 * jax.nn.sigmoid(reading)
        x, h = (gate * x, h) if i % 2 == 0 else (x, gate * h)
    return product(x, params["W_in"], dtype) + product(h, params["W_h"], dtype) + params["bias"][None, :]


def gates(options: MogrifierOptions, params: Params, carry: Carry, x_BD: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates of the LSTM."""
    a_BG = pre_activations(options, params, carry, x_BD, dtype)
    return lstm.gates(LSTMOptions(input_gate=options.input_gate), {}, carry, a_BG)


def step(
    options: MogrifierOptions, params: Params, carry: Carry, x_BD: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS
) -> Carry:
    """Return (h, c) after one step."""
    a_BG = pre_activations(options, params, carry, x_BD, dtype, masks)
    return lstm.update(LSTMOptions(input_gate=options.input_gate), {}, carry, a_BG, masks)
