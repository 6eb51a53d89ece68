"""The recurrences, one file each, and their table by name.

A carry is a tuple of [B, H] arrays whose first is the output h; u_BG is the input's part x_BD @ W_x + b, made for
all time at once by `scan.project`. A cell gives its recurrence in one of two forms:

  mix(u_BG, z_BG) -> a_BA and update(bias, carry, a_BA) -> carry
      one product z = h @ W_h, then elementwise work. `mix` is linear; `bias` holds the layer's params without the
      matrices. From this form `scan` makes a backward pass that touches W_h once for the whole window.
  step(params, carry, u_BG, dtype) -> carry
      anything else; differentiated by jax as it stands.
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
