"""The model satisfies its laws: causality, carry, parameter count, dropout."""

import dataclasses
import functools
import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.cells import cell_of
from rnnlm.evaluation import tally
from rnnlm.nn import looped, model, scan, size
from rnnlm.nn.dropout import dropout
from rnnlm.nn.embed import embed
from rnnlm.nn.leaves import named_leaves
from tests.cells import laws
from tests.conftest import slow, tiny
from tests.plain import scan_steps

V, B, T = 7, 3, 12


def configure(**overrides):
    return tiny(**{f"model__{k}": v for k, v in overrides.items()}).model


@functools.cache
def build(**overrides):
    config = configure(**overrides)
    return config, model.init_params(config, V, jax.random.PRNGKey(0)), jax.jit(model.apply(config, V))


def inputs(seed=0, batch=B, time=T):
    rng = np.random.default_rng(seed)
    return rng.integers(0, V, (batch, time)).astype(np.int32), rng.random((batch, time)) < 0.2


@pytest.mark.parametrize("cell", laws.EVERY_CELL)
@pytest.mark.parametrize("embedding", [0, 6])
def test_the_future_does_not_reach_the_past(cell, embedding):
    """The logits at t do not depend on symbols after t, nor on those before the last reset."""
    config, params, forward = build(cell=cell, embedding=embedding)
    x, _ = inputs(batch=1)
    reset = np.arange(T)[None, :] == 5
    # Lane s has symbol s changed; the last lane has no change.
    lanes = np.tile(x, (T + 1, 1))
    for s in range(T):
        lanes[s, s] = (x[0, s] + 1) % V
    params = jax.tree.map(lambda p: 3 * p if p.ndim > 1 else p, params)  # so that distant effects are visible
    _, logits = forward(params, model.initial_carry(config, T + 1), lanes, np.tile(reset, (T + 1, 1)))
    effect = np.abs(logits[:T] - logits[T:]).max(axis=-1)
    for s, t in itertools.product(range(T), range(T)):
        assert (effect[s, t] > 1e-5) == (s <= t and not s < 5 <= t), (s, t, effect[s, t])


@pytest.mark.parametrize("cell", laws.EVERY_CELL)
def test_windows_with_carry_equal_one_pass(cell):
    config, params, forward = build(cell=cell, embedding=5, init_gain=1.0)  # larger matrices enlarge rounding errors
    x, reset = inputs()
    whole_carry, whole = forward(params, model.initial_carry(config, B), x, reset)
    carry, parts, begin = model.initial_carry(config, B), [], 0
    for cut in (1, 4, 7):
        carry, logits = forward(params, carry, x[:, begin : begin + cut], reset[:, begin : begin + cut])
        parts.append(logits)
        begin += cut
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), carry, whole_carry)


def test_a_reset_lane_forgets_the_carry_in_the_middle_of_a_window():
    config, params, forward = build()
    x, _ = inputs()
    reset = np.zeros((B, T), bool)
    reset[1, 4] = True
    large_carry = jax.tree.map(lambda s: s + 3.0, model.initial_carry(config, B))
    _, got = forward(params, large_carry, x, reset)
    _, alone = forward(params, model.initial_carry(config, B), x[:, 4:], reset[:, 4:])
    _, through = forward(params, large_carry, x, np.zeros_like(reset))
    np.testing.assert_allclose(got[1, 4:], alone[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got[::2], through[::2], rtol=1e-6)
    assert float(jnp.max(jnp.abs(got[1, 4:] - through[1, 4:]))) > 1e-2


@pytest.mark.parametrize("cell", laws.EVERY_CELL)
@pytest.mark.parametrize(
    "extra", [{}, {"sizes": (8, 16, 12)}, {"embedding": 4}, {"embedding": 12, "tied": True}, {"layers": 1}]
)
def test_parameters_are_known_from_the_config(cell, extra):
    config = configure(cell=cell, **extra)
    drawn = jax.eval_shape(functools.partial(model.init_params, config, V), jax.random.PRNGKey(0))
    assert size.param_shapes(config, V) == drawn
    assert size.count_params(config, V) == sum(leaf.size for leaf in jax.tree.leaves(drawn))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(drawn))


