"""The training state: one PyTree, which a checkpoint saves whole."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnlm.cells import Params
from rnnlm.config import Config
from rnnlm.nn import model


class TrainState(NamedTuple):
    """Hold the training state after `step` steps, which also give the position in the data."""

    step: jax.Array
    params: Params
    opt_state: optax.OptState
    average: Params | None
    """The average of the params, moving or plain, or None if the config keeps none."""
    carry: model.Stack
    """Arrays [B, ...], lanes in global order."""
    key: jax.Array
    """The key of the run, which never changes: each step folds its number into it."""

    @property
    def eval_params(self) -> Params:
        """Return the params for evaluation and sampling: the average if there is one."""
        return self.params if self.average is None else self.average


def create(
    config: Config,
    vocab: int,
    optimizer: optax.GradientTransformation,
    adopt: Callable[[Params], Params] = lambda drawn: drawn,
) -> TrainState:
    """Create the state before the first step from `config.seed`; `adopt` may replace the params that are drawn."""
    init_key, key = jax.random.split(jax.random.PRNGKey(config.seed))
    params = adopt(model.init_params(config.model, vocab, init_key))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if config.optim.keeps_average else None,
        carry=model.initial_carry(config.model, config.train.batch),
        key=key,
    )
