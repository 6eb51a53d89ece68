"""A reference layer over time, differentiated by autodiff, which the custom backward pass must equal."""

import jax

from rnnlm.cells import Carry, Cell, Params
from rnnlm.cells.cell import one_step
from rnnlm.nn.recurrence import Recurrence, reset


def scan_steps(
    cell: Cell, hidden: int, params: Params, carry: Carry, u_TBG: jax.Array, reset_TB: jax.Array, dtype: object
) -> tuple[Carry, jax.Array]:
    """Run the recurrence as `scan.scan` does, with a plain lax.scan."""
    recurrence = Recurrence(cell, hidden, dtype)

    def step(carry: Carry, inputs: tuple[jax.Array, jax.Array]) -> tuple[Carry, jax.Array]:
        return one_step(cell, params, reset(recurrence, carry, inputs[1]), inputs[0], dtype)[:2]

    return jax.lax.scan(step, carry, (u_TBG, reset_TB))