def test_projected_table_equals_looked_up_rows():
    """The logits are equal if the table is projected, or if its rows are looked up for a short text."""
    config, params, forward = build(embedding=5)
    x, reset = inputs(batch=1, time=V - 1)
    _, looked_up = forward(params, model.initial_carry(config, 1), x, reset)
    _, projected = forward(params, model.initial_carry(config, 4), np.tile(x, (4, 1)), np.tile(reset, (4, 1)))
    np.testing.assert_allclose(projected, np.tile(looked_up, (4, 1, 1)), rtol=1e-5, atol=1e-6)


def test_tied_output_is_the_embedding():
    config, params, forward = build(embedding=12, tied=True)
    assert "W" not in params["output"]
    x, reset = inputs()
    row = V - 1  # a symbol that is not read matters only as an output
    x = x % row
    _, before = forward(params, model.initial_carry(config, B), x, reset)
    other = params | {"embedding": {"table": params["embedding"]["table"].at[row].add(1.0)}}
    _, after = forward(other, model.initial_carry(config, B), x, reset)
    changed = np.abs(after - before).max(axis=(0, 1)) > 1e-6
    assert list(np.flatnonzero(changed)) == [row]


def test_forget_bias_is_the_configs():
    _, params, _ = build(lstm__forget_bias=2.5)
    np.testing.assert_array_equal(params["layer_0"]["b"], np.repeat([0, 2.5, 0, 0], 12).astype(np.float32))


KEYS = jax.random.split(jax.random.PRNGKey(3), 64)


@pytest.mark.parametrize("window", [False, True])
def test_dropout_keeps_the_mean_and_drops_its_share(window):
    x = jnp.ones((50, 64, 40))
    y = np.asarray(dropout(KEYS, window, x, 0.3, 1))
    masks = y[:1] if window else y
    assert set(np.unique(y)) == {0.0, np.float32(2**16 / round(0.7 * 2**16))}
    assert abs((masks == 0).mean() - 0.3) < 4 * (0.21 / masks.size) ** 0.5
    assert (y == y[:1]).all() == window
    assert not (y[:, 0] == y[:, 1]).all()


def test_dropout_does_not_depend_on_the_other_lanes():
    x = jnp.ones((5, 64, 40))
    whole = dropout(KEYS, False, x, 0.5, 2)
    part = dropout(KEYS[40:50], False, x[:, 40:50], 0.5, 2)
    np.testing.assert_array_equal(whole[:, 40:50], part)


@pytest.mark.parametrize("place", ["dropout", "dropout_input", "dropout_output"])
def test_each_dropout_acts_in_training_only(place):
    quiet = {"dropout": 0.0, "dropout_input": 0.0, "dropout_output": 0.0}
    config, params, _ = build(**quiet | {place: 0.5}, embedding=6)
    x, reset = inputs()
    carry, forward = model.initial_carry(config, B), model.apply(config, V)
    _, plain = model.apply(dataclasses.replace(config, **quiet), V)(params, carry, x, reset, KEYS[:B])
    _, off = forward(params, carry, x, reset)
    _, on = forward(params, carry, x, reset, KEYS[:B])
    np.testing.assert_allclose(off, plain, rtol=1e-5)
    assert float(jnp.max(jnp.abs(on - off))) > 1e-3


def test_dropout_output_follows_dropout_unless_set():
    assert tiny(model__dropout=0.25).model.dropout_output == 0.25
    apart = tiny(model__dropout=0.25, model__dropout_output=0.5).model
    assert (apart.dropout, apart.dropout_output) == (0.25, 0.5)


