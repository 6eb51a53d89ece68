"""One training step, pure: a state and a window in, the next state and its metrics out."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnlm.cells import Params, cell_of
from rnnlm.config import Config, ModelConfig, OptimConfig
from rnnlm.errors import UserError
from rnnlm.evaluation import tally
from rnnlm.nn import looped, model
from rnnlm.nn.dropout import draws_by_step, draws_by_window, draws_masks, drop_weights
from rnnlm.nn.model import Stack
from rnnlm.nn.remat import recompute
from rnnlm.runtime import parallel
from rnnlm.training.optim import zero_frozen
from rnnlm.training.plateau import UNDECIDED, Decisions
from rnnlm.training.state import TrainState

Window = tuple[jax.Array, jax.Array, jax.Array]
"""(x_BT, y_BT, reset_BT) of this device's lanes."""
WEIGHTS = 1 << 31
"""Folded into the key of a step for the masks of weights: no lane has this number."""
Keys = jax.Array | None
"""A key for each lane, or None if nothing is random."""
Loss = Callable[[Params, Stack, Window, Keys], tuple[jax.Array, tuple[Stack, jax.Array]]]
"""(params, carry, window, keys_B) -> (share of the loss, (carry, share of the mean nats a symbol))."""
REPLICATED_BUT_CARRY: Any = TrainState(step=None, params=None, opt_state=None, average=None, carry=0, key=None)  # type: ignore[arg-type]


class Metrics(NamedTuple):
    """Hold the mean nats per symbol before the update, and the norms of the unclipped gradient and the new params.

    The gradient of frozen modules does not count.
    """

    loss: jax.Array
    grad_norm: jax.Array
    param_norm: jax.Array


def train_step(
    config: Config, vocab: int, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Compile a step over all devices, each with its own lanes.

    Returns (state, x_BT, y_BT, reset_BT, decisions=) -> (state, Metrics), whose decisions are those of the validations.
    """
    compiled = mapped_step(config, vocab, optimizer)

    def step(state: TrainState, *window: jax.Array, decisions: Decisions = UNDECIDED) -> tuple[TrainState, Metrics]:
        return compiled(state.params, state._replace(params={}), decisions, *window)

    return step


def mapped_step(
    config: Config, vocab: int, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Return the step as pmap makes it.

    It is (params, state without params, decisions, x_BT, y_BT, reset_BT) -> (state, Metrics).
    """
    loss = partial(window_loss, config, vocab)
    cell = cell_of(config.model)
    draws = draws_masks(config.model) or cell.random
    if config.train.remat:
        masks_by_step = draws_by_step(config.model) or cell.random
        if masks_by_step and draws_by_window(config.model):
            raise UserError(
                "train.remat computes a window in chunks, in which masks of steps and masks of a whole window cannot "
                "both be drawn: set model.dropout_mask so that there is one kind, or train.remat=0."
            )
        loss = partial(chunked_loss, partial(recompute, loss), config.train.remat, masks_by_step)

    def step(params: Params, state: TrainState, decisions: Decisions, *window: jax.Array) -> tuple[TrainState, Metrics]:
        keys_B = lane_keys(state, len(window[0])) if draws else None
        params = looped.stack_layers(config.model, params)
        trained, pull_back = params, None
        if config.model.weight_drop:
            key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), WEIGHTS)
            trained, pull_back = jax.vjp(partial(drop_stacked, config.model, key=key), params)
        (nats, carry), grads = accumulate_gradients(
            loss, config.train.accumulate, trained, state.carry, (window[0], window[1], window[2]), keys_B
        )
        if pull_back:
            (grads,) = pull_back(grads)
        if config.train.freeze:  # here, so that XLA leaves out what computes them
            grads = zero_frozen(config.train.freeze, grads)
        nats, grads = parallel.psum((nats, grads))
        return apply_update(config, optimizer, state, params, decisions, nats, grads, carry)

    state_axes = (None, REPLICATED_BUT_CARRY._replace(params={}), None, 0, 0, 0)
    # The params are not donated: XLA's CPU code for an update in place goes one number at a time.
    return parallel.per_device(step, state_axes, (REPLICATED_BUT_CARRY, None), donate=(1,))


def drop_stacked(config: ModelConfig, params: Params, key: jax.Array) -> Params:
    """Drop recurrent weights of params that `stack_layers` has stacked."""
    by_layer = looped.unstack_layers(config, params)
    return looped.stack_layers(config, drop_weights(config, cell_of(config), by_layer, key))


def window_loss(
    config: Config, vocab: int, params: Params, carry: Stack, window: Window, keys_B: Keys
) -> tuple[jax.Array, tuple[Stack, jax.Array]]:
    """Return (share of the loss, (carry, share of the mean nats a symbol)) of some lanes of a window or a chunk of it.

    The penalties of AWD-LSTM are in the loss alone.
    """
    x_BT, y_BT, reset_BT = window
    c, symbols = config.train, config.train.batch * config.train.window
    forward = model.apply_with_outputs(config.model, vocab)
    carry, logits_BTV, read_TBO, dropped_TBO = forward(params, carry, x_BT, reset_BT, keys_B)
    nats = jnp.sum(tally.nats(logits_BTV, y_BT)) / symbols
    loss, width = nats, read_TBO.shape[-1]
    if c.activation_l2:
        loss = loss + c.activation_l2 / (symbols * width) * jnp.sum(dropped_TBO**2)
    if c.temporal_l2:
        differences = c.batch * (c.window - 1) * width
        loss = loss + c.temporal_l2 / differences * jnp.sum((read_TBO[1:] - read_TBO[:-1]) ** 2)
    return loss, (carry, nats)


