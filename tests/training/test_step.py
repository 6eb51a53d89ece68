"""The training step equals plain jax, also with accumulation, rematerialization and averages."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnlm.cells import CELLS
from rnnlm.data.text import Text, TextSlice
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.data.windows import TrainWindows
from rnnlm.evaluation import tally
from rnnlm.nn import model
from rnnlm.options import BLOCKS
from rnnlm.runtime import parallel
from rnnlm.training import optim, state
from rnnlm.training.plateau import NEVER, Decisions
from rnnlm.training.step import state_to_devices, state_to_host, train_step
from tests.cells import laws
from tests.conftest import ROOT, environment, make_text, slow, tiny

DATA = make_text(3000)
VOCABULARY = Vocabulary("byte_seen", tuple(sorted(set(DATA))))
V = len(VOCABULARY)
SGD = {"optim__name": "sgd", "optim__learning_rate": 0.1}
"""Adam would turn gradients that are zero but for rounding into steps."""


def run(steps, end=2000, watch=lambda state: None, **overrides):
    """Train for some steps on one device on the symbols before `end`: -> (state, metrics of each step)."""
    config = tiny(**overrides)
    windows = TrainWindows(TextSlice(Text.from_text(VOCABULARY, DATA), 0, end), config.train.batch, config.train.window)
    optimizer = optim.make_optimizer(config.optim, optim.make_schedule(config.optim, steps, windows.steps_per_epoch))
    host = jax.device_get(state.create(config, V, optimizer))
    train_state = state_to_devices(config.model, host)
    step, seen = train_step(config, V, optimizer), []
    for i in range(steps):
        window = windows.window(i, slice(0, config.train.batch))
        train_state, metrics = step(train_state, *parallel.shard((window.x, window.y, window.reset)))
        seen.append(jax.device_get(metrics))
        watch(parallel.to_numpy(train_state.params))
    return state_to_host(config.model, train_state), seen


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_the_step_equals_plain_adam():
    """The step equals jax.grad of the mean cost, clipping and Adam of optax."""
    config = tiny(optim__clip_norm=0.05)
    got, metrics = run(3, optim__clip_norm=0.05)
    optimizer = optax.chain(optax.clip_by_global_norm(0.05), optax.adam(config.optim.learning_rate))
    params = state.create(config, V, optimizer).params
    opt_state, carry = optimizer.init(params), model.initial_carry(config.model, 4)
    forward = model.apply(config.model, V)
    windows = TrainWindows(TextSlice(Text.from_text(VOCABULARY, DATA), 0, 2000), 4, 8)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def cost_and_gradients(params, carry, x, y, reset):
        carry, logits = forward(params, carry, x, reset)
        return jnp.mean(tally.nats(logits, y)), carry

    @jax.jit
    def update(grads, opt_state, params):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return params, opt_state, optax.tree.norm(grads), optax.tree.norm(params)

    for i in range(3):
        w = windows.window(i, slice(0, 4))
        (cost, carry), grads = cost_and_gradients(params, carry, w.x, w.y, w.reset)
        assert metrics[i].loss == pytest.approx(float(cost), rel=1e-5)
        params, opt_state, grad_norm, param_norm = update(grads, opt_state, params)
        assert metrics[i].grad_norm == pytest.approx(float(grad_norm), rel=1e-4)
        assert metrics[i].param_norm == pytest.approx(float(param_norm), rel=1e-5)
    close(got.params, params, rtol=1e-4, atol=1e-6)
    close(got.carry, carry, rtol=1e-4, atol=1e-6)
    assert got.step == 3 and metrics[0].grad_norm > 0.05


def plain_objective(config, params, w, activation=0.0, temporal=0.0, l2=0.0, loss="mean", keys_B=None):
    """Return AWD-LSTM's or lamb's objective of a window in plain jax, from the start of the text."""
    carry = model.initial_carry(config.model, 4)
    _, logits, h_TBR, dropped_TBR = model.apply_with_outputs(config.model, V)(params, carry, w.x, w.reset, keys_B)
    nats = tally.nats(logits, w.y)
    value = jnp.mean(nats) if loss == "mean" else jnp.mean(jnp.sum(nats, axis=1))
    penalties = activation * jnp.mean(dropped_TBR**2) + temporal * jnp.mean((h_TBR[1:] - h_TBR[:-1]) ** 2)
    return value + penalties + l2 / 2 * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))


@pytest.mark.parametrize(
    "keys, objective",
    [
        ({"train__activation_l2": 2.0, "train__temporal_l2": 3.0}, {"activation": 2.0, "temporal": 3.0}),
        ({"train__activation_l2": 2.0, "model__dropout_output": 0.5}, {"activation": 2.0}),
        ({"train__temporal_l2": 3.0, "model__dropout_output": 0.5}, {"temporal": 3.0}),
        ({"optim__loss": "sum", "optim__l2": 0.1}, {"loss": "sum", "l2": 0.1}),
        slow({"train__activation_l2": 2.0, "train__accumulate": 2}, {"activation": 2.0}),
        slow({"train__activation_l2": 2.0, "train__remat": 4}, {"activation": 2.0}),
    ],
)
def test_the_objective_is_the_published_one_and_the_loss_that_is_logged_is_not(keys, objective):
    config = tiny(**SGD, **keys, optim__momentum=0.0, optim__clip_norm=0.0)
    got, metrics = run(1, **SGD, **keys, optim__momentum=0.0, optim__clip_norm=0.0)
    start = state.create(config, V, optim.make_optimizer(config.optim, lambda s: 0.1))
    params = start.params
    key = jax.random.fold_in(start.key, 0)
    keys_B = jnp.stack([jax.random.fold_in(key, lane) for lane in range(4)]) if config.model.dropout_output else None
    w = TrainWindows(TextSlice(Text.from_text(VOCABULARY, DATA), 0, 2000), 4, 8).window(0, slice(0, 4))
    grads = jax.grad(lambda p: plain_objective(config, p, w, **objective, keys_B=keys_B))(params)
    close(got.params, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), rtol=1e-4, atol=1e-6)
    assert metrics[0].loss == pytest.approx(float(plain_objective(config, params, w, keys_B=keys_B)), rel=1e-5)


def test_a_plain_average_is_of_the_steps_since_it_began():
    config, seen = tiny(optim__average="patience"), []
    windows = TrainWindows(TextSlice(Text.from_text(VOCABULARY, DATA), 0, 2000), 4, 8)
    optimizer = optim.make_optimizer(config.optim, lambda s: 0.01)
    train_state = state_to_devices(config.model, jax.device_get(state.create(config, V, optimizer)))
    step = train_step(config, V, optimizer)
    for i in range(7):
        decisions = Decisions(np.float32(1), np.int32(3 if i >= 3 else NEVER))
        window = windows.window(i, slice(0, 4))
        batch = parallel.shard((window.x, window.y, window.reset))
        train_state, _ = step(train_state, *batch, decisions=decisions)
        seen.append(parallel.to_numpy(train_state.params))
        average, since = parallel.to_numpy(train_state.average), seen[3:] or seen[-1:]
        close(average, jax.tree.map(lambda *ps: np.mean(ps, axis=0), *since), rtol=1e-5, atol=1e-6)


def test_a_drop_of_the_rate_scales_the_update():
    keys = SGD | {"optim__schedule": "plateau", "optim__momentum": 0.0}
    config = tiny(**keys)
    optimizer = optim.make_optimizer(config.optim, lambda s: 0.1)
    start = jax.device_get(state.create(config, V, optimizer))
    x = np.zeros((4, 8), np.int32)

    def moved(rate):
        batch = parallel.shard((x, x, x > 0))
        on_devices = state_to_devices(config.model, start)
        after, _ = train_step(config, V, optimizer)(on_devices, *batch, decisions=Decisions(np.float32(rate)))
        return jax.tree.map(lambda a, b: a - b, parallel.to_numpy(after.params), start.params)

    close(moved(0.25), jax.tree.map(lambda d: 0.25 * d, moved(1.0)), rtol=1e-3, atol=3e-7)  # rounding of params near 1


def test_weight_drop_is_one_mask_for_all_pieces_of_a_batch():
    keys = SGD | {"model__weight_drop": 0.5, "model__zoneout_h": 0.1}
    whole, a = run(3, **keys)
    pieces, b = run(3, **keys, train__accumulate=2)
    close(a, b, rtol=1e-5)
    close(whole.params, pieces.params, rtol=1e-3, atol=1e-6)
    assert abs(a[0].loss - run(1, **SGD)[1][0].loss) > 1e-4


@pytest.mark.parametrize("dropout", [slow(0.0), 0.3])
def test_accumulated_gradients_equal_the_whole_batch(dropout):
    whole, a = run(5, model__dropout=dropout)
    parts, b = run(5, model__dropout=dropout, train__accumulate=4)
    close(a, b, rtol=1e-5)
    close(whole.params, parts.params, rtol=1e-3, atol=1e-6)
    close(whole.carry, parts.carry, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "extra",
    [
        slow({}),
        {"model__dropout": 0.3, "model__dropout_mask": "window"},
        slow({"train__accumulate": 2}),
        slow({"model__layers": 4}),
    ],
)
def test_rematerialized_windows_give_an_equal_run(extra):
    whole, a = run(5, end=80, **extra)  # lanes of 20 symbols, so that they are reset within the run
    chunks, b = run(5, end=80, **extra, train__remat=2)
    close(a, b, rtol=1e-5)
    close(whole.params, chunks.params, rtol=1e-3, atol=1e-6)
    close(whole.carry, chunks.carry, rtol=1e-3, atol=1e-6)


EVERY_MODEL = [{"model__cell": cell} for cell in CELLS] + [
    {"model__block": block, "model__embedding": 12} for block in BLOCKS if block != "plain"
]
REGULARIZED = [
    {"model__weight_drop": 0.3, "model__zoneout_h": 0.2, "model__dropout_state": 0.2, "model__dropout_token": 0.2},
    {"model__embedding": 8, "model__dropout_embedding": 0.3, "train__activation_l2": 0.1, "optim__loss": "sum"},
]
ALL_ON = """
import sys
import numpy as np
from rnnlm.runtime import devices
devices.configure(int(sys.argv[1]), compile_cache=False, lanes=4)
from rnnlm.nn.leaves import named_leaves
from tests.training.test_step import EVERY_MODEL, REGULARIZED, SGD, run
for i, extra in enumerate(EVERY_MODEL + REGULARIZED):
    state, _ = run(2, **extra, **SGD, model__layers=1)
    np.savez(f"{sys.argv[2]}/{i}.npz", **named_leaves(state.params))