@pytest.mark.parametrize("rate", [slow(0.0), 0.3])
def test_layers_in_a_loop_equal_layers_one_by_one(rate):
    config, params, _ = build(layers=5, hidden=6, dropout=rate)
    assert looped.is_looped(config) and set(params) == {*(f"layer_{i}" for i in range(5)), "output"}
    x, reset = inputs()
    carry = jax.tree.map(lambda s: s + 0.1, model.initial_carry(config, B))
    keys = jax.vmap(jax.random.PRNGKey)(jnp.arange(B)) if rate else None

    def by_hand(params):
        h, u, after = None, embed(params["layer_0"]["W_x"], x.T), []
        for i in range(5):
            layer = params[f"layer_{i}"]
            if i:
                u = scan.project(layer, dropout(keys, False, h, rate, i), jnp.float32)
            c, h = scan_steps(cell_of(config), 6, layer, carry[i], u, reset.T, jnp.float32)
            after.append(c)
        h = dropout(keys, False, h, rate, 5)
        return tuple(after), (h @ params["output"]["W"]).swapaxes(0, 1) + params["output"]["b"][None, None, :]

    def loss(run, params):
        after, logits = run(params)
        return jnp.sum(jnp.sin(logits)) + sum(jnp.sum(s) for s in jax.tree.leaves(after)), (after, logits)

    def ours(params):
        return model.apply(config, V)(params, carry, x, reset, keys)

    (_, out), grads = jax.jit(jax.value_and_grad(functools.partial(loss, ours), has_aux=True))(params)
    (_, wanted), wanted_grads = jax.jit(jax.value_and_grad(functools.partial(loss, by_hand), has_aux=True))(params)
    for a, b in ((out, wanted), (grads, wanted_grads)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), a, b)


@pytest.mark.parametrize(
    "extra",
    [
        {"layers": 5, "embedding": 6},
        {"layers": 4, "embedding": 12, "tied": True},
        {"embedding": 12, "tied": True},
        {"sizes": (3, 9)},
    ],
)
def test_inference_params_give_equal_logits_without_a_loop_over_layers(extra):
    config, params, _ = build(**extra)
    x, reset = inputs()
    folded = model.inference_params(config, params)
    assert "embedding" not in folded
    ours, theirs = (
        jax.jit(model.apply(c, V, steps))(p, model.initial_carry(config, B), x, reset)
        for c, p, steps in ((config, params, False), (model.inference_config(config), folded, True))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, theirs)


def lowered(platform, time=T, **overrides):
    """Lower the gradient of a model's cost for a platform: -> StableHLO text."""
    config = configure(**overrides)
    forward = model.apply(config, V)

    def loss(params, x, reset):
        return jnp.sum(tally.nats(forward(params, model.initial_carry(config, B), x, reset)[1], x))

    args = (size.param_shapes(config, V), *inputs(time=time))
    return jax.jit(jax.grad(loss)).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def test_the_compiled_program_does_not_grow_with_time_or_depth():
    assert len(lowered("cpu", time=30).splitlines()) == len(lowered("cpu", time=300).splitlines())
    two, five, eight = (lowered("cpu", layers=n).count("stablehlo.while") for n in (2, 5, 8))
    assert eight == five < 2 * two


@pytest.mark.parametrize("cell", laws.EVERY_CELL)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_lowers_for_accelerators(platform, cell):
    """Products have bfloat16 operands and float32 sums; there is no scatter, which is not deterministic on a GPU."""
    text = lowered(platform, cell=cell, embedding=6, dtype="bfloat16")
    assert "stablehlo.scatter" not in text
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    wide = [line for line in products if not re.search(r"\(tensor<[0-9x]*xbf16>, tensor<[0-9x]*xbf16>\)", line)]
    assert len(products) > 5 and len(wide) == 1  # only the sum of each symbol's rows has float32 operands
    assert all(re.search(r"-> tensor<[0-9x]*xf32>", line) for line in products)


@pytest.mark.parametrize("cell", laws.EVERY_CELL)
def test_bfloat16_gradients_are_near_and_not_rounded(cell):
    settings = {"cell": cell, "embedding": 6, "hidden": 16, "init_gain": 1.0}  # larger matrices enlarge rounding errors
    _, params, _ = build(**settings)
    if cell == "hyperlstm":  # whose hyper LSTM has no effect, and so no gradient, before the first step of training
        params = jax.tree.map(lambda p: p + 0.01 * jax.random.normal(jax.random.key(1), p.shape), params)
    x, reset = inputs()

    def grad(dtype):
        config = configure(**settings, dtype=dtype)
        forward = model.apply(config, V)
        carry = model.initial_carry(config, B)
        return jax.jit(jax.grad(lambda p: jnp.sum(tally.nats(forward(p, carry, x, reset)[1], x))))(params)

    for rough, exact in zip(jax.tree.leaves(grad("bfloat16")), jax.tree.leaves(grad("float32")), strict=True):
        if cell not in ("irnn", "indrnn"):  # whose gradient jumps where a unit crosses zero
            near = {"hyperlstm": 0.1, "matrix_lstm": 0.2}.get(cell, 0.05)  # normalizations enlarge rounding errors
            assert np.linalg.norm(rough - exact) < near * np.linalg.norm(exact)
        assert rough.dtype == jnp.float32 and np.mean(rough == rough.astype(jnp.bfloat16)) < 0.3


