"""A model that says what comes next in lanes side by side, step by step, and that may learn from what came."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.config import ModelConfig, OptimConfig
from rnnlm.evaluation import tally
from rnnlm.evaluation.dynamic import Adaptation, adapt_params, per_param_rates
from rnnlm.nn import model
from rnnlm.training import optim

Update = Callable[[Params, Any, Params], tuple[Params, Any]]
"""(gradients, state, params) -> (params, state)."""


class CompiledPredictor:
    """Makes predictors of one model, whose compiled steps they share.

    `segment` steps at a time the params go where `update` says; 0: they stay. One set of params serves all lanes.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocab: int,
        params: Params,
        segment: int = 0,
        update: Update | None = None,
        state: Any = (),
    ):
        self.config, self.params, self.segment, self.state = config, params, segment, state
        forward = model.apply(config, vocab)

        @jax.jit
        def step(params: Params, carry: model.Stack, x_L: jax.Array) -> tuple[model.Stack, jax.Array]:
            carry, logits_LTV = forward(params, carry, x_L[:, None], jnp.zeros((len(x_L), 1), bool))
            return carry, jax.nn.softmax(logits_LTV[:, 0])

        @jax.jit
        def learn(
            params: Params, state: Any, carry: model.Stack, x_LT: jax.Array, y_LT: jax.Array, mask_LT: jax.Array
        ) -> Any:
            def cost(params: Params) -> jax.Array:
                _, logits_LTV = forward(params, carry, x_LT, jnp.zeros(x_LT.shape, bool))
                return jnp.sum(jnp.where(mask_LT, tally.nats(logits_LTV, y_LT), 0.0)) / x_LT.size

            assert update is not None
            return update(jax.grad(cost)(params), state, params)

        self.compiled_step, self.compiled_learn = step, learn

    def fresh(self, lanes: int) -> "PredictorState":
        """From the beginning of a text."""
        return PredictorState(self, lanes)


class PredictorState:
    """What says the next symbols' probabilities in L lanes, and may learn from what they were: `segment` steps lie
    between two calls of `learn`; where it is 0, it learns nothing."""

    def __init__(self, made_by: CompiledPredictor, lanes: int):
        self._by, self.segment = made_by, made_by.segment
        self._params, self._state = made_by.params, made_by.state
        self._carry = self._before = model.initial_carry(made_by.config, lanes)

    def step(self, x_L: NDArray[np.int32]) -> NDArray[np.float32]:
        """Read a symbol in each lane: -> the probabilities of the next [L, V]."""
        self._carry, p_LV = self._by.compiled_step(self._params, self._carry, x_L)
        return np.asarray(p_LV)

    def learn(self, x_LT: NDArray[np.int32], y_LT: NDArray[np.int32], mask_LT: NDArray[np.bool_]) -> None:
        """Learn from the last `segment` steps; what is not in the mask is no text."""
        inputs = self._before, x_LT, y_LT, mask_LT
        self._params, self._state = self._by.compiled_learn(self._params, self._state, *inputs)
        self._before = self._carry


def static(config: ModelConfig, vocab: int, params: Params) -> CompiledPredictor:
    """A model as it is."""
    return CompiledPredictor(
        model.inference_config(config), vocab, jax.jit(partial(model.inference_params, config))(params)
    )


def dynamic(config: ModelConfig, vocab: int, params: Params, rms: Params, how: Adaptation) -> CompiledPredictor:
    """A model that adapts by `dynamic`'s rule, to all lanes together."""
    decay_rates, step_sizes = per_param_rates(rms, how)

    def update(grads: Params, start: Any, now: Params) -> tuple[Params, Any]:
        return adapt_params(now, start, decay_rates, step_sizes, grads), start

    return CompiledPredictor(config, vocab, params, how.segment, update, params)


def online(
    config: ModelConfig, learning: OptimConfig, vocab: int, segment: int, seed: int, steps: int
) -> CompiledPredictor:
    """A network fresh from a seed that learns by the optimizer of a config, over `steps` updates in all."""
    optimizer = optim.make_optimizer(learning, optim.make_schedule(learning, steps, steps))
    params = model.init_params(config, vocab, jax.random.PRNGKey(seed))

    def update(grads: Params, state: Any, params: Params) -> tuple[Params, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return CompiledPredictor(config, vocab, params, segment, update, optimizer.init(params))
