"""The kinds of blocks and their table, BLOCKS; `block` holds the contract that each fulfils.

  plain        y = h, the output of the cell
  residual     y = x + h (He et al. 2016)
  highway      y = r h + (1 - r) alpha x,  r = sigmoid(W_r x + v_r h' + b_r),  alpha = sqrt(1 + 2 exp(HIGHWAY_BIAS)),
               where h' is the output of the step before (Lei et al. 2018, equations 3 and 4, and section 3.2);
               with model.input_projection cell and r read P x instead of x, in layers above the first
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

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import linear
from rnnlm.cells.cell import Carry, Param, Params, State, ones, uniform
from rnnlm.nn import scan
from rnnlm.nn.block import Block, Window
from rnnlm.product import product

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


class Residual(Block):
    """Declare the block `residual`."""

    name = "residual"
    folds_embedding = False

    def added_params(self) -> dict[str, Param]:
        if self.inputs == self.outputs:
            return {}
        return {"skip": Param((self.inputs, self.outputs), uniform(self.inputs))}

    def skip(self, params: Params, window: Window) -> jax.Array:
        """Return x at the width of the output."""
        return product(window.x, params["skip"], window.dtype) if "skip" in params else window.x

    def connect(self, params: Params, memory: Carry, h_TBO: jax.Array, window: Window) -> tuple[Carry, jax.Array]:
        return memory, self.skip(params, window) + h_TBO


class Highway(Residual):
    """Declare the block `highway`."""

    name = "highway"

    def added_params(self) -> dict[str, Param]:
        projection = (
            {"projection": Param((self.inputs, self.projection), uniform(self.inputs))} if self.projection else {}
        )
        gate = {
            "highway_W": Param((self.read_width, self.outputs), uniform(self.read_width)),
            "highway_v": Param((self.outputs,), uniform(1)),
            "highway_b": Param((self.outputs,), highway_bias),
        }
        return super().added_params() | projection | gate

    def added_carry(self) -> dict[str, State]:
        """Declare the output that the next step reads."""
        return {"highway_h": State((self.outputs,))}

    def read(self, params: Params, memory: Carry, window: Window) -> tuple[Carry, jax.Array]:
        memory, read_TBD = super().read(params, memory, window)
        if not self.projection:
            return memory, read_TBD
        narrow_TBP = product(read_TBD, params["projection"], window.dtype)
        return (*memory, narrow_TBP), narrow_TBP

    def connect(self, params: Params, memory: Carry, h_TBO: jax.Array, window: Window) -> tuple[Carry, jax.Array]:
        before_BO, read = memory[0], memory[1] if self.projection else window.x
        v, b = params["highway_v"][None, None], params["highway_b"][None, None]
        before_TBO = jnp.where(window.reset[:, :, None], 0, linear.shift(h_TBO, before_BO))
        r = jax.nn.sigmoid(product(read, params["highway_W"], window.dtype) + v * before_TBO + b)
        return (h_TBO[-1],), r * h_TBO + (1 - r) * HIGHWAY_SCALE * self.skip(params, window)


class Skip(Block):
    """Declare the block `skip`, of a cell that has W_x."""

    name = "skip"
    reads_all = True
    folds_embedding = False

    @staticmethod
    def join(outputs: list[jax.Array]) -> jax.Array:
        return jnp.concatenate(outputs, axis=-1)

    @staticmethod
    def join_widths(widths: list[int]) -> int:
        return sum(widths)

    def added_params(self) -> dict[str, Param]:
        if self.first:
            return {}
        gates = self.cell.params(self.inputs, self.hidden)["W_x"].shape[1]
        return {"skip_in": Param((self.model_inputs, gates), uniform(1 if self.one_hot else self.hidden))}

    def project(self, params: Params, read_TBD: jax.Array, window: Window) -> jax.Array:
        u_TBG = super().project(params, read_TBD, window)
        return u_TBG if self.first else u_TBG + window.project_symbols(params["skip_in"])

    def count_added_flops(self) -> float:
        return 0.0 if self.one_hot else super().count_added_flops()


class SkipOutput(Block):
    """Declare the block `skip_output`."""

    name = "skip_output"
    reads_all = True

    @staticmethod
    def join(outputs: list[jax.Array]) -> jax.Array:
        return sum(outputs[1:], outputs[0])


class Prenorm(Residual):
    """Declare the block `prenorm`."""

    name = "prenorm"
    normalizes_output = True

    def added_params(self) -> dict[str, Param]:
        width, inner = self.outputs, EXPANSION * self.outputs
        return super().added_params() | {
            "norm_in": Param((self.inputs,), ones),
            "conv": Param((CONVOLUTION, self.inputs), uniform(CONVOLUTION)),
            "norm_mlp": Param((width,), ones),
            "mlp_gate": Param((width, inner), uniform(width)),
            "mlp_up": Param((width, inner), uniform(width)),
            "mlp_down": Param((inner, width), uniform(inner)),
        }

    def added_carry(self) -> dict[str, State]:
        """Declare the inputs that the convolution reads again."""
        return {f"conv_{i + 1}": State((self.inputs,)) for i in range(CONVOLUTION - 1)}

    def read(self, params: Params, memory: Carry, window: Window) -> tuple[Carry, jax.Array]:
        normed_TBD = window.drop(rms_norm(window.x, params["norm_in"]))
        return convolve(params["conv"], memory, normed_TBD, window.reset)

    def project(self, params: Params, read_TBD: jax.Array, window: Window) -> jax.Array:
        return scan.project(params, read_TBD, window.dtype)

    def connect(self, params: Params, memory: Carry, h_TBO: jax.Array, window: Window) -> tuple[Carry, jax.Array]:
        s_TBO = self.skip(params, window) + h_TBO
        return memory, s_TBO + gated_mlp(params, rms_norm(s_TBO, params["norm_mlp"]), window.dtype)


BLOCKS: dict[str, type[Block]] = {kind.name: kind for kind in (Block, Residual, Highway, Skip, SkipOutput, Prenorm)}
"""Kinds of blocks by the name that `model.block` has."""


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
