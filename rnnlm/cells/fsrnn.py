"""The fast-slow RNN (Mujika et al. 2017, equations 1 to 4): `fast` LSTMs in turn in each time step, and a slow one.

f_1 = F_1(f_fast of the step before, x),  s' = S(s, f_1),  f_2 = F_2(f_1, s'),  f_i = F_i(f_{i-1}) for i > 2,
where F(f, y) steps an LSTM whose state (h, c) was f and whose input is y, so that one h and one c go through all fast
LSTMs, as in the authors' code (amujika/Fast-Slow-LSTM). The output is h of f_fast.
"""

from functools import partial

import jax
from jax.typing import DTypeLike

from rnnlm.cells import lstm
from rnnlm.cells.cell import NO_MASKS, Carry, Cell, Masks, Param, Params, State, drop, ones, uniform, zeros
from rnnlm.options import FSRNNOptions, LSTMOptions
from rnnlm.product import product

NORMALIZATION = {"gain": "gain", "bias": "shift", "gain_c": "gain_c", "bias_c": "shift_c"}
"""The names that `lstm.update` gives the vectors of its normalizations, and those that they have here."""


def make_cell(options: FSRNNOptions) -> Cell:
    """Make the cell with the given options."""
    matrices = (*(f"W_{i + 1}" for i in range(options.fast)), "W_slow", "W_slow_in", "W_slow_out")
    return Cell(
        partial(params, options),
        partial(carry, options),
        step=partial(step, options),
        recurrent=matrices,
        masks=partial(masks, options),
    )


def masks(options: FSRNNOptions, hidden: int) -> dict[str, int]:
    """Declare the random masks of a step.

    Those of zoneout hold the parts of the fast LSTMs in turn and then of the slow one. That of what the LSTMs give one
    another, inner, holds the parts of the first fast LSTM's output and of the slow one's.
    """
    slow = options.slow or hidden
    zones = dict.fromkeys(("zoneout_h", "zoneout_c"), options.fast * hidden + slow)
    return zones | {"inner": hidden + slow}


def params(options: FSRNNOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x of the first fast LSTM, W_i and the vectors of each, and the matrices and vectors of the slow one."""
    slow = options.slow or hidden
    declared = {"W_x": Param((inputs, 4 * hidden), uniform(hidden))}
    for i in range(1, options.fast + 1):
        declared[f"W_{i}"] = Param((hidden, 4 * hidden), uniform(hidden))
        declared |= vectors(options, str(i), hidden)
    return declared | {
        "W_slow": Param((slow, 4 * slow), uniform(slow)),
        "W_slow_in": Param((hidden, 4 * slow), uniform(slow)),
        **vectors(options, "slow", slow),
        "W_slow_out": Param((slow, 4 * hidden), uniform(hidden)),
    }


def vectors(options: FSRNNOptions, name: str, units: int) -> dict[str, Param]:
    """Declare the bias of an LSTM, and with layer_norm what its normalizations scale and shift by."""
    bias = lstm.gate_bias(options.forget_bias)
    if not options.layer_norm:
        return {f"bias_{name}": Param((4 * units,), bias)}
    return {
        f"bias_{name}": Param((4 * units,), zeros),
        f"gain_{name}": Param((4 * units,), ones),
        f"shift_{name}": Param((4 * units,), bias),
        f"gain_c_{name}": Param((units,), ones),
        f"shift_c_{name}": Param((units,), zeros),
    }


def carry(options: FSRNNOptions, hidden: int) -> dict[str, State]:
    """Declare h and c of the last fast LSTM and of the slow one."""
    slow = options.slow or hidden
    return {"h": State((hidden,)), "c": State((hidden,)), "h_slow": State((slow,)), "c_slow": State((slow,))}


def step(
    options: FSRNNOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS
) -> Carry:
    """Return (h, c, h_slow, c_slow) after one step."""

    def advance(a_BG: jax.Array, name: str, h: jax.Array, c: jax.Array, begin: int) -> Carry:
        own = {mask: m[:, begin : begin + h.shape[-1]] for mask, m in masks.items()}
        normalization = {to: params[f"{of}_{name}"] for to, of in NORMALIZATION.items()} if options.layer_norm else {}
        return lstm.update(lstm_options, normalization, (h, c), a_BG + params[f"bias_{name}"][None, :], own)

    lstm_options = LSTMOptions(layer_norm=options.layer_norm)
    h, c, h_slow, c_slow = carry
    hidden = h.shape[-1]
    parts = {"fast": slice(hidden), "slow": slice(hidden, None)}
    between = {name: masks["inner"][:, part] for name, part in parts.items() if "inner" in masks}
    for i in range(1, options.fast + 1):
        a_BG = product(h, params[f"W_{i}"], dtype)
        if i == 1:
            a_BG = a_BG + u_BG
        if i == 2:
            a_BG = a_BG + product(drop(between, "slow", h_slow), params["W_slow_out"], dtype)
        h, c = advance(a_BG, str(i), h, c, (i - 1) * hidden)
        if i == 1:
            read_BG = product(drop(between, "fast", h), params["W_slow_in"], dtype)
            slow_BG = product(h_slow, params["W_slow"], dtype) + read_BG
            h_slow, c_slow = advance(slow_BG, "slow", h_slow, c_slow, options.fast * hidden)
    return h, c, h_slow, c_slow
