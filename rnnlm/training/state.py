"""The whole state of a run: one PyTree, saved whole."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnlm.cells import Params
from rnnlm.config import Config
from rnnlm.nn import model


class TrainState(NamedTuple):
    """After `step` steps. The position in the data is the step; the key never changes, steps fold into it."""

    step: jax.Array
    params: Params
    opt_state: Any
    average: Params | None
    """The exponential moving average of the params, where the config keeps one."""
    carry: model.Stack
    """[B, H] arrays, lanes in global order."""
    key: jax.Array

    @property
    def best_params(self) -> Params:
        """What evaluation and sampling read: the average where there is one."""
        return self.params if self.average is None else self.average


def create(config: Config, vocab: int, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step: all of it drawn from config.seed."""
    init_key, key = jax.random.split(jax.random.PRNGKey(config.seed))
    params = model.init_params(config.model, vocab, init_key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if config.optim.ema else None,
        carry=model.initial_carry(config.model, config.train.batch),
        key=key,
    )
