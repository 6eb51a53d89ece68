"""The layers above the first, compiled as one loop where there are many of equal width."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnnlm.cells import Carry, Params
from rnnlm.config import ModelConfig


def apply_upper_layers(
    layer: Callable[..., tuple[jax.Array, tuple[Carry, Carry]]],
    params: Params,
    h_TBO: jax.Array,
    carry: tuple[Carry, ...],
) -> tuple[jax.Array, tuple[Carry, ...], list[jax.Array]]:
    """Run the layers above the first, one after another: -> (the last one's output, their carries, kept outputs).

    `layer` maps (input, (number, params, carry)) -> (output, (carry, (output,) to keep it or ())). If their params are
    stacked, it is compiled once and scanned over them.
    """
    numbers = range(1, 1 + len(carry))
    if "upper" not in params:
        after: list[Carry] = []
        kept: list[jax.Array] = []
        for i, layer_carry in zip(numbers, carry, strict=True):
            h_TBO, (layer_carry, output) = layer(h_TBO, (i, params[f"layer_{i}"], layer_carry))
            after.append(layer_carry)
            kept += output
        return h_TBO, tuple(after), kept
    carry_L = jax.tree.map(lambda *states: jnp.stack(states), *carry)
    h_TBO, (after_L, kept_L) = jax.lax.scan(layer, h_TBO, (jnp.array(numbers), params["upper"], carry_L))
    kept = [y_TBO for y_LTBO in kept_L for y_TBO in y_LTBO]
    return h_TBO, tuple(zip(*(tuple(state_L) for state_L in after_L), strict=True)), kept


def is_looped(config: ModelConfig) -> bool:
    """Return whether the upper layers are compiled as one loop: if there are four layers or more, of equal width."""
    return len(config.hidden_sizes) > 3 and len(set(config.hidden_sizes)) == 1


def stack_layers(config: ModelConfig, params: Params) -> Params:
    """Stack the params of the layers above the first as "upper", if they are looped; `unstack_layers` undoes it.

    The loop shortens compilation, but copies params and residuals; the model for single steps, where that copy costs
    more than the step, does not use it. Params that are stacked stay as they are.
    """
    if "upper" in params or not is_looped(config):
        return params
    names = [f"layer_{i}" for i in range(1, len(config.hidden_sizes))]
    upper = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params[name] for name in names))
    return {name: layer for name, layer in params.items() if name not in names} | {"upper": upper}


def unstack_layers(config: ModelConfig, params: Params) -> Params:
    """Undo `stack_layers`."""
    if "upper" not in params:
        return params
    count = len(config.hidden_sizes)
    upper = {f"layer_{i}": jax.tree.map(lambda p, i=i: p[i - 1], params["upper"]) for i in range(1, count)}
    return {name: layer for name, layer in params.items() if name != "upper"} | upper
