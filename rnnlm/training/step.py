"""One training step, pure: a state and a window in, the next state and its metrics out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnlm.config import Config
from rnnlm.evaluation import tally
from rnnlm.nn import model
from rnnlm.runtime import parallel
from rnnlm.training.state import TrainState

REPLICATED_BUT_CARRY: Any = TrainState(step=None, params=None, opt_state=None, average=None, carry=0, key=None)  # type: ignore[arg-type]


class Metrics(NamedTuple):
    """Of a step: mean nats a symbol before the update; norms of the gradient, unclipped, and of the new params."""

    loss: jax.Array
    grad_norm: jax.Array
    param_norm: jax.Array


def train_step(config: Config, vocab: int, optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    """(state, x_BT, y_BT, fresh_BT) -> (state, Metrics) over all devices, however many; each has its lanes."""
    forward = model.apply(config.model, vocab)
    symbols = config.train.batch * config.train.window
    parts = config.train.accumulate
    by_step = config.model.dropout_mask == "step"
    drops = max(config.model.dropout, config.model.dropout_input, config.model.dropout_output) > 0

    # The arrays of a window are [B, T], those of a chunk [B, remat].
    def chunk(params: Any, carry: Any, keys: Any, x: jax.Array, y: jax.Array, fresh: jax.Array) -> Any:
        carry, logits_BTV = forward(params, carry, x, fresh, keys)
        return carry, jnp.sum(tally.nats(logits_BTV, y)) / symbols

    def recompute(inputs: Any, cotangents: Any) -> Any:
        params, carry, *rest = inputs
        _, back = jax.vjp(lambda params, carry: chunk(params, carry, *rest), params, carry)
        return *back(cotangents), None, None, None, None

    # Not jax.checkpoint, which would run the scan's forward pass for gradients twice, the first time for nothing kept.
    again = jax.custom_vjp(chunk)
    again.defvjp(lambda *inputs: (chunk(*inputs), inputs), recompute)

    def loss(params: Any, carry: Any, x: jax.Array, y: jax.Array, fresh: jax.Array, keys: Any) -> Any:
        if not config.train.remat:
            carry, nats = chunk(params, carry, keys, x, y, fresh)
            return nats, carry

        def step(carry: Any, now: Any) -> Any:
            i, *now = now
            # A mask for the whole window is the same in each chunk.
            mine = jax.vmap(jax.random.fold_in, (0, None))(keys, i) if drops and by_step else keys
            return again(params, carry, mine, *now)

        chunks = [a.reshape(len(a), -1, config.train.remat).swapaxes(0, 1) for a in (x, y, fresh)]
        carry, nats = jax.lax.scan(step, carry, (jnp.arange(len(chunks[0])), *chunks))
        return jnp.sum(nats), carry

    def gradient(params: Any, *lanes: Any) -> Any:
        if parts == 1:
            return jax.value_and_grad(loss, has_aux=True)(params, *lanes)

        def part(summed: Any, lanes: Any) -> Any:
            (nats, carry), grads = jax.value_and_grad(loss, has_aux=True)(params, *lanes)
            return jax.tree.map(jnp.add, summed, (nats, grads)), carry

        cut = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), lanes)
        zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        (nats, grads), carry = jax.lax.scan(part, zero, cut)
        return (nats, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), carry)), grads

    def step(params: Any, now: TrainState, x: jax.Array, y: jax.Array, fresh: jax.Array) -> tuple[TrainState, Metrics]:
        keys = lane_keys(now, len(x)) if drops else None
        (nats, carry), grads = gradient(params, now.carry, x, y, fresh, keys)
        nats, grads = parallel.psum((nats, grads))
        updates, opt_state = optimizer.update(grads, now.opt_state, params)
        params = optax.apply_updates(params, updates)
        metrics = Metrics(nats, optax.tree.norm(grads), optax.tree.norm(params))
        average = update_ema(now, params, config.optim.ema)
        return TrainState(now.step + 1, params, opt_state, average, carry, now.key), metrics

    state_axes = (None, REPLICATED_BUT_CARRY._replace(params={}), 0, 0, 0)
    # The params are not donated: XLA's CPU code for an update in place goes one number at a time.
    stepped = parallel.per_device(step, state_axes, (REPLICATED_BUT_CARRY, None), donate=(1,))
    return lambda now, *batch: stepped(now.params, now._replace(params={}), *batch)


def state_to_devices(host: TrainState) -> TrainState:
    """A state with all lanes in global order onto the devices, this process's lanes split over its own."""
    carry = jax.tree.map(lambda x: x[parallel.local_lanes(len(x))], host.carry)
    return parallel.replicate(host._replace(carry=()))._replace(carry=parallel.shard(carry))


def state_to_host(now: TrainState) -> TrainState:
    """The whole state as numpy, lanes in global order."""
    return parallel.to_numpy(now._replace(carry=()))._replace(carry=parallel.gather(now.carry))


def lane_keys(now: TrainState, lanes: int) -> jax.Array:
    """A key for each lane of this device at this step, whatever device the lane is on."""
    key = jax.random.fold_in(now.key, now.step)
    return jax.vmap(lambda lane: jax.random.fold_in(key, lane))(parallel.first_lane(lanes) + jnp.arange(lanes))


def update_ema(now: TrainState, params: Any, decay: float) -> Any:
    """The moving average after a step; it moves faster at first, so that it does not remember the start."""
    if now.average is None:
        return None
    keep = jnp.minimum(decay, (1.0 + now.step) / (10.0 + now.step))
    return jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, now.average, params)
