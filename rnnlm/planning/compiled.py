"""The memory of a training step, as its compiled program states it, without a training state in memory."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnlm.config import Config
from rnnlm.nn import looped
from rnnlm.runtime import parallel
from rnnlm.training import state
from rnnlm.training.footprint import size_of
from rnnlm.training.plateau import UNDECIDED
from rnnlm.training.step import map_params, mapped_step


def step_bytes(config: Config, vocab: int, optimizer: optax.GradientTransformation) -> dict[str, int]:
    """Compile a step for the devices here: -> the bytes that each of them needs, by what they hold.

    "activations" are the temporary arrays of the program, gradients included; "copy" is the memory of the params after
    the step, which exist beside those before it.
    """
    train_state = jax.eval_shape(partial(state.create, config, vocab, optimizer))
    stack = partial(map_params, partial(looped.stack_layers, config.model))
    on_devices = train_state._replace(
        opt_state=jax.eval_shape(stack, train_state.opt_state), carry=jax.tree.map(split, train_state.carry)
    )
    window = [
        split(jax.ShapeDtypeStruct((config.train.batch, config.train.window), dtype))
        for dtype in (jnp.int32, jnp.int32, jnp.bool_)
    ]
    step: Any = mapped_step(config, vocab, optimizer)
    compiled = step.lower(on_devices.params, on_devices._replace(params={}), UNDECIDED, *window).compile()
    found = compiled.memory_analysis()
    held = {
        "params": size_of(train_state.params),
        "optimizer": size_of(train_state.opt_state),
        "average": size_of(train_state.average),
        "carry": size_of(train_state.carry) // parallel.count(),
    }
    copy = found.output_size_in_bytes - found.alias_size_in_bytes
    return held | {"copy": copy, "activations": found.temp_size_in_bytes}


def split(shape: Any) -> jax.ShapeDtypeStruct:
    """Return the shape of an array [lanes, ...] as `parallel.shard` splits it over the devices."""
    n = parallel.count()
    return jax.ShapeDtypeStruct((n, shape.shape[0] // n, *shape.shape[1:]), shape.dtype)
