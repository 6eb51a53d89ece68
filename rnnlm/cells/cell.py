"""What a cell says of itself: the contract between a recurrence and the rooms that run, count, draw and save it.

Shapes: B lanes, D input width, H hidden width, G width of the projected input, A width of the kept pre-activations. A
cell whose params include W_x gets u_BG = x_BD @ W_x, made for all steps at once; one without gets u_BG = x_BD. Where
the params include b, it is added to u. A carry is a tuple of arrays [B, ...] in the order of `Cell.carry`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

Params = dict[str, Any]
"""A PyTree of params: those of a layer are arrays by name, those of a model are layers by name."""
Carry = tuple[jax.Array, ...]
Gates = dict[str, jax.Array]
"""Activations of the gates by name, each [B, H]."""
Initializer = Callable[[jax.Array, tuple[int, ...]], jax.Array]
"""(key, shape) -> a float32 array."""


class Param(NamedTuple):
    """A param of a layer: its shape, and how it is drawn."""

    shape: tuple[int, ...]
    init: Initializer


class State(NamedTuple):
    """An array of the carry: its shape without the lanes, its dtype, and its value at the start of a text."""

    shape: tuple[int, ...]
    dtype: DTypeLike = np.float32
    start: ArrayLike = 0.0


@dataclass(frozen=True)
class Cell:
    """One recurrence, in one of two forms.

      mix(u_BG, z_BG) -> a_BA and update(vectors, carry, a_BA) -> carry
          one product z = carry[0] @ W_h, then elementwise work. `mix` is linear, with any axes before the last;
          `vectors` are the params but W_x, W_h and b. The backward pass touches W_h once for a whole window.
      step(params, carry, u_BG, dtype) -> carry
          anything that treats each row alone, since the backward pass runs all steps' rows at once; products are made
          by `rnnlm.product.product` in `dtype`. With `random`, it also takes a key for each lane, or None to draw
          nothing; such a cell is differentiated by autodiff of the scan.

    The output is carry[0], or output(params, carry, u_BG, dtype) for the step form. `gates` takes what update or step
    takes and gives the gates' activations, for those who look inside.
    """

    params: Callable[[int, int], dict[str, Param]]
    """(D, H) -> the params by name, drawn in this order."""
    carry: Callable[[int], dict[str, State]]
    """H -> the arrays of the carry by name."""
    mix: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    update: Callable[[Params, Carry, jax.Array], Carry] | None = None
    step: Callable[..., Carry] | None = None
    output: Callable[[Params, Carry, jax.Array, DTypeLike], jax.Array] | None = None
    gates: Callable[..., Gates] | None = None
    recurrent: tuple[str, ...] = ("W_h",)
    """Matrices that multiply the carry, cast to the compute dtype once a window."""
    random: bool = False
    flops: Callable[[int, int], float] | None = None
    """(D, H) -> FLOPs of one step of one lane, where two for each weight of a matrix is wrong."""

    def count_params(self, inputs: int, hidden: int) -> int:
        """Return the number of parameters of a layer."""
        return sum(math.prod(param.shape) for param in self.params(inputs, hidden).values())

    def count_flops(self, inputs: int, hidden: int) -> float:
        """Return the FLOPs of the forward pass of one step of one lane; with 0 inputs without their product."""
        if self.flops:
            return self.flops(inputs, hidden)
        shapes = [param.shape for param in self.params(inputs, hidden).values()]
        return 2.0 * sum(math.prod(shape) for shape in shapes if len(shape) > 1)

    def carry_bytes(self, hidden: int) -> int:
        """Return the bytes of the carry of one lane."""
        return sum(math.prod(s.shape) * jnp.dtype(s.dtype).itemsize for s in self.carry(hidden).values())

    def start(self, lanes: int, hidden: int) -> Carry:
        """Return the carry before anything is read, for so many lanes."""
        return tuple(
            jnp.broadcast_to(jnp.asarray(s.start, s.dtype), (lanes, *s.shape)) for s in self.carry(hidden).values()
        )


@lru_cache
def uniform(fan: int) -> Initializer:
    """Draw from U(-1/sqrt(fan), 1/sqrt(fan)), as PyTorch's recurrent layers are drawn with fan = H."""
    bound = fan**-0.5
    return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw from N(0, 1)."""
    return jax.random.normal(key, shape)


def zeros(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Start at zero."""
    return jnp.zeros(shape)


def vector_carry(*names: str) -> Callable[[int], dict[str, State]]:
    """Declare a carry of float32 vectors of the hidden width that start at zero."""
    return lambda hidden: {name: State((hidden,)) for name in names}