def chunked_loss(
    loss: Loss, length: int, masks_by_step: bool, params: Params, carry: Stack, window: Window, keys_B: Keys
) -> tuple[jax.Array, tuple[Stack, jax.Array]]:
    """Return the loss of a window, in chunks of `length` time steps; with `masks_by_step` each has keys of its own."""

    def chunk(carry: Stack, inputs: tuple[jax.Array, Window]) -> tuple[Stack, tuple[jax.Array, jax.Array]]:
        i, window = inputs
        keys = keys_B
        if keys is not None and masks_by_step:
            keys = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        value, (carry, nats) = loss(params, carry, window, keys)
        return carry, (value, nats)

    x, y, reset = (a.reshape(len(a), -1, length).swapaxes(0, 1) for a in window)
    carry, (values, nats) = jax.lax.scan(chunk, carry, (jnp.arange(len(x)), (x, y, reset)))
    return jnp.sum(values), (carry, jnp.sum(nats))


def accumulate_gradients(
    loss: Loss, pieces: int, params: Params, carry: Stack, window: Window, keys_B: Keys
) -> tuple[tuple[jax.Array, Stack], Params]:
    """Return ((mean nats, carry), gradients of the loss), the lanes taken in so many pieces one after another."""
    gradient = jax.grad(loss, has_aux=True)
    if pieces == 1:
        grads, (carry, nats) = gradient(params, carry, window, keys_B)
        return (nats, carry), grads

    def piece(summed: tuple[jax.Array, Params], lanes: tuple[Stack, Window, Keys]) -> tuple[Any, Stack]:
        grads, (carry, nats) = gradient(params, *lanes)
        return jax.tree.map(jnp.add, summed, (nats, grads)), carry

    lanes = jax.tree.map(lambda a: a.reshape(pieces, -1, *a.shape[1:]), (carry, window, keys_B))
    zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
    (nats, grads), carry = jax.lax.scan(piece, zero, lanes)
    return (nats, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), carry)), grads


def apply_update(
    config: Config,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    params: Params,
    decisions: Decisions,
    nats: jax.Array,
    grads: Params,
    carry: Stack,
) -> tuple[TrainState, Metrics]:
    """Return the state after an update of the params, and the metrics of the step.

    Params, gradients and optimizer state are as `stack_layers` stacks them: XLA compiles the update of each array.
    """
    if config.optim.loss == "sum":
        grads = jax.tree.map(lambda g: g * config.train.window, grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, params)
    if config.optim.schedule == "plateau":
        updates = jax.tree.map(lambda u: u * decisions.rate, updates)
    params = optax.apply_updates(params, updates)
    metrics = Metrics(nats, optax.tree.norm(grads), optax.tree.norm(params))
    params = looped.unstack_layers(config.model, params)
    average = update_average(config.optim, decisions, state, params)
    if average is not None:  # which rounding would move a little
        average |= {module: params[module] for module in config.train.freeze}
    return TrainState(state.step + 1, params, opt_state, average, carry, state.key), metrics


def update_average(config: OptimConfig, decisions: Decisions, state: TrainState, params: Params) -> Params | None:
    """Return the average of the params after a step; None where the config keeps none.

    A moving average moves faster at first, to forget the start. A plain one is of all steps since it began, and the
    params themselves before that.
    """
    if state.average is None:
        return None
    if config.ema:
        keep = jnp.minimum(config.ema, (1.0 + state.step) / (10.0 + state.step))
    else:
        averaged = jnp.maximum(state.step - decisions.average_from, 0).astype(jnp.float32)
        keep = averaged / (averaged + 1)
    return jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, state.average, params)


def lane_keys(state: TrainState, lanes: int) -> jax.Array:
    """Return a key for each lane of this device at this step, which depends on the lane and not on its device."""
    key = jax.random.fold_in(state.key, state.step)
    return jax.vmap(lambda lane: jax.random.fold_in(key, lane))(parallel.first_lane(lanes) + jnp.arange(lanes))


def state_to_devices(config: ModelConfig, state: TrainState) -> TrainState:
    """Put a state with all lanes in global order onto the devices, this process's lanes split over its own.

    There the optimizer state is stacked as the step needs it.
    """
    carry = jax.tree.map(lambda x: x[parallel.local_lanes(len(x))], state.carry)
    opt_state = map_params(partial(looped.stack_layers, config), state.opt_state)
    return parallel.replicate(state._replace(opt_state=opt_state, carry=()))._replace(carry=parallel.shard(carry))


def state_to_host(config: ModelConfig, state: TrainState) -> TrainState:
    """Return the whole state as numpy arrays, layer by layer, lanes in global order."""
    host_state = parallel.to_numpy(state._replace(carry=()))
    opt_state = map_params(partial(looped.unstack_layers, config), host_state.opt_state)
    return host_state._replace(opt_state=opt_state, carry=parallel.gather(state.carry))


def map_params(change: Callable[[Params], Params], opt_state: optax.OptState) -> optax.OptState:
    """Apply a function to each tree in an optimizer state that has the structure of the params."""

    def is_params(tree: object) -> bool:
        return isinstance(tree, dict) and "layer_0" in tree

    return jax.tree.map(lambda tree: change(tree) if is_params(tree) else tree, opt_state, is_leaf=is_params)
