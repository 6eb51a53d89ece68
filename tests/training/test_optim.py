"""Schedules equal their formulas, clipping its definition, and optimizers their first step."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnlm.training import optim
from tests.conftest import tiny


def config(**overrides):
    return tiny(**{f"optim__{k}": v for k, v in overrides.items()}).optim


def rate(step, **overrides):
    return float(optim.make_schedule(config(learning_rate=1.0, **overrides), 1000, 100.0)(step))


def test_constant():
    assert rate(0, schedule="constant") == rate(999, schedule="constant") == 1.0


def test_warmup_is_linear():
    rates = [rate(s, schedule="constant", warmup=4) for s in range(6)]
    np.testing.assert_allclose(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 100])
def test_cosine_ends_at_its_final_share(warmup):
    def at(step):
        return rate(step, schedule="cosine", final=0.1, warmup=warmup)

    assert at(warmup) == pytest.approx(1.0)
    assert at((1000 + warmup) // 2) == pytest.approx(0.55, abs=1e-6)
    assert at(1000) == pytest.approx(0.1, abs=1e-6)


def test_exponential_decay_is_smooth_and_epoch_decay_a_staircase():
    settings = {"decay": 0.5, "decay_after": 2.0}
    assert rate(200, schedule="exponential", **settings) == pytest.approx(1.0)
    assert rate(250, schedule="exponential", **settings) == pytest.approx(0.5**0.5)
    assert rate(299, schedule="epoch", **settings) == 1.0
    assert rate(301, schedule="epoch", **settings) == pytest.approx(0.5)
    assert rate(499, schedule="epoch", **settings) == pytest.approx(0.25)


def test_decay_counts_epochs_from_the_start_of_the_run_also_after_a_warmup():
    assert rate(350, schedule="exponential", decay=0.5, decay_after=2.0, warmup=50) == pytest.approx(0.5**1.5)


def update(grads, **overrides):
    optimizer = optim.make_optimizer(config(**overrides), optax.constant_schedule(0.5))
    params = {"w": jnp.ones(2)}
    updates, _ = optimizer.update({"w": jnp.array(grads)}, optimizer.init(params), params)
    return np.asarray(updates["w"])


def test_clipping():
    sgd = {"name": "sgd", "momentum": 0.0}
    np.testing.assert_allclose(update([3.0, 4.0], **sgd, clip_norm=1.0), [-0.3, -0.4], rtol=1e-6)
    np.testing.assert_allclose(update([3.0, 4.0], **sgd, clip_norm=9.0), [-1.5, -2.0], rtol=1e-6)
    np.testing.assert_allclose(update([3.0, 0.5], **sgd, clip_norm=0.0, clip_value=1.0), [-0.5, -0.25], rtol=1e-6)
    np.testing.assert_allclose(update([3.0, 4.0], **sgd, clip_norm=0.0), [-1.5, -2.0], rtol=1e-6)


def test_clipping_by_norm_equals_optax():
    rng = np.random.default_rng(0)
    for scale in (0.0, 1e-3, 1.0, 1e3):
        grads = {"a": jnp.asarray(scale * rng.normal(size=(3, 4))), "b": jnp.asarray(scale * rng.normal(size=5))}
        wanted, _ = optax.clip_by_global_norm(1.5).update(grads, optax.EmptyState())
        got, _ = optim.clip_by_norm(1.5).update(grads, optax.EmptyState())
        for name in grads:
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-6)


def test_first_steps():
    off = {"clip_norm": 0.0, "eps": 1e-12}
    np.testing.assert_allclose(update([3.0, -4.0], name="adam", **off), [-0.5, 0.5], rtol=1e-5)
    np.testing.assert_allclose(update([3.0, -4.0], name="adamw", weight_decay=0.1, **off), [-0.55, 0.45], rtol=1e-5)
    root = 0.5 / (1 - 0.95) ** 0.5
    np.testing.assert_allclose(update([3.0, -4.0], name="rmsprop", b2=0.95, **off), [-root, root], rtol=1e-5)


def test_momentum_accumulates():
    optimizer = optim.make_optimizer(config(name="sgd", momentum=0.9, clip_norm=0.0), optax.constant_schedule(1.0))
    state = optimizer.init({"w": jnp.zeros(1)})
    for wanted in (-1.0, -1.9, -2.71):
        updates, state = optimizer.update({"w": jnp.ones(1)}, state)
        np.testing.assert_allclose(updates["w"], [wanted], rtol=1e-6)
