"""The memory that training surely takes, from the config alone, so that what cannot fit is refused before it begins."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.nn import size
from rnnlm.nn.stack import blocks_of
from rnnlm.runtime import memory, parallel


def least_bytes(config: Config, vocab: int, optimizer: optax.GradientTransformation) -> dict[str, int]:
    """Return the least bytes that each device needs to train, by what they hold.

    These are held at once, when the forward pass of a window (of a piece of it with accumulate or remat) is done: the
    params before and after the step, the optimizer state, the average, and what the backward pass reads. Gradients and
    what XLA copies come besides.
    """
    shapes = size.param_shapes(config.model, vocab)
    params = size_of(shapes)
    return {
        "params": 2 * params,
        "optimizer": size_of(jax.eval_shape(optimizer.init, shapes)),
        "average": params if config.optim.keeps_average else 0,
        "window": window_bytes(config, vocab),
    }


def window_bytes(config: Config, vocab: int) -> int:
    """Return the bytes of projected inputs, carries and logits that the backward pass of a device reads."""
    train, values = config.train, vocab
    for block in blocks_of(config.model, vocab):
        params = block.params()
        values += params["W_x"].shape[1] if "W_x" in params else 0
        values += sum(math.prod(state.shape) for state in block.carry().values())
    symbols = train.batch // train.accumulate // parallel.count() * (train.remat or train.window)
    return symbols * values * jnp.dtype(config.model.dtype).itemsize


def size_of(tree: Any) -> int:
    """Return the bytes of the arrays of a PyTree, or of their shapes and dtypes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def refuse_too_large(config: Config, vocab: int, optimizer: optax.GradientTransformation) -> None:
    """Raise UserError if training cannot fit in the memory of a device; what may fit is not refused."""
    there, needed = memory.device_bytes(), least_bytes(config, vocab, optimizer)
    total = sum(needed.values())
    if there is None or total <= there:
        return
    parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in needed.items() if size)
    sharing = memory.sharing()
    alone = total + (sharing - 1) * needed["window"]  # one device in place of those that share a memory
    fewer = ", or use one device (--cpu_devices=1)" if alone <= there * sharing else ""
    raise UserError(
        f"Training needs at least {gigabytes(total)} of memory on each device ({parts}), where {gigabytes(there)} are "
        f"there: {what_to_lower(config, vocab, needed)}{fewer}."
    )


def what_to_lower(config: Config, vocab: int, needed: dict[str, int]) -> str:
    """Name the keys that decide what takes most of the memory, with their values."""
    train, network, last = config.train, config.model, config.model.hidden_sizes[-1]
    if needed["window"] > sum(needed.values()) / 2:
        return (
            f"lower train.batch ({train.batch:,}) or train.window ({train.window:,}), or set train.accumulate or "
            "train.remat"
        )
    sizes = {name: size_of(layer) for name, layer in size.param_shapes(network, vocab).items()}
    if network.embedding > max(network.hidden_sizes):
        return f"lower model.embedding ({network.embedding:,})"
    if network.params:
        return f"lower model.params ({network.params:,.0f})"
    if sizes["output"] > sum(sizes.values()) / 2:
        return f"lower the last layer's width ({last:,}), or take data.symbols of fewer than {vocab:,} kinds"
    if network.sizes:
        return f"lower model.sizes ({', '.join(f'{size:,}' for size in network.sizes)})"
    deep = f" or model.layers ({network.layers:,})" if network.layers > 3 else ""
    return f"lower model.hidden ({network.hidden:,}){deep}"


def gigabytes(size: int) -> str:
    """Write a number of bytes in GB (10^9 bytes)."""
    return f"{size / 1e9:,.1f} GB"
