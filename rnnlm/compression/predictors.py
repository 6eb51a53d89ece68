"""Predict the next symbol in several lanes at once, with models that may learn from the symbols that came."""

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
from rnnlm.generation.stepper import Stepper
from rnnlm.nn import model
from rnnlm.training import optim

Update = Callable[[Params, Any, Params], tuple[Params, Any]]
"""(gradients, state, params) -> (params, state)."""


def segment_cost(
    stepper: Stepper, params: Params, carry: model.Stack, x_LT: jax.Array, y_LT: jax.Array, mask_LT: jax.Array
) -> jax.Array:
    """Compute the nats of a segment's targets that are text, from the carry before it, over all its L * T places."""
    _, logits_LTV = stepper.forward(params, carry, x_LT, stepper.resets(x_LT))
    return jnp.sum(jnp.where(mask_LT, tally.nats(logits_LTV, y_LT), 0.0)) / x_LT.size


def learn_segment(
    stepper: Stepper, update: Update | None, params: Params, state: Any, *segment: Any
) -> tuple[Params, Any]:
    """Update params by the gradient of the cost of `segment`, the last arguments of `segment_cost`."""
    assert update is not None
    return update(jax.grad(partial(segment_cost, stepper))(params, *segment), state, params)


class CompiledPredictor:
    """Hold the compiled steps of one model, its params, and how they learn.

    `update` is applied after each `segment` steps, to one set of params that serves all lanes; a segment of 0 leaves
    the params as they are. `state` is what `update` starts from.
    """

    def __init__(
        self, stepper: Stepper, params: Params, segment: int = 0, update: Update | None = None, state: Any = ()
    ):
        self.stepper, self.params, self.segment, self.state = stepper, params, segment, state
        self.learn = jax.jit(partial(learn_segment, stepper, update))

    def start(self, lanes: int) -> "PredictorState":
        """Start at the beginning of a text."""
        return PredictorState(self, lanes)


class PredictorState:
    """Follow a text in L lanes with a predictor: hold its carry, and its params where they change."""

    def __init__(self, compiled: CompiledPredictor, lanes: int):
        self._compiled, self.segment = compiled, compiled.segment
        self._params, self._state = compiled.params, compiled.state
        self._carry = self._segment_carry = compiled.stepper.start(lanes)

    def step(self, x_L: NDArray[np.int32]) -> NDArray[np.float32]:
        """Read a symbol in each lane: -> the probabilities of the next [L, V]."""
        self._carry, p_LV = self._compiled.stepper.probabilities(self._params, self._carry, x_L)
        return np.asarray(p_LV)

    def learn(self, x_LT: NDArray[np.int32], y_LT: NDArray[np.int32], mask_LT: NDArray[np.bool_]) -> None:
        """Update the params from the last `segment` steps: inputs, targets, and which targets are text."""
        inputs = self._segment_carry, x_LT, y_LT, mask_LT
        self._params, self._state = self._compiled.learn(self._params, self._state, *inputs)
        self._segment_carry = self._carry


def make_static_predictor(
    config: ModelConfig, vocab: int, params: Params, separator: int | None = None
) -> CompiledPredictor:
    """Make a predictor with a trained model whose params stay as they are; `separator` as in `Stepper`."""
    stepper = Stepper(config, vocab, separator=separator)
    return CompiledPredictor(stepper, stepper.inference_params(params))


def make_dynamic_predictor(
    config: ModelConfig,
    vocab: int,
    params: Params,
    rms: Params,
    adaptation: Adaptation,
    separator: int | None = None,
) -> CompiledPredictor:
    """Make a predictor with a trained model that adapts by a rule of `evaluation.dynamic`, to all lanes together.

    `separator` is as in `Stepper`.
    """
    decay_rates, step_sizes = per_param_rates(rms, adaptation)

    def update(grads: Params, trained: Any, params: Params) -> tuple[Params, Any]:
        return adapt_params(params, trained, decay_rates, step_sizes, grads), trained

    stepper = Stepper(config, vocab, folded=False, separator=separator)
    return CompiledPredictor(stepper, params, adaptation.segment, update, params)


def make_online_predictor(
    config: ModelConfig, optim_config: OptimConfig, vocab: int, segment: int, seed: int, updates: int
) -> CompiledPredictor:
    """Make a predictor with a model drawn from a seed that learns by an optimizer, scheduled over `updates` in all."""
    optimizer = optim.make_optimizer(optim_config, optim.make_schedule(optim_config, updates, updates))
    params = model.init_params(config, vocab, jax.random.PRNGKey(seed))

    def update(grads: Params, state: Any, params: Params) -> tuple[Params, Any]:
        if optim_config.loss == "sum":  # over the time steps of a segment, whose mean is differentiated
            grads = jax.tree.map(lambda g: g * segment, grads)
        steps, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, steps), state

    return CompiledPredictor(Stepper(config, vocab, folded=False), params, segment, update, optimizer.init(params))
