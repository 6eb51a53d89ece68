"""Make the optimizer and the learning-rate schedule of a config."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnlm.cells import Params
from rnnlm.config import OptimConfig


def make_schedule(config: OptimConfig, steps: int, steps_per_epoch: float) -> optax.Schedule:
    """Make the learning rate by step for a run of `steps`.

    After a linear warm-up it is `constant`; `cosine`: half a cosine down to `final` times the peak at the last step, or
    at step `optim.steps` where that is set; `linear`: a line to there; `exponential`: multiplied by `decay` over each
    `decay_every` epochs, smoothly; `epoch`: multiplied by it at their end; `milestones`: multiplied by it after each of
    `optim.milestones`, in epochs; `noam`: the peak times sqrt(warmup / step) (Vaswani et al. 2017); or `plateau`:
    constant, while `plateau.decide` tells the factor. `exponential` and `epoch` start after `decay_after` epochs;
    char-rnn's learning_rate_decay_after=10 is 9 here.
    """
    steps = config.steps or steps
    peak, warmup, left = config.learning_rate, config.warmup, max(1, steps - config.warmup)
    begin, every = round(config.decay_after * steps_per_epoch), config.decay_every * steps_per_epoch
    decay = partial(optax.exponential_decay, peak, every, config.decay, max(0, begin - warmup))
    drops: dict[int, float] = {}
    for epoch in config.milestones:
        step = max(0, round(epoch * steps_per_epoch) - warmup)
        drops[step] = drops.get(step, 1.0) * config.decay
    shapes: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, left, config.final),
        "linear": lambda: optax.linear_schedule(peak, config.final * peak, left),
        "exponential": decay,
        "epoch": partial(decay, staircase=True),
        "milestones": lambda: optax.piecewise_constant_schedule(peak, drops),
        "noam": lambda: lambda count: peak * jnp.sqrt(warmup / (count + 1.0 + warmup)),
        "plateau": lambda: optax.constant_schedule(peak),
    }
    after = shapes[config.schedule]()
    if not config.warmup:
        return after
    rise = optax.linear_schedule(peak / config.warmup, peak, max(1, config.warmup - 1))
    return optax.join_schedules([rise, after], [config.warmup])


def make_optimizer(
    config: OptimConfig, learning_rate: optax.Schedule, frozen: Sequence[str] = ()
) -> optax.GradientTransformation:
    """Make the optimizer: L2, gradient clipping, then the update rule named as in optax; rmsprop is not centered.

    It leaves the params of `frozen` modules as they are.
    """
    if config.clip_norm:
        clip = clip_by_norm(config.clip_norm)
    elif config.clip_value:
        clip = optax.clip(config.clip_value)
    else:
        clip = optax.identity()
    c, decayed = config, None if config.decay_vectors else are_matrices
    optimizers = {
        "adam": lambda: optax.adam(learning_rate, c.b1, c.b2, c.eps),
        "adamw": lambda: optax.adamw(learning_rate, c.b1, c.b2, c.eps, weight_decay=c.weight_decay, mask=decayed),
        "rmsprop": lambda: optax.rmsprop(learning_rate, c.b2, c.eps, eps_in_sqrt=c.eps_in_root),
        "sgd": lambda: optax.sgd(learning_rate, c.momentum or None),
        "adagrad": lambda: optax.adagrad(learning_rate, 0.0, c.eps),
    }
    chain = [clip, optimizers[c.name]()]
    if c.l2:
        chain.insert(0, optax.add_decayed_weights(c.l2))
    if c.l2_after_clip:
        chain.insert(-1, optax.add_decayed_weights(c.l2_after_clip))
    if frozen:
        chain.append(optax.stateless(lambda updates, params: zero_frozen(frozen, updates)))
    return optax.chain(*chain)


def zero_frozen(frozen: Sequence[str], tree: Params) -> Params:
    """Set the leaves of frozen modules to zero, in gradients or updates; those of `stack_layers` layer by layer."""

    def zero(module: str, leaf: jax.Array) -> jax.Array:
        if module != "upper":
            return jnp.zeros_like(leaf) if module in frozen else leaf
        moves = np.array([f"layer_{i}" not in frozen for i in range(1, 1 + len(leaf))])
        return jnp.where(moves.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, jnp.zeros_like(leaf))

    return {module: jax.tree.map(partial(zero, module), leaves) for module, leaves in tree.items()}


def are_matrices(params: Params) -> Params:
    """Return a tree like the params that says which are matrices, in layers that are stacked, too."""
    return {
        module: jax.tree.map(lambda leaf, stacked=module == "upper": leaf.ndim > 1 + stacked, leaves)
        for module, leaves in params.items()
    }


def clip_by_norm(largest: float) -> optax.GradientTransformation:
    """Scale all gradients together so that their global norm is at most `largest`.

    Unlike optax's, it does not make a scaled copy of every gradient: XLA fuses the factor into the update.
    """

    def update(
        grads: optax.Updates, state: optax.EmptyState, params: object = None
    ) -> tuple[optax.Updates, optax.EmptyState]:
        factor = largest / jnp.maximum(optax.tree.norm(grads), largest)
        return jax.tree.map(lambda g: g * factor, grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
