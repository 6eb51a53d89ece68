"""The fast-slow RNN (Mujika et al. 2017, equations 1 to 4): `fast` LSTMs in turn in each time step, and a slow one.

f_1 = F_1(f_fast of the step before, x),  s' = S(s, f_1),  f_2 = F_2(f_1, s'),  f_i = F_i(f_{i-1}) for i > 2,
where F(f, y) steps an LSTM whose state (h, c) was f and whose input is y, so that one h and one c go through all fast
LSTMs, as in the authors' code (amujika/Fast-Slow-LSTM). The output is h of f_fast.
"""

from functools import partial

import jax
from jax.typing import DTypeLike

from rnnlm.cells import lstm
from rnnlm.cells.cell import Carry, Cell, Param, Params, State, uniform
from rnnlm.options import FSRNNOptions, LSTMOptions
from rnnlm.product import product


def make_cell(options: FSRNNOptions) -> Cell:
    """Make the cell with the given options."""
    matrices = (*(f"W_{i + 1}" for i in range(options.fast)), "W_slow", "W_slow_in", "W_slow_out")
    return Cell(partial(params, options), partial(carry, options), step=partial(step, options), recurrent=matrices)


def params(options: FSRNNOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x of the first fast LSTM, W_i and bias_i of each, and the matrices and bias of the slow one."""
    slow = options.slow or hidden
    declared = {"W_x": Param((inputs, 4 * hidden), uniform(hidden))}
    for i in range(1, options.fast + 1):
        declared[f"W_{i}"] = Param((hidden, 4 * hidden), uniform(hidden))
        declared[f"bias_{i}"] = Param((4 * hidden,), lstm.gate_bias(options.forget_bias))
    return declared | {
        "W_slow": Param((slow, 4 * slow), uniform(slow)),
        "W_slow_in": Param((hidden, 4 * slow), uniform(slow)),
        "bias_slow": Param((4 * slow,), lstm.gate_bias(options.forget_bias)),
        "W_slow_out": Param((slow, 4 * hidden), uniform(hidden)),
    }


def carry(options: FSRNNOptions, hidden: int) -> dict[str, State]:
    """Declare h and c of the last fast LSTM and of the slow one."""
    slow = options.slow or hidden
    return {"h": State((hidden,)), "c": State((hidden,)), "h_slow": State((slow,)), "c_slow": State((slow,))}


def step(options: FSRNNOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Carry:
    """Return (h, c, h_slow, c_slow) after one step."""

    def advance(a_BG: jax.Array, bias: str, h: jax.Array, c: jax.Array) -> Carry:
        return lstm.update(LSTMOptions(), {}, (h, c), a_BG + params[bias][None, :])

    h, c, h_slow, c_slow = carry
    for i in range(1, options.fast + 1):
        a_BG = product(h, params[f"W_{i}"], dtype)
        if i == 1:
            a_BG = a_BG + u_BG
        if i == 2:
            a_BG = a_BG + product(h_slow, params["W_slow_out"], dtype)
        h, c = advance(a_BG, f"bias_{i}", h, c)
        if i == 1:
            slow_BG = product(h_slow, params["W_slow"], dtype) + product(h, params["W_slow_in"], dtype)
            h_slow, c_slow = advance(slow_BG, "bias_slow", h_slow, c_slow)
    return h, c, h_slow, c_slow
