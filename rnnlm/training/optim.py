"""Make the optimizer and the learning-rate schedule of a config."""

import jax
import jax.numpy as jnp
import optax

from rnnlm.config import OptimConfig


def make_schedule(config: OptimConfig, steps: int, steps_per_epoch: float) -> optax.Schedule:
    """Make the learning rate by step for a run of `steps`.

    After a linear warm-up it is `constant`; `cosine`: half a cosine down to `final` times the peak at the last step;
    `exponential`: multiplied by `decay` over each epoch, smoothly; or `epoch`: multiplied by `decay` at the end of each
    epoch. The last two start after `decay_after` epochs; char-rnn's learning_rate_decay_after=10 is 9 here.
    """
    peak, begin = config.learning_rate, round(config.decay_after * steps_per_epoch)
    shapes = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, max(1, steps - config.warmup), config.final),
        "exponential": lambda: optax.exponential_decay(
            peak, steps_per_epoch, config.decay, max(0, begin - config.warmup)
        ),
        "epoch": lambda: optax.exponential_decay(
            peak, steps_per_epoch, config.decay, max(0, begin - config.warmup), staircase=True
        ),
    }
    after = shapes[config.schedule]()
    if not config.warmup:
        return after
    rise = optax.linear_schedule(peak / config.warmup, peak, max(1, config.warmup - 1))
    return optax.join_schedules([rise, after], [config.warmup])


def make_optimizer(config: OptimConfig, learning_rate: optax.Schedule) -> optax.GradientTransformation:
    """Make the optimizer: gradient clipping, then the update rule named as in optax; rmsprop is not centered."""
    if config.clip_norm:
        clip = clip_by_norm(config.clip_norm)
    elif config.clip_value:
        clip = optax.clip(config.clip_value)
    else:
        clip = optax.identity()
    c = config
    optimizers = {
        "adam": lambda: optax.adam(learning_rate, c.b1, c.b2, c.eps),
        "adamw": lambda: optax.adamw(learning_rate, c.b1, c.b2, c.eps, weight_decay=c.weight_decay),
        "rmsprop": lambda: optax.rmsprop(learning_rate, c.b2, c.eps),
        "sgd": lambda: optax.sgd(learning_rate, c.momentum or None),
    }
    return optax.chain(clip, optimizers[c.name]())


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
