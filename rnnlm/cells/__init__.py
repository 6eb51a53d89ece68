"""The recurrences, one file each, and their table by name.

A carry is a tuple of [B, H] arrays whose first is the output h; u_BG is the input's part of the gates with the bias
added, x_BD @ W_x + b. A cell gives its recurrence in one of two forms:

  mix(u_BG, z_BG) -> a_BA and update(vectors, carry, a_BA) -> carry
      one product z = h @ W_h, then elementwise work. `mix` is linear, with any axes before the last; `vectors` holds
      the layer's params but for the matrices and b. From this form `scan` makes a backward pass that touches W_h once
      for the whole window.
  step(params, carry, u_BG, dtype) -> carry
      anything that treats each row alone, since the backward pass runs it on the rows of all steps at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
from jax.typing import DTypeLike

from rnnlm.cells import gru, lstm, rnn

Params = dict[str, jax.Array]
Carry = tuple[jax.Array, ...]


@dataclass(frozen=True)
class Cell:
    """One recurrence: G = gates * H, `states` arrays in the carry, `biases` vectors of G each ("b", then "b_h")."""

    gates: int
    states: int
    biases: int
    mix: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    update: Callable[[Params, Carry, jax.Array], Carry] | None = None
    step: Callable[[Params, Carry, jax.Array, DTypeLike], Carry] | None = None


CELLS: dict[str, Cell] = {
    "rnn": Cell(gates=1, states=1, biases=1, mix=rnn.mix, update=rnn.update),
    "lstm": Cell(gates=4, states=2, biases=1, mix=lstm.mix, update=lstm.update),
    "gru": Cell(gates=3, states=1, biases=2, mix=gru.mix, update=gru.update),
    "gru_before": Cell(gates=3, states=1, biases=1, step=gru.step_before),
}
