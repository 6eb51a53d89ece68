"""The contract of a layer: a cell, and what connects it with its input and the softmax, which `model.block` names.

A block declares what it adds to the params and the carry of its cell, what the cell reads, and what the layer returns;
`rnnlm.nn.blocks` has the kinds of blocks and their table.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Cell, Param, Params, State, uniform
from rnnlm.errors import UserError
from rnnlm.nn import scan, weight_norm
from rnnlm.nn.initialize import DEFAULT, Initialization


class Window(NamedTuple):
    """Hold what a layer reads in a window, x [T, B, D] and resets [T, B], and how it is computed.

    `project_symbols` multiplies the model's input by a matrix [E, G], and `drop` applies dropout to what the cell
    reads. `recur` maps params and carry of the cell, and projected inputs u_TBG, to the carry after the window and the
    output of the cell h_TBO.
    """

    x: jax.Array
    reset: jax.Array
    dtype: DTypeLike
    recur: Callable[[Params, Carry, jax.Array], tuple[Carry, jax.Array]]
    project_symbols: Callable[[jax.Array], jax.Array]
    drop: Callable[[jax.Array], jax.Array] = lambda x: x


@dataclass(frozen=True)
class Block:
    """Declare a layer of D inputs and H hidden units that returns the output of its cell: the block `plain`.

    The `first` layer reads the model's input, `model_inputs` wide, which may be `one_hot`.
    """

    cell: Cell
    inputs: int
    hidden: int
    model_inputs: int = 0
    first: bool = False
    one_hot: bool = False
    init: Initialization = DEFAULT
    weight_norm: bool = False
    projection: int = 0
    """The width to which a block that can do so projects what the cell reads; 0: none."""

    name: ClassVar[str] = "plain"
    reads_all: ClassVar[bool] = False
    """Whether the softmax reads the outputs of all layers, as `join` joins them."""
    normalizes_output: ClassVar[bool] = False
    """Whether the head normalizes what it reads."""
    folds_embedding: ClassVar[bool] = True
    """Whether the first layer reads the embedding by W_x alone, and no other layer reads it."""

    @property
    def outputs(self) -> int:
        """Return the width O of the output."""
        return self.cell.count_outputs(self.hidden)

    @property
    def read_width(self) -> int:
        """Return the width of what the cell reads."""
        return self.projection or self.inputs

    @property
    def looks_up(self) -> bool:
        """Return whether the product of the layer's inputs with W_x is a lookup."""
        return self.first and self.one_hot and self.cell.projects_inputs

    def added_params(self) -> dict[str, Param]:
        """Declare the params of the block itself."""
        return {}

    def added_carry(self) -> dict[str, State]:
        """Declare what the block itself carries from step to step, float32 vectors."""
        return {}

    @staticmethod
    def join(outputs: list[jax.Array]) -> jax.Array:
        """Return what the softmax reads of the outputs of all layers."""
        return outputs[-1]

    @staticmethod
    def join_widths(widths: list[int]) -> int:
        """Return the width of what the softmax reads."""
        return widths[-1]

    def read(self, params: Params, memory: Carry, window: Window) -> tuple[Carry, jax.Array]:
        """Return (what the block carries, what the cell reads [T, B, D])."""
        return memory, window.drop(window.x)

    def project(self, params: Params, read_TBD: jax.Array, window: Window) -> jax.Array:
        """Project what the cell reads, u_TBG."""
        if self.first and "W_x" in params:
            return window.project_symbols(params["W_x"])
        return scan.project(params, read_TBD, window.dtype)

    def connect(self, params: Params, memory: Carry, h_TBO: jax.Array, window: Window) -> tuple[Carry, jax.Array]:
        """Return (what the block carries, output y_TBO of the layer) from the output of its cell."""
        return memory, h_TBO

    def run(self, params: Params, carry: Carry, window: Window) -> tuple[Carry, jax.Array]:
        """Run a window: -> (carry after it, y_TBO)."""
        states, added = len(self.cell.carry(self.hidden)), self.added_params()
        own = {name: p for name, p in params.items() if name not in added}
        own = weight_norm.apply_lengths(own) if self.weight_norm else own
        carry, memory = carry[:states], carry[states:]
        memory, read_TBD = self.read(params, memory, window)
        carry, h_TBO = window.recur(own, carry, self.project({**params, **own}, read_TBD, window))
        memory, y_TBO = self.connect(params, memory, h_TBO, window)
        return (*carry, *memory), y_TBO

    def params(self) -> dict[str, Param]:
        """Declare the params: those of the cell, then those of the block. Raises UserError where names are equal.

        `init` initializes them. A W_x of one-hot inputs is uniform in +-1 by default: only one input unit is 1, so a
        smaller one would make the input too weak. With `weight_norm` the matrices of the cell have lengths.
        """
        own, added = self.cell.params(self.read_width, self.hidden), self.added_params()
        if self.looks_up:
            own = own | {"W_x": Param(own["W_x"].shape, uniform(1))}
        self.check_names("a param", own, added)
        cell = {
            name: self.init.of_cell(param, name in self.cell.recurrent, self.read_width, self.hidden)
            for name, param in own.items()
        }
        lengths = weight_norm.declare_lengths(own) if self.weight_norm else {}
        return cell | {name: self.init.of_module(param) for name, param in added.items()} | lengths

    def carry(self) -> dict[str, State]:
        """Declare the carry: that of the cell, then that of the block. Raises UserError where names are equal."""
        own, added = self.cell.carry(self.hidden), self.added_carry()
        self.check_names("an array of its carry", own, added)
        return own | added

    def check_names(self, what: str, own: Mapping[str, Any], added: Mapping[str, Any]) -> None:
        """Raise UserError where the cell has a name that the block has, too."""
        for name in own.keys() & added.keys():
            raise UserError(
                f"The cell calls {what} {name!r}, as model.block={self.name} does: rename that of the cell."
            )

    def start(self, lanes: int) -> Carry:
        """Return the initial carry of `lanes` lanes."""
        states = self.carry().values()
        return tuple(jnp.broadcast_to(jnp.asarray(s.start, s.dtype), (lanes, *s.shape)) for s in states)

    def count_flops(self) -> float:
        """Return the FLOPs of the forward pass of one step of one lane; a lookup costs none."""
        return self.count_cell_flops() + self.count_added_flops()

    def count_cell_flops(self) -> float:
        """Return the FLOPs of the cell in one step of one lane."""
        return self.cell.count_flops(0 if self.looks_up else self.read_width, self.hidden)

    def count_added_flops(self) -> float:
        """Return the FLOPs that the block adds to those of the cell."""
        return 2.0 * sum(math.prod(p.shape) for p in self.added_params().values() if len(p.shape) > 1)