"""
"""Train every model on so many devices, and save its params in a folder."""


@pytest.mark.slow
@pytest.mark.parametrize("extra", EVERY_MODEL, ids=str)
def test_rematerialized_windows_of_every_model(extra):
    whole, a = run(3, end=80, **extra, **SGD, model__layers=1)
    chunks, b = run(3, end=80, **extra, **SGD, model__layers=1, train__remat=2)
    close(a, b, rtol=1e-4)
    close(whole.params, chunks.params, rtol=1e-3, atol=1e-5)
    close(whole.carry, chunks.carry, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_devices_train_every_model_as_one_does(tmp_path):
    processes = []
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
        command = [sys.executable, "-c", ALL_ON, str(count), str(tmp_path / str(count))]
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment()))
    assert [process.wait() for process in processes] == [0, 0]
    for i in range(len(EVERY_MODEL + REGULARIZED)):
        one, two = (dict(np.load(tmp_path / str(count) / f"{i}.npz")) for count in (1, 2))
        close(one, two, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mask", ["step", slow("window")])
def test_masks_of_rematerialized_chunks(mask):
    """Four equal chunks from a zero carry cost as much as the first alone if and only if they share a mask."""
    extra = {"model__dropout": 0.5, "model__dropout_mask": mask, "optim__learning_rate": 1e-30}
    costs = []
    for time in (2, 8):
        config = tiny(train__window=time, train__remat=2, **extra)
        optimizer = optim.make_optimizer(config.optim, lambda step: 1e-30)
        host = jax.device_get(state.create(config, V, optimizer))
        train_state = state_to_devices(config.model, host)
        x = np.tile([[3, 5]], (4, time // 2)).astype(np.int32)
        reset = np.tile([[True, False]], (4, time // 2))
        _, metrics = train_step(config, V, optimizer)(train_state, *parallel.shard((x, x, reset)))
        costs.append(float(metrics.loss))
    assert (costs[0] == pytest.approx(costs[1], rel=1e-6)) == (mask == "window")


def largest(jaxpr):
    """Return the size of the largest array of a program, inner programs included."""
    size = max((out.aval.size for eqn in jaxpr.eqns for out in eqn.outvars if hasattr(out.aval, "size")), default=0)
    inner = [p for eqn in jaxpr.eqns for p in jax.tree.leaves(eqn.params, is_leaf=lambda p: hasattr(p, "eqns"))]
    return max([size, *(largest(getattr(p, "jaxpr", p)) for p in inner if hasattr(p, "eqns"))])


def test_rematerialization_stores_no_array_of_the_whole_window():
    sizes = []
    for remat in (0, 32):
        config = tiny(train__window=1024, train__remat=remat)
        optimizer = optim.make_optimizer(config.optim, lambda step: 1e-3)
        train_state = state_to_devices(config.model, state.create(config, V, optimizer))
        x = np.zeros((4, 1024), np.int32)
        sizes.append(
            largest(jax.make_jaxpr(train_step(config, V, optimizer))(train_state, *parallel.shard((x, x, x > 0))))
        )
    hidden = tiny().model.hidden
    assert sizes[0] == 1024 * 4 * 4 * hidden
    assert sizes[1] <= 2 * max(32 * 4 * 4 * hidden, 1024 // 32 * 4 * hidden, 1024 * 4)


def test_dropout_masks_change_with_the_step():
    """With a negligible learning rate only the dropout mask changes the loss."""
    still = {"optim__learning_rate": 1e-30, "train__window": 20}
    _, a = run(2, end=80, **still, model__dropout=0.5)  # lanes of 20 symbols: both steps read one window
    assert a[0].loss != a[1].loss
    _, plain = run(2, end=80, **still)
    assert plain[0].loss == plain[1].loss


def test_the_average_follows_the_params():
    seen = []
    got, _ = run(6, watch=seen.append, optim__ema=0.9)
    assert got.eval_params is got.average
    config = tiny(optim__ema=0.9)
    average = state.create(config, V, optim.make_optimizer(config.optim, lambda s: 0.1)).params
    for i, params in enumerate(seen):
        keep = min(0.9, (1 + i) / (10 + i))
        average = jax.tree.map(lambda a, p, k=keep: k * a + (1 - k) * p, average, params)
    close(got.average, average, rtol=1e-4, atol=1e-6)
    assert run(1)[0].average is None


@pytest.mark.parametrize("cell", laws.EVERY_CELL)
@pytest.mark.parametrize("dtype", ["float32", slow("bfloat16")])
def test_every_cell_learns(cell, dtype):
    _, metrics = run(100, model__cell=cell, model__layers=1, model__dtype=dtype, optim__learning_rate=0.01)
    losses = [float(m.loss) for m in metrics]
    assert np.mean(losses[-10:]) < 0.92 * np.mean(losses[:10])


def test_the_gradients_of_frozen_modules_do_not_count_in_the_norm_that_is_clipped():
    sgd = {"optim__name": "sgd", "optim__momentum": 0.0, "optim__learning_rate": 0.5, "optim__clip_norm": 0.01}
    got, [metrics] = run(1, **sgd, train__freeze=("layer_0", "layer_1"))
    begin = run(0, **sgd)[0].params
    moved = {name: optax.tree.norm(jax.tree.map(jnp.subtract, got.params[name], begin[name])) for name in begin}
    assert moved["layer_0"] == moved["layer_1"] == 0
    assert moved["output"] == pytest.approx(0.5 * 0.01, rel=1e-4) and metrics.grad_norm > 0.01
    _, [whole] = run(1, **sgd)
    assert metrics.grad_norm < whole.grad_norm


def test_weight_decay_of_matrices_alone_leaves_biases_in_stacked_layers_too():
    adamw = {"optim__name": "adamw", "optim__decay_vectors": False, "model__layers": 5, "model__hidden": 6}
    (with_decay, _), (without, _) = (run(1, **adamw, optim__weight_decay=decay) for decay in (0.5, 0.0))
    begin = run(0, **adamw)[0].params
    for module, params in begin.items():
        for name, leaf in params.items():
            decayed = 0.5 * 0.01 * np.asarray(leaf) * (np.ndim(leaf) > 1)
            got, plain = with_decay.params[module][name], without.params[module][name]
            np.testing.assert_allclose(got, plain - decayed, atol=1e-7, err_msg=f"{module}.{name}")
            assert np.ndim(leaf) > 1 or np.array_equal(got, plain)
