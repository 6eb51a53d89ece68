"""The linear recurrent unit (Orvieto et al. 2023, section 3 and appendix A): a complex diagonal recurrence.

s' = lambda s + gamma (B x),  h = Re(C s') + D x,  with lambda = exp(-exp(nu) + i exp(theta)), which starts uniform on
a ring of the unit disc, and gamma = exp(log_gamma) sqrt(1 - |lambda|^2), where log_gamma starts at 0 (the paper learns
the whole of gamma, from this start).

It is linear in its inputs: plain layers of it make logits that are linear in the embeddings of the symbols, and learn
little. As in the paper, the nonlinearity is the block's: use `model.block=prenorm`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from rnnlm.cells import linear
from rnnlm.cells.cell import Carry, Cell, Param, Params, State, uniform, zeros
from rnnlm.options import MAX_R_MIN, LRUOptions
from rnnlm.product import product


def make_cell(options: LRUOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        carry,
        step=partial(linear.step, coefficients),
        output=output,
        window=window,
        recurrent=(),
    )


def carry(hidden: int) -> dict[str, State]:
    """Declare the complex state."""
    return {"s": State((hidden,), np.complex64)}


def params(options: LRUOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x = (Re B, Im B, D), the real and the imaginary part of C, nu, theta and log_gamma."""

    def nu(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        low, high = options.r_min**2, options.r_max**2
        squares = jax.random.uniform(key, shape, minval=1e-6) * (high - low) + low
        return jnp.log(-0.5 * jnp.log(jnp.minimum(squares, MAX_R_MIN**2)))  # float32 may round a square to 1

    def theta(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.log(options.max_phase * jax.random.uniform(key, shape, minval=1e-6))

    return {
        "W_x": Param((inputs, 3 * hidden), uniform(hidden)),
        "C_re": Param((hidden, hidden), uniform(hidden)),
        "C_im": Param((hidden, hidden), uniform(hidden)),
        "nu": Param((hidden,), nu),
        "theta": Param((hidden,), theta),
        "log_gamma": Param((hidden,), zeros),
    }


def coefficients(params: Params, u_BG: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
    """Return lambda, for each row, and gamma (B x)."""
    decay, turn = jnp.exp(-jnp.exp(params["nu"])), jnp.exp(params["theta"])
    lam = jax.lax.complex(decay * jnp.cos(turn), decay * jnp.sin(turn))
    gamma = jnp.exp(params["log_gamma"]) * jnp.sqrt(
        -jnp.expm1(-2 * jnp.exp(params["nu"]))
    )  # 1 - |lambda|^2, also near 0
    re, im, _ = jnp.split(u_BG, 3, axis=-1)
    b_BH = gamma[None, :] * jax.lax.complex(re, im)
    return jnp.broadcast_to(lam, b_BH.shape), b_BH


def output(params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Return h."""
    (s,) = carry
    mixed = product(jnp.real(s), params["C_re"], dtype) - product(jnp.imag(s), params["C_im"], dtype)
    return mixed + jnp.split(u_BG, 3, axis=-1)[2]


def window(
    params: Params, carry: Carry, u_TBG: jax.Array, reset_TB: jax.Array, dtype: DTypeLike
) -> tuple[Carry, jax.Array]:
    """Return (s,) after a window, and h after each step."""
    carry, s_TBH = linear.window(coefficients, params, carry, u_TBG, reset_TB, dtype)
    return carry, linear.in_rows(lambda s, u: output(params, (s,), u, dtype), s_TBH, u_TBG)
