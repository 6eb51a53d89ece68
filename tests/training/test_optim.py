"""Schedules equal their formulas, clipping its definition, and optimizers their first step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnlm.config import Config
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


def test_linear_ends_at_its_final_share():
    assert rate(0, schedule="linear", final=0.07) == 1.0
    assert rate(500, schedule="linear", final=0.07) == pytest.approx(0.535)
    assert rate(400, schedule="linear", final=0.07, steps=200) == pytest.approx(0.07)


def test_milestones_are_epochs():
    def at(step, **more):
        return rate(step, schedule="milestones", milestones=(2.5, 4.0), decay=0.1, **more)

    for warmup in (0, 50):
        assert at(249, warmup=warmup) == pytest.approx(1.0)
        assert at(251, warmup=warmup) == at(399, warmup=warmup) == pytest.approx(0.1)
        assert at(401, warmup=warmup) == pytest.approx(0.01)


def test_milestones_within_one_step_all_count():
    few = {"schedule": "milestones", "milestones": (1.0, 1.001, 2.0), "decay": 0.1}
    assert [rate(s, **few) for s in (99, 101, 201)] == pytest.approx([1.0, 0.01, 0.001])


def test_decay_every_some_epochs():
    """torch-rnn halves the rate every 5 epochs."""
    settings = {"schedule": "epoch", "decay": 0.5, "decay_every": 5.0, "decay_after": 0.0}
    assert [rate(s, **settings) for s in (0, 499, 501, 999)] == pytest.approx([1.0, 1.0, 0.5, 0.5])


def test_noam_is_that_of_its_paper():
    """lr(n) = d^-0.5 min(n^-0.5, n warmup^-1.5), n from 1; its peak is (d warmup)^-0.5 (Vaswani et al. 2017)."""
    for step in (0, 1, 38, 39, 40, 200, 900):
        n = step + 1
        wanted = min(n**-0.5, n * 40**-1.5) * 40**0.5
        assert rate(step, schedule="noam", warmup=40) == pytest.approx(wanted, rel=1e-5)


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
    beside = 0.5 * np.array([3.0, 4.0]) / (np.array([3.0, 4.0]) * 0.05**0.5 + 0.1)
    got = update([3.0, -4.0], name="rmsprop", b2=0.95, clip_norm=0.0, eps=0.1, eps_in_root=False)
    np.testing.assert_allclose(np.abs(got), beside, rtol=1e-5)
    root = 0.5 / (1 - 0.95) ** 0.5
    np.testing.assert_allclose(update([3.0, -4.0], name="rmsprop", b2=0.95, **off), [-root, root], rtol=1e-5)


def test_l2_is_added_before_or_after_the_clip():
    sgd = {"name": "sgd", "momentum": 0.0, "clip_norm": 1.0}
    mean = np.array([3.0, 4.0]) / 5
    np.testing.assert_allclose(update([3.0, 4.0], **sgd, l2_after_clip=0.2), -0.5 * (mean + 0.2), rtol=1e-6)
    decayed = np.array([3.2, 4.2])
    np.testing.assert_allclose(update([3.0, 4.0], **sgd, l2=0.2), -0.5 * decayed / np.linalg.norm(decayed), rtol=1e-6)


def test_adagrad_is_that_of_min_char_rnn():
    """mem += d * d; param += -learning_rate * d / sqrt(mem + 1e-8)."""
    optimizer = optim.make_optimizer(config(name="adagrad", clip_norm=0.0), optax.constant_schedule(0.1))
    state, memory = optimizer.init({"w": jnp.zeros(3)}), np.zeros(3)
    for d in np.random.default_rng(0).normal(size=(4, 3)):
        updates, state = optimizer.update({"w": jnp.asarray(d)}, state)
        memory += d * d
        np.testing.assert_allclose(updates["w"], -0.1 * d / np.sqrt(memory + 1e-8), rtol=1e-5)


def test_momentum_accumulates():
    optimizer = optim.make_optimizer(config(name="sgd", momentum=0.9, clip_norm=0.0), optax.constant_schedule(1.0))
    state = optimizer.init({"w": jnp.zeros(1)})
    for wanted in (-1.0, -1.9, -2.71):
        updates, state = optimizer.update({"w": jnp.ones(1)}, state)
        np.testing.assert_allclose(updates["w"], [wanted], rtol=1e-6)


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_vectors_are_decayed_where_asked(decay_vectors):
    """With no gradient, weight decay is all that moves a param."""
    made = optim.make_optimizer(
        config(name="adamw", weight_decay=0.1, decay_vectors=decay_vectors), optax.constant_schedule(0.5)
    )
    one, three = {"W_h": jnp.ones((2, 3)), "b": jnp.ones(2)}, {"W_h": jnp.ones((3, 2, 3)), "b": jnp.ones((3, 2))}
    params = {"embedding": {"table": jnp.ones((4, 2))}, "layer_0": one, "upper": three}
    updates, _ = made.update(jax.tree.map(jnp.zeros_like, params), made.init(params), params)
    for module, leaves in updates.items():
        for name, leaf in leaves.items():
            wanted = -0.05 if decay_vectors or name != "b" else 0.0
            np.testing.assert_allclose(leaf, np.full(leaf.shape, wanted), rtol=1e-6, err_msg=f"{module}.{name}")


def test_the_schedule_may_have_a_length_of_its_own():
    for step in (0, 300, 500, 999):
        assert rate(step, schedule="cosine", steps=500) == pytest.approx(
            float(optim.make_schedule(config(learning_rate=1.0, schedule="cosine"), 500, 100.0)(step))
        )
    assert rate(999, schedule="cosine", steps=500, final=0.25) == pytest.approx(0.25)


def test_the_config_char_rnn_has_its_rate_in_each_epoch():
    """Its rule: the rate is multiplied after step i `if i % ntrain == 0 and epoch >= opt.learning_rate_decay_after`."""
    from configs.published import char_rnn

    settings = Config.from_dict(char_rnn.get_config().to_dict()).optim
    for ntrain in (423, 7):  # the batches of tiny-shakespeare's training split there, and another number
        wanted, current = [], 2e-3
        for i in range(1, 50 * ntrain + 1):
            wanted.append(current)
            if i % ntrain == 0 and i / ntrain >= 10:
                current *= 0.97
        got = jax.vmap(optim.make_schedule(settings, 50 * ntrain, float(ntrain)))(np.arange(50 * ntrain))
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
