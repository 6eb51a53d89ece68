"""Random masks act in each cell as its equations say, in the backward pass as in the forward one, and by lane."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.cells import CELLS, cell_of
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn import model, scan
from rnnlm.nn.dropout import MASKS, cell_masks, check_masks, draw, drop_symbols, drop_weights, keep_factor
from rnnlm.options import FSRNNOptions, LSTMOptions
from rnnlm.training import step as training
from tests.cells import laws, twins
from tests.conftest import slow, tiny

T, B, D, H, V = 6, 3, 5, 4, 7
KEYS = jax.random.split(jax.random.PRNGKey(3), 64)
VARIANTS = {
    "lstm_projection": {"lstm": LSTMOptions(projection=3, layer_norm=True)},
    "fsrnn_three": {"fsrnn": FSRNNOptions(fast=3, slow=5)},
}
MASKED = [name for name in CELLS if cell_of(ModelConfig(cell=name)).masks]
ALL = [name if name in laws.QUICK else slow(name) for name in (*MASKED, *VARIANTS)]
PLACES = ("dropout_state", "dropout_candidate", "dropout_embedding", "dropout_token", "zoneout_h", "zoneout_c")


def configure(name, **keys):
    return ModelConfig(cell=name.partition("_")[0] if name in VARIANTS else name, **VARIANTS.get(name, {}), **keys)


def masks_of(cell, rng):
    """Draw a mask of each kind: that of the state for the whole window, the others for each step."""
    return {
        name: (rng.random((1 if name == "state" else T, B, width)) < 0.6) * (1.0 if "zone" in name else 1.5)
        for name, width in cell.mask_widths(H).items()
    }


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_with_masks_is_that_of_autodiff(name):
    """The written-out backward pass equals autodiff of a plain scan of one step after another."""
    cell, rng = cell_of(configure(name, hidden=H)), np.random.default_rng(0)
    params = {name: rng.normal(size=p.shape) / 2 for name, p in cell.params(D, H).items()}
    carry = tuple(1 + np.abs(laws.normal((B, *s.shape), s.dtype, rng)) for s in cell.carry(H).values())
    x, reset, masks = rng.normal(size=(T, B, D)), rng.random((T, B)) < 0.2, masks_of(cell, rng)

    def loss(run, params, carry, x):
        after, h, *_ = run(cell, H, params, carry, scan.project(params, x, jnp.float64), reset, jnp.float64)
        return jnp.sum(jnp.sin(h)) + sum(jnp.sum(s**2) for s in after)

    with jax.enable_x64(True):
        runs = partial(scan.scan, masks_TB=masks), partial(scan.trace, masks_TB=masks), scan.scan
        ours, plain, without = (jax.jit(jax.grad(partial(loss, run), (0, 1, 2)))(params, carry, x) for run in runs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), ours, plain)
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(ours[1], without[1], strict=True))


def test_an_lstm_with_masks_has_its_equations():
    """Zoneout is of Krueger et al. 2017, where h reads c without it; the candidate is dropped before it enters c."""
    cell, rng = cell_of(ModelConfig(hidden=H)), np.random.default_rng(1)
    p = {name: rng.normal(size=param.shape) for name, param in cell.params(D, H).items()}
    carry, x = tuple(rng.normal(size=(B, H)) for _ in "hc"), rng.normal(size=(T, B, D))
    masks, reset = masks_of(cell, rng), np.zeros((T, B), bool)
    with jax.enable_x64(True):
        u = scan.project(p, x, jnp.float64)
        _, ours = scan.scan(cell, H, p, carry, u, reset, jnp.float64, masks_TB=masks)
    h, c = carry
    for t in range(T):
        i, f, g, o = np.split(x[t] @ p["W_x"] + p["b"] + (h * masks["state"][0]) @ p["W_h"], 4, axis=-1)
        new = twins.sigmoid(f) * c + twins.sigmoid(i) * np.tanh(g) * masks["candidate"][t]
        keep_h, keep_c = masks["zoneout_h"][t], masks["zoneout_c"][t]
        h = np.where(keep_h, h, twins.sigmoid(o) * np.tanh(new))
        c = np.where(keep_c, c, new)
        np.testing.assert_allclose(ours[t], h, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["gru", slow("gru_before"), slow("rhn"), slow("rnn"), slow("mlstm"), slow("fsrnn")])
def test_zoneout_of_all_units_keeps_the_carry_and_a_mask_of_ones_keeps_the_function(name):
    cell, rng = cell_of(configure(name, hidden=H)), np.random.default_rng(2)
    params = {name: rng.normal(size=p.shape).astype(np.float32) for name, p in cell.params(D, H).items()}
    carry = tuple(rng.normal(size=(B, *s.shape)).astype(np.float32) for s in cell.carry(H).values())
    u, reset = (
        scan.project(params, jnp.array(rng.normal(size=(T, B, D)), jnp.float32), jnp.float32),
        jnp.zeros((T, B)) > 0,
    )
    run = jax.jit(lambda masks: scan.scan(cell, H, params, carry, u, reset, jnp.float32, masks_TB=masks))
    ones = {name: jnp.ones((1, 1, width)) for name, width in cell.mask_widths(H).items()}
    zones = {name: m for name, m in ones.items() if "zone" in name}
    if zones:
        jax.tree.map(np.testing.assert_array_equal, run(zones)[0], carry)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        run({name: m for name, m in ones.items() if name not in zones}),
        run({}),
    )


def test_evaluation_mixes_by_the_mean_of_the_masks():
    """One step is linear in the masks of zoneout, so its mean over many masks is the step of evaluation."""
    config = ModelConfig(hidden=H, embedding=D, layers=1, zoneout_h=0.3, zoneout_c=0.4)
    params = model.init_params(config, V, jax.random.PRNGKey(0))
    lanes, x = 20_000, np.zeros((1, 1), np.int32)
    carry = ((jnp.full((1, H), 0.5), jnp.full((1, H), -0.7)),)
    many = jax.tree.map(lambda s: jnp.repeat(s, lanes, axis=0), carry)
    forward = jax.jit(model.apply(config, V))
    expected, _ = forward(params, carry, x, x > 0)
    keys = jax.random.split(jax.random.PRNGKey(1), lanes)
    drawn, _ = forward(params, many, np.zeros((lanes, 1), np.int32), np.zeros((lanes, 1), bool), keys)
    for (h, mean), rate in zip(zip(drawn[0], expected[0], strict=True), (0.3, 0.4), strict=True):
        assert np.abs(np.mean(h, axis=0) - mean[0]).max() < 4 * np.std(h, axis=0).max() / lanes**0.5
        assert abs(np.mean(h == {0.3: 0.5, 0.4: -0.7}[rate]) - rate) < 4 * (rate * (1 - rate) / h.size) ** 0.5


@pytest.mark.parametrize("place", PLACES)
def test_each_mask_acts_in_training_and_does_not_depend_on_the_other_lanes(place):
    config = dataclasses.replace(ModelConfig(hidden=8, embedding=6), **{place: 0.5})
    params = model.init_params(config, V, jax.random.PRNGKey(0))
    x, reset = np.random.default_rng(0).integers(0, V, (8, 20)).astype(np.int32), np.zeros((8, 20), bool)
    forward = jax.jit(model.apply(config, V))

    def logits(lanes, keys=None):
        return forward(params, model.initial_carry(config, len(x[lanes])), x[lanes], reset[lanes], keys)[1]

    whole = logits(slice(None), KEYS[:8])
    np.testing.assert_allclose(logits(slice(3, 5), KEYS[3:5]), whole[3:5], rtol=1e-5, atol=1e-6)
    assert np.abs(whole - logits(slice(None))).max() > 1e-3
    assert np.abs(whole - logits(slice(None), KEYS[8:16])).max() > 1e-3


@pytest.mark.parametrize("rate", [0.0, 1e-6, 1e-4, 0.3, 0.9999, 1 - 1e-6])
def test_a_mask_drops_its_share_however_small(rate):
    kept = np.asarray(draw(jax.random.split(jax.random.PRNGKey(0), 1000), 1, 1, 1000, rate))
    assert abs(np.mean(kept) - (1 - rate)) < 4 * (rate * (1 - rate) / kept.size) ** 0.5 + 2**-16
    assert keep_factor(rate) * max(1 - rate, 2**-16) == pytest.approx(1, rel=0.4)


def test_dropped_symbols_are_dropped_through_the_window_and_tokens_at_one_step():
    x_BT = np.random.default_rng(0).integers(0, V, (64, 40)).astype(np.int32)
    ones = jnp.ones((40, 64, D))
    types = np.asarray(drop_symbols(ModelConfig(dropout_embedding=0.4), KEYS, x_BT, ones, V))[:, :, 0].T
    for lane, row in zip(x_BT, types, strict=True):
        fate = {symbol: set(row[lane == symbol]) for symbol in set(lane)}
        assert all(len(values) == 1 for values in fate.values())
    assert abs(np.mean(types == 0) - 0.4) < 0.1 and not (types == types[:1]).all()
    tokens = np.asarray(drop_symbols(ModelConfig(dropout_token=0.4), KEYS, x_BT, ones, V))
    assert (tokens == tokens[:, :, :1]).all() and abs(np.mean(tokens == 0) - 0.4) < 0.05
    assert len({tuple(row) for row in tokens[:, :, 0].T}) == 64
    for masked in (types, tokens):
        assert set(np.unique(masked)) == {0.0, np.float32(2**16 / round(0.6 * 2**16))}


@pytest.mark.parametrize("layers", [2, slow(4)])
def test_weight_drop_drops_recurrent_weights_alone_and_no_gradient_reaches_these(layers):
    config = ModelConfig(cell="mlstm", hidden=32, layers=layers, embedding=D, weight_drop=0.3)
    params = model.init_params(config, V, jax.random.PRNGKey(0))
    dropped, pull_back = jax.vjp(lambda p: training.drop_stacked(config, p, KEYS[0]), params)
    (grads,) = pull_back(jax.tree.map(jnp.ones_like, dropped))
    for i in range(layers):
        layer = f"layer_{i}"
        for name, w in params[layer].items():
            ours = np.asarray(
                dropped[layer][name] if "upper" not in dropped or i == 0 else dropped["upper"][name][i - 1]
            )
            if name not in ("W_m", "W_h"):
                np.testing.assert_array_equal(ours, w)
                continue
            kept = np.asarray(grads[layer][name]) != 0
            np.testing.assert_allclose(ours, np.where(kept, w / 0.7, 0), rtol=1e-4)
            assert abs(np.mean(~kept) - 0.3) < 4 * (0.21 / w.size) ** 0.5
    twice = drop_weights(config, cell_of(config), params, KEYS[1])["layer_0"]["W_h"]
    assert not np.array_equal(twice == 0, dropped["layer_0"]["W_h"] == 0)


@pytest.mark.parametrize(
    ("cell", "key"),
    [
        ("sru", "zoneout_h"),
        ("sru", "zoneout_c"),
        ("minlstm", "weight_drop"),
        ("rhn", "zoneout_h"),
        ("qrnn", "dropout_state"),
        ("fsrnn", "dropout_candidate"),
    ],
)
def test_a_cell_refuses_what_it_cannot_have(cell, key):
    config = ModelConfig(cell=cell, **{key: 0.1})
    with pytest.raises(UserError, match=rf"model\.{key}=0\.1 .*model\.cell={cell}") as raised:
        check_masks(config, cell_of(config))
    assert str(raised.value).count("\n") == 0


def test_a_cell_has_the_masks_that_the_config_can_switch_on():
    known = {name for cell in MASKED for name in cell_of(ModelConfig(cell=cell)).mask_widths(H)}
    assert known <= MASKS.keys() and {"state", "candidate", "zoneout_h", "zoneout_c"} <= known


def test_masks_of_steps_and_windows_together_cannot_be_rematerialized():
    config = tiny(model__dropout=0.1, model__dropout_mask="window", model__zoneout_h=0.1, train__remat=2)
    with pytest.raises(UserError, match=r"train\.remat"):
        training.mapped_step(config, V, None)


def test_without_keys_no_mask_but_that_of_zoneout_is_on():
    config = ModelConfig(hidden=H, dropout_state=0.5, dropout_candidate=0.5, zoneout_c=0.2)
    masks = cell_masks(config, cell_of(config), H, None, 0, T)
    assert list(masks) == ["zoneout_c"] and np.allclose(masks["zoneout_c"], 0.2)
