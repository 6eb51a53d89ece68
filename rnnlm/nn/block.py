"""A layer of the model: a cell, and the connections around it that `model.block` names.

  plain        y = h, the output of the cell
  residual     y = x + h (He et al. 2016)
  highway      y = r h + (1 - r) alpha x,  r = sigmoid(W_r x + v_r h' + b_r),  alpha = sqrt(1 + 2 exp(HIGHWAY_BIAS)),
               where h' is the output of the step before (Lei et al. 2018, equations 3 and 4, and section 3.2)
  skip         y = h; the layers above the first also read the model's input, and the softmax reads the outputs of all
               layers (Graves 2013, equations 1 to 4)
  skip_output  y = h; the softmax reads the sum of the outputs of all layers (Melis et al. 2018)
  prenorm      s = x + h, where the cell reads a causal convolution of norm(x);  y = s + MLP(norm(s)), with
               MLP(a) = (gelu(W_gate a) * W_up a) W_down (Feng et al. 2024, appendix C; the block of De et al. 2024,
               figure 2, also multiplies h by a GeLU branch of norm(x))

Where x is not as wide as the layer's output, it goes through a matrix `skip`. norm is RMSNorm (Zhang and Sennrich
2019).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import cell_of, linear
from rnnlm.cells.cell import Carry, Cell, Param, Params, State, ones, scale, uniform
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn import scan
from rnnlm.options import ADD_INPUTS
from rnnlm.product import product

Recur = Callable[[Params, Carry, jax.Array], tuple[Carry, jax.Array]]
"""(params and carry of the cell, projected inputs u_TBG) -> (carry after the window, output of the cell h_TBO)."""

SKIPS = ("skip", "skip_output")
"""Blocks whose softmax reads the outputs of all layers."""
CONVOLUTION = 4
"""Inputs that the convolution of a prenorm block sees, the newest of them."""
EXPANSION = 3
"""Width of the MLP of a prenorm block, in widths of the layer."""
HIGHWAY_BIAS = -3.0
"""Initial bias of r, with which Lei et al. trained on enwik8."""
HIGHWAY_SCALE = math.sqrt(1 + 2 * math.exp(HIGHWAY_BIAS))
"""alpha, by which the variance of y starts as that of x."""
EPSILON = 1e-6
"""Added to the mean square that RMSNorm divides by."""


@dataclass(frozen=True)
class Block:
    """Declare a layer of D inputs and H hidden units.

    The `first` layer reads the model's input. One of kind `skip` above it also does, `model_inputs` wide. What a layer
    reads of the model's input may be `one_hot`.
    """

    cell: Cell
    kind: str
    inputs: int
    hidden: int
    first: bool = False
    one_hot: bool = False
    model_inputs: int = 0
    gain: float = 1.0

    @property
    def outputs(self) -> int:
        """Return the width O of the output."""
        return self.cell.count_outputs(self.hidden)

    @property
    def looks_up(self) -> bool:
        """Return whether the product of the layer's inputs with W_x is a lookup."""
        return self.one_hot and not self.model_inputs and self.cell.projects_inputs

    def params(self) -> dict[str, Param]:
        """Declare the params: those of the cell, then those of the block. Raises UserError where names are equal.

        Matrices but for those that the steps of the cell multiply by start `gain` times as large. Those of one-hot
        inputs are uniform in +-1 times that: only one input unit is 1, so smaller ones would make the input too weak.
        """
        own, added = self.cell.params(self.inputs, self.hidden), self.added_params()
        if self.looks_up:
            own = own | {"W_x": Param(own["W_x"].shape, uniform(1))}
        self.check_names("a param", own, added)
        declared = own | added
        return {
            name: param if name in self.cell.recurrent else scale(param, self.gain) for name, param in declared.items()
        }

    def added_params(self) -> dict[str, Param]:
        """Declare the params of the block itself."""
        added, width = dict[str, Param](), self.outputs
        if self.model_inputs:
            gates = self.cell.params(self.inputs, self.hidden)["W_x"].shape[1]
            added["skip_in"] = Param((self.model_inputs, gates), uniform(1 if self.one_hot else self.hidden))
        if self.kind in ADD_INPUTS and self.inputs != width:
            added["skip"] = Param((self.inputs, width), uniform(self.inputs))
        if self.kind == "highway":
            added["highway_W"] = Param((self.inputs, width), uniform(self.inputs))
            added |= {"highway_v": Param((width,), uniform(1)), "highway_b": Param((width,), highway_bias)}
        if self.kind == "prenorm":
            inner = EXPANSION * width
            added["norm_in"] = Param((self.inputs,), ones)
            added["conv"] = Param((CONVOLUTION, self.inputs), uniform(CONVOLUTION))
            added["norm_mlp"] = Param((width,), ones)
            added |= {name: Param((width, inner), uniform(width)) for name in ("mlp_gate", "mlp_up")}
            added["mlp_down"] = Param((inner, width), uniform(inner))
        return added

    def carry(self) -> dict[str, State]:
        """Declare the carry: that of the cell, then that of the convolution or the output that the highway reads.

        Raises UserError where names are equal.
        """
        count = CONVOLUTION - 1 if self.kind == "prenorm" else 0
        memory = {f"conv_{i + 1}": State((self.inputs,)) for i in range(count)}
        if self.kind == "highway":
            memory["highway_h"] = State((self.outputs,))
        own = self.cell.carry(self.hidden)
        self.check_names("an array of its carry", own, memory)
        return own | memory

    def check_names(self, what: str, own: Mapping[str, Any], added: Mapping[str, Any]) -> None:
        """Raise UserError where the cell has a name that the block has, too."""
        for name in own.keys() & added.keys():
            raise UserError(
                f"The cell calls {what} {name!r}, as model.block={self.kind} does: rename that of the cell."
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
        return self.cell.count_flops(0 if self.looks_up else self.inputs, self.hidden)

    def count_added_flops(self) -> float:
        """Return the FLOPs that the block adds to those of the cell."""
        shapes = {name: p.shape for name, p in self.added_params().items() if len(p.shape) > 1}
        if self.one_hot:
            shapes.pop("skip_in", None)
        return 2.0 * sum(math.prod(shape) for shape in shapes.values())

    def project(
        self,
        params: Params,
        x_TBD: jax.Array,
        project_symbols: Callable[[jax.Array], jax.Array],
        dtype: DTypeLike,
    ) -> jax.Array:
        """Project the inputs of the cell, u_TBG, with the model's input where the block adds that."""
        if self.first and "W_x" in params:
            return project_symbols(params["W_x"])
        u_TBG = scan.project(params, x_TBD, dtype)
        return u_TBG + project_symbols(params["skip_in"]) if self.model_inputs else u_TBG

    def run(
        self,
        params: Params,
        carry: Carry,
        x_TBD: jax.Array,
        project_symbols: Callable[[jax.Array], jax.Array],
        reset_TB: jax.Array,
        dtype: DTypeLike,
        recur: Recur,
        drop: Callable[[jax.Array], jax.Array] = lambda x: x,
    ) -> tuple[Carry, jax.Array]:
        """Run a window: -> (carry after it, y_TBO).

        `project_symbols` multiplies the model's input by a matrix [E, G]. `drop` is applied to what the cell reads.
        """
        states, added = len(self.cell.carry(self.hidden)), self.added_params()
        carry, memory = carry[:states], carry[states:]
        own = {name: p for name, p in params.items() if name not in added}
        if self.kind == "prenorm":
            normed = drop(rms_norm(x_TBD, params["norm_in"]))
            memory, x_conv = convolve(params["conv"], memory, normed, reset_TB)
            u_TBG = scan.project(own, x_conv, dtype)
        else:
            u_TBG = self.project(params, drop(x_TBD), project_symbols, dtype)
        carry, h_TBO = recur(own, carry, u_TBG)
        if self.kind not in ADD_INPUTS:
            return carry, h_TBO
        x_TBO = product(x_TBD, params["skip"], dtype) if "skip" in params else x_TBD
        if self.kind == "highway":
            v, b = params["highway_v"][None, None], params["highway_b"][None, None]
            before_TBO = jnp.where(reset_TB[:, :, None], 0, linear.shift(h_TBO, memory[0]))
            r = jax.nn.sigmoid(product(x_TBD, params["highway_W"], dtype) + v * before_TBO + b)
            return (*carry, h_TBO[-1]), r * h_TBO + (1 - r) * HIGHWAY_SCALE * x_TBO
        h_TBO = x_TBO + h_TBO
        if self.kind == "prenorm":
            h_TBO = h_TBO + gated_mlp(params, rms_norm(h_TBO, params["norm_mlp"]), dtype)
        return (*carry, *memory), h_TBO


def highway_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Fill an array with HIGHWAY_BIAS."""
    return jnp.full(shape, HIGHWAY_BIAS, jnp.float32)


def rms_norm(x: jax.Array, gain: jax.Array) -> jax.Array:
    """Divide x [T, B, D] by the root of its mean square in each row, and scale it."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + EPSILON) * gain[None, None]


def convolve(w_KD: jax.Array, before: Carry, x_TBD: jax.Array, reset_TB: jax.Array) -> tuple[Carry, jax.Array]:
    """Weigh each input and the K - 1 before it, unit by unit: -> (those before the next step, sums [T, B, D]).

    Inputs from before a reset count as zero.
    """
    total, after = w_KD[0][None, None] * x_TBD, []
    for w_D, x_BD in zip(w_KD[1:], before, strict=True):
        after.append(x_TBD[-1])
        x_TBD = jnp.where(reset_TB[:, :, None], 0, linear.shift(x_TBD, x_BD))
        total = total + w_D[None, None] * x_TBD
    return tuple(after), total


def gated_mlp(params: Params, x_TBD: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Return MLP(x)."""
    gate = jax.nn.gelu(product(x_TBD, params["mlp_gate"], dtype))
    return product(gate * product(x_TBD, params["mlp_up"], dtype), params["mlp_down"], dtype)


def blocks_of(config: ModelConfig, vocab: int, cell: Cell | None = None) -> list[Block]:
    """Return the layers of a model, of its own cell unless one is given.

    Raises UserError where the cell cannot be in the block, or its outputs do not fit.
    """
    cell, inputs = cell or cell_of(config), config.embedding or vocab
    if config.block == "skip" and not cell.projects_inputs:
        raise UserError(
            f"model.cell={config.cell} cannot be in model.block=skip, whose layers add a product with the model's "
            "input to that with W_x, which this cell lacks: take another block, such as residual or skip_output."
        )
    blocks: list[Block] = []
    for hidden in config.hidden_sizes:
        first = not blocks
        one_hot = (first or config.block == "skip") and not config.embedding
        model_inputs = config.embedding or vocab if config.block == "skip" and not first else 0
        blocks.append(Block(cell, config.block, inputs, hidden, first, one_hot, model_inputs, config.init_gain))
        inputs = blocks[-1].outputs
    check_outputs(config, blocks)
    return blocks


def read_width(config: ModelConfig, blocks: list[Block]) -> int:
    """Return the width of what the softmax reads."""
    return sum(block.outputs for block in blocks) if config.block == "skip" else blocks[-1].outputs


def check_outputs(config: ModelConfig, blocks: list[Block]) -> None:
    """Raise UserError where the softmax cannot read the outputs, whose widths a cell of one's own chooses."""
    outputs, read = [block.outputs for block in blocks], read_width(config, blocks)
    if config.block == "skip_output" and len(set(outputs)) > 1:
        raise UserError(f"model.block=skip_output adds the outputs of all layers, but their widths differ: {outputs}.")
    if config.tied and config.embedding != read:
        raise UserError(
            f"model.tied shares the embedding with the output, but model.embedding={config.embedding} differs from the "
            f"{read} outputs of {config.cell} that the softmax reads: make them equal or set model.tied=False."
        )
