"""The contract of a cell: its params, its carry and its recurrence, which the rest of the package runs and saves.

Shapes: B lanes, D input width, H hidden width, G width of the projected input, A width of the pre-activations. A cell
whose params include W_x gets u_BG = x_BD @ W_x, computed for all steps at once; one without gets u_BG = x_BD. If the
params include b, it is added to u. A carry is a tuple of arrays [B, ...] in the order of `Cell.carry`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from rnnlm.errors import UserError
from rnnlm.product import product

Params = dict[str, Any]
"""A PyTree of params: those of a layer are arrays by name, those of a model are layers by name."""
Carry = tuple[jax.Array, ...]
Masks = Mapping[str, jax.Array]
"""Random masks of a step by name, float32 [B, width], or [1, width] for all lanes; those that are off are left out."""
NO_MASKS: Masks = MappingProxyType({})
Gates = dict[str, jax.Array]
"""Activations of the gates by name, each [B, H]."""
Initializer = Callable[[jax.Array, tuple[int, ...]], jax.Array]
"""(key, shape) -> a float32 array."""


class Param(NamedTuple):
    """Declare a param of a layer: its shape and its initializer."""

    shape: tuple[int, ...]
    init: Initializer


class State(NamedTuple):
    """Declare an array of the carry: its shape without the lanes, its dtype and its initial value."""

    shape: tuple[int, ...]
    dtype: DTypeLike = np.float32
    start: ArrayLike = 0.0


@dataclass(frozen=True)
class Cell:
    """Describe a recurrence in one of two forms.

      mix(u_BG, z_BG) -> a_BA and update(vectors, carry, a_BA) -> carry
          one product z = carry[0] @ W_h, then elementwise work. `mix` is linear and accepts any leading axes; `vectors`
          are the params without W_x, W_h and b. The backward pass computes the gradient of W_h once for a window.
      step(params, carry, u_BG, dtype) -> carry
          any function that treats rows independently, since the backward pass runs the rows of all steps at once. Its
          products use `rnnlm.product.product` in `dtype`. With `random`, it also takes a key for each lane, or None
          for no randomness; such a cell is differentiated by autodiff of the scan.

    A cell of the step form may add
      window(params, carry, u_TBG, reset_TB, dtype) -> (carry, h_TBH)
          all steps at once, equal to taking them one by one; where reset_TB is set, the lane's carry is replaced by the
          initial one before the step. Training and evaluation then use it, with autodiff; it suits a recurrence that
          is linear in its carry (`rnnlm.cells.linear`).

    A cell that declares `masks` takes them in `update` or `step` as the keyword argument `masks`, a dict of those that
    are on; they are drawn outside, so that a backward pass that runs a step again sees the same ones.

    The output is carry[0], or output(params, carry, u_BG, dtype) for the step form. `gates` takes the arguments of
    update, or of step but for the keys, and returns the activations of the gates, each [B, H].
    """

    params: Callable[[int, int], dict[str, Param]]
    """(D, H) -> the params by name, in the order in which they are drawn."""
    carry: Callable[[int], dict[str, State]]
    """H -> the arrays of the carry by name."""
    mix: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    update: Callable[..., Carry] | None = None
    step: Callable[..., Carry] | None = None
    output: Callable[[Params, Carry, jax.Array, DTypeLike], jax.Array] | None = None
    window: Callable[[Params, Carry, jax.Array, jax.Array, DTypeLike], tuple[Carry, jax.Array]] | None = None
    gates: Callable[..., Gates] | None = None
    recurrent: tuple[str, ...] = ("W_h",)
    """The matrices that a step multiplies by, each of them: cast to the compute dtype once a window, and not scaled by
    model.init_gain. A cell with `window` multiplies for all steps at once and names none."""
    masks: Callable[[int], dict[str, int]] | None = None
    """H -> the width of each random mask that a step can take, by name; None: it takes none. They are
    state (factors of h where the recurrent matrices read it), candidate (factors of what enters the carry), inner
    (factors of what parts of a cell give one another), zoneout_h and zoneout_c (the shares of h and c that stay as they
    were before the step)."""
    random: bool = False
    output_width: Callable[[int], int] | None = None
    """H -> the width of the output; None: H."""
    hidden_multiple: int = 1
    """What H is a multiple of, such as the number of heads."""
    flops: Callable[[int, int], float] | None = None
    """(D, H) -> FLOPs of one step of one lane; None: two for each weight of a matrix."""

    def __post_init__(self) -> None:
        """Raise UserError unless the cell has params, a carry and exactly one form, with what fits that form."""
        if not callable(self.params) or not callable(self.carry):
            raise UserError("The fields params and carry of a Cell are functions: (D, H) -> params, and H -> carry.")
        by_update = self.mix is not None and self.update is not None
        if by_update == (self.step is not None) or (self.mix is None) != (self.update is None):
            raise UserError("A Cell has either mix and update, or step: give one of the two forms.")
        if by_update and (self.output or self.random):
            raise UserError("A Cell with mix and update has carry[0] as its output and draws no random numbers.")
        if not isinstance(self.recurrent, tuple) or not all(isinstance(name, str) for name in self.recurrent):
            raise UserError(f"The field recurrent of a Cell is {self.recurrent!r}: give a tuple of names of params.")
        if by_update and "W_h" not in self.params(1, self.hidden_multiple):
            raise UserError("A Cell with mix and update multiplies its carry by W_h: declare it, or give step instead.")
        if self.window and (by_update or self.random or self.masks):
            raise UserError(
                "A Cell with window has step, which takes single steps, draws no random numbers and takes no masks."
            )

    def mask_widths(self, hidden: int) -> dict[str, int]:
        """Return the width of each random mask that a step can take, by name."""
        return self.masks(hidden) if self.masks else {}

    def count_outputs(self, hidden: int) -> int:
        """Return the width of the output."""
        return self.output_width(hidden) if self.output_width else hidden

    @property
    def projects_inputs(self) -> bool:
        """Return whether the cell has W_x, so that its inputs are projected for all steps at once."""
        return "W_x" in self.params(1, self.hidden_multiple)

    def count_flops(self, inputs: int, hidden: int) -> float:
        """Return the FLOPs of the forward pass of one step of one lane; with 0 inputs W_x costs none."""
        if self.flops:
            return self.flops(inputs, hidden)
        shapes = [param.shape for param in self.params(inputs, hidden).values()]
        return 2.0 * sum(math.prod(shape) for shape in shapes if len(shape) > 1)


def one_step(
    cell: Cell,
    params: Params,
    before: Carry,
    u_BG: jax.Array,
    dtype: DTypeLike,
    keys_B: jax.Array | None = None,
    masks: Masks = NO_MASKS,
) -> tuple[Carry, jax.Array, jax.Array | None]:
    """Run one step: -> (carry, output h_BH, pre-activations a_BA, or None for a cell of the step form)."""
    u_BG, masked = add_bias(params, u_BG), {"masks": masks} if masks else {}
    if cell.step is not None:
        carry = cell.step(params, before, u_BG, dtype, *((keys_B,) if cell.random else ()), **masked)
        return carry, cell.output(params, carry, u_BG, dtype) if cell.output else carry[0], None
    assert cell.mix is not None and cell.update is not None
    a_BA = cell.mix(u_BG, product(drop(masks, "state", before[0]), params["W_h"], dtype))
    carry = cell.update(vectors_of(params), before, a_BA, **masked)
    return carry, carry[0], a_BA


def read_gates(
    cell: Cell, params: Params, before: Carry, u_BG: jax.Array, a_BA: jax.Array | None, dtype: DTypeLike
) -> Gates:
    """Return the activations of the gates in a step, with `a_BA` as `one_step` returns it; empty if none has a name."""
    if cell.gates is None:
        return {}
    if cell.step is not None:
        return cell.gates(params, before, add_bias(params, u_BG), dtype)
    return cell.gates(vectors_of(params), before, a_BA)


def vectors_of(params: Params) -> Params:
    """Return the params that `Cell.update` takes: all but W_x, W_h and b."""
    return {name: p for name, p in params.items() if name not in ("W_x", "W_h", "b")}


def add_bias(params: Params, u: jax.Array) -> jax.Array:
    """Add the bias to the projected input [..., G], if the cell has one."""
    return u + jnp.expand_dims(params["b"], range(u.ndim - 1)) if "b" in params else u


def drop(masks: Masks, name: str, x: jax.Array) -> jax.Array:
    """Multiply x [..., width] by a mask, if it is on."""
    return x * masks[name] if name in masks else x


def zone_out(masks: Masks, name: str, before: jax.Array, after: jax.Array) -> jax.Array:
    """Keep the share of `before` that a mask says, if it is on, and take the rest of `after` (Krueger et al. 2017)."""
    return masks[name] * before + (1 - masks[name]) * after if name in masks else after


def equal_masks(*names: str) -> Callable[[int], dict[str, int]]:
    """Declare random masks as wide as the layer."""
    return lambda hidden: dict.fromkeys(names, hidden)


@dataclass(frozen=True)
class Uniform:
    """Draw from U(-bound, bound)."""

    bound: float

    def __call__(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draw a float32 array."""
        return jax.random.uniform(key, shape, jnp.float32, -self.bound, self.bound)


def uniform(fan: int) -> Uniform:
    """Return an initializer from U(-1/sqrt(fan), 1/sqrt(fan)), that of PyTorch's recurrent layers with fan = H."""
    return Uniform(fan**-0.5)


def scale(param: Param, gain: float) -> Param:
    """Multiply the bound of a matrix from `uniform` by a gain; leave other params as they are."""
    if not isinstance(param.init, Uniform) or len(param.shape) < 2:
        return param
    return Param(param.shape, Uniform(gain * param.init.bound))


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw from N(0, 1)."""
    return jax.random.normal(key, shape)


def zeros(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return zeros."""
    return jnp.zeros(shape)


def ones(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return ones."""
    return jnp.ones(shape)


def vector_carry(*names: str) -> Callable[[int], dict[str, State]]:
    """Declare a carry of float32 vectors [H] that start at zero."""
    return lambda hidden: {name: State((hidden,)) for name in names}
