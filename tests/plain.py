"""A layer over time by the definition, differentiated by jax: what the fast path must agree with."""

import jax

from rnnlm.cells import Carry, Cell, Params
from rnnlm.nn import scan


def scan_steps(
    cell: Cell, params: Params, carry: Carry, u_TBG: jax.Array, fresh_TB: jax.Array, dtype: object
) -> tuple[Carry, jax.Array]:
    def step(carry: Carry, now: tuple[jax.Array, jax.Array]) -> tuple[Carry, jax.Array]:
        carry, _ = scan.one_step(cell, params, scan.reset(carry, now[1]), now[0], dtype)
        return carry, carry[0]

    return jax.lax.scan(step, carry, (u_TBG, fresh_TB))
