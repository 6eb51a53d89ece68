"""Estimate the time of a training step on an accelerator from peaks and bandwidths: a roofline.

Each piece of work takes as long as its FLOPs at a share of the peak, or its bytes at a share of the bandwidth,
whichever is longer. The recurrent products of one time step cannot be joined with those of the next, so each reads its
weights again: nothing is assumed to stay on the chip.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from rnnlm.config import Config, ModelConfig
from rnnlm.nn import size
from rnnlm.nn.block import Block
from rnnlm.nn.stack import blocks_of, read_width
from rnnlm.planning.accelerators import Accelerator
from rnnlm.training.footprint import size_of

PEAK = 0.5
"""Share of the peak FLOP/s that is assumed of products."""
BANDWIDTH = 0.7
"""Share of the bandwidth of memory and of links that is assumed."""
FLOAT = 4
"""Bytes of a float32: of params, gradients, carries and logits."""


@dataclass(frozen=True)
class Layer:
    """Hold the forward pass of a layer for one symbol: FLOPs, and the bytes that are read and written.

    `input_flops` are those of W_x, for all time steps at once; `recurrent_flops` are those of a time step, whose
    weights have `weight_bytes`; `value_bytes` are those of pre-activations and carries.
    """

    input_flops: float
    recurrent_flops: float
    weight_bytes: int
    value_bytes: int


def layers_of(config: ModelConfig, vocab: int) -> list[Layer]:
    """Return the work of each layer."""
    return [layer_of(block, config.dtype) for block in blocks_of(config, vocab)]


def layer_of(block: Block, dtype: str) -> Layer:
    """Return the work of a layer; those of the block's own matrices are for all time steps at once, as W_x is."""
    shapes = {name: param.shape for name, param in block.cell.params(block.read_width, block.hidden).items()}
    w_x = shapes.pop("W_x", None)
    input_flops = 2.0 * math.prod(w_x) if w_x and not block.looks_up else 0.0
    weights = sum(math.prod(shape) for shape in shapes.values() if len(shape) > 1)
    carried = sum(math.prod(state.shape) for state in block.carry().values())
    return Layer(
        input_flops + block.count_added_flops(),
        block.count_cell_flops() - input_flops,
        weights * jnp.dtype(dtype).itemsize,
        FLOAT * ((w_x[1] if w_x else block.read_width) + 2 * carried),
    )


def step_seconds(
    config: Config, vocab: int, optimizer: optax.GradientTransformation, accelerator: Accelerator, lanes: int
) -> dict[str, float]:
    """Estimate the seconds of a step on a device that has `lanes` of the batch, by what they are spent on.

    A pass back through time makes a product with the transposed weights in each time step, the gradients of weights are
    products over all time steps, and `train.remat` makes the forward pass twice.
    """
    train, layers = config.train, layers_of(config.model, vocab)
    rate = PEAK * (accelerator.bf16 if config.model.dtype == "bfloat16" else accelerator.fp32)
    bandwidth = BANDWIDTH * accelerator.bandwidth
    rows, symbols, forward = lanes / train.accumulate, lanes * train.window, 2 if train.remat else 1
    steps = train.window * train.accumulate

    def time_step(layer: Layer, passes: int, values: int) -> float:
        moved = layer.weight_bytes + values * rows * layer.value_bytes
        return passes * (max(rows * layer.recurrent_flops / rate, moved / bandwidth) + accelerator.time_step)

    recurrence = sum(time_step(layer, forward, 1) + time_step(layer, 1, 2) for layer in layers)
    head_flops = 2.0 * read_width(blocks_of(config.model, vocab)) * vocab
    once = (forward + 2) * (sum(layer.input_flops for layer in layers) + head_flops)
    gradients = sum(layer.recurrent_flops for layer in layers)
    moved = symbols * FLOAT * vocab * (2 * forward + 2)  # logits are written and read, and their gradient is
    shapes = size.param_shapes(config.model, vocab)
    params, kept = size_of(shapes), size_of(jax.eval_shape(optimizer.init, shapes))
    average = params if config.optim.keeps_average else 0
    return {
        "time steps": steps * recurrence,
        "products of whole windows": max(symbols * (once + gradients) / rate, moved / bandwidth),
        "update": (4 * params + 2 * kept + 2 * average) / bandwidth,  # gradients and params are read and written
    }


def all_reduce_seconds(gradient_bytes: int, devices: int, link: float) -> float:
    """Estimate the seconds of a ring all-reduce: each device sends 2 (n - 1) / n of the bytes; latency is left out."""
    return 2 * (devices - 1) / devices * gradient_bytes / (BANDWIDTH * link)