@pytest.mark.parametrize("extra", [{}, {"embedding": 12, "tied": True}, {"layers": 4}, {"cell": "gru_before"}])
def test_the_modules_equal_the_functions(extra):
    """Modules trace to the program of the functions; while intermediates are captured, logits are equal."""
    config, params, _ = build(**extra)
    module, carry, (x, reset) = model.RecurrentLM(config, V), model.initial_carry(config, B), inputs()
    programs = [
        str(jax.make_jaxpr(run)(params, carry, x, reset))
        for run in (model.apply(config, V), lambda p, *args: module.apply({"params": p}, *args))
    ]
    assert programs[0] == programs[1]
    (after, logits), captured = module.apply({"params": params}, carry, x, reset, mutable=["intermediates"])
    wanted_after, wanted = model.apply(config, V)(params, carry, x, reset)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), (after, logits), (wanted_after, wanted))
    names = {f"layer_{i}" for i in range(len(config.hidden_sizes))}
    assert captured["intermediates"].keys() == names
    last = captured["intermediates"][f"layer_{len(names) - 1}"]
    np.testing.assert_allclose(last["carry"][0]["h"][-1], after[-1][0], atol=1e-6)
    assert set(last["gates"][0]) == ({"r", "z", "n"} if "cell" in extra else {"i", "f", "g", "o"})


DRAWN_BY_VERSION_1 = {
    "layer_0.W_h": 21.385955810546875,
    "layer_1.W_h": 22.32969856262207,
    "layer_2.W_h": 23.453746795654297,
    "layer_3.W_h": 24.260316848754883,
}
"""Sums of magnitudes of the params of version 1 for four layers of 5, embedding 3, 7 symbols and key 0."""


def test_init_params_draws_what_the_module_draws_and_what_version_1_drew():
    config, params, _ = build(layers=4, hidden=5, embedding=3)
    module, x = model.RecurrentLM(config, V), np.zeros((1, 1), np.int32)
    drawn = module.init(jax.random.PRNGKey(0), model.initial_carry(config, 1), x, x > 0)["params"]
    jax.tree.map(np.testing.assert_array_equal, drawn, params)
    sums = {name: float(np.abs(leaf).sum()) for name, leaf in named_leaves(params).items() if name.endswith("W_h")}
    assert sums == pytest.approx(DRAWN_BY_VERSION_1, rel=1e-6)


def test_tabulate_shows_the_layers_of_a_model():
    config, _, _ = build(embedding=6)
    x = np.zeros((1, 2), np.int32)
    module = model.RecurrentLM(config, V)
    tabulate = nn.tabulate(module, jax.random.PRNGKey(0), console_kwargs={"width": 200})
    table = re.sub(r"\x1b\[[0-9;]*m", "", tabulate(model.initial_carry(config, 1), x, x > 0))
    for word in ("Embedding", "RecurrentLayer", "Head", "layer_1", "W_h: float32[12,48]", "Total Parameters: 2,245"):
        assert word in table


def test_capture_takes_no_keys_of_dropout():
    config, params, _ = build(dropout=0.5)
    x, reset = inputs()
    with pytest.raises(ValueError, match="leave out keys_B"):
        model.RecurrentLM(config, V).apply(
            {"params": params}, model.initial_carry(config, B), x, reset, KEYS[:B], mutable=["intermediates"]
        )


def test_init_gain_scales_the_matrices_outside_the_steps():
    """Recurrent matrices, the embedding, biases and norms start as they do without it."""
    extra = {"lstm__layer_norm": True, "block": "prenorm", "embedding": 6}
    plain, scaled = (
        named_leaves(model.init_params(configure(init_gain=gain, **extra), V, KEYS[0])) for gain in (1.0, 4.0)
    )
    kept = {name for name, leaf in plain.items() if leaf.ndim < 2 or name.endswith(("W_h", "embedding.table"))}
    for name in plain:
        np.testing.assert_array_equal(scaled[name], plain[name] * (1 if name in kept else 4), name)
