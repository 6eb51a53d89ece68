"""The blocks equal their equations in numpy, and satisfy the laws of the model."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm import UserError
from rnnlm.cells import CELLS
from rnnlm.config import ModelConfig
from rnnlm.nn import blocks, model, size, stack
from rnnlm.options import BLOCKS
from tests.conftest import slow, tiny
from tests.nn.test_model import V, build, configure, inputs, lowered

B, T, H = 3, 12, 6
KINDS = [kind for kind in BLOCKS if kind != "plain"]
QUICK = [pytest.param({"block": kind, "embedding": 6}, id=kind) for kind in KINDS]
MODELS = [
    *(pytest.param({"block": kind, "embedding": 5, "layers": 4}, id=f"{kind}-looped") for kind in KINDS),
    pytest.param({"block": "skip"}, id="skip-one_hot"),
    pytest.param({"block": "skip_output", "layers": 5}, id="skip_output-one_hot"),
    pytest.param({"block": "prenorm", "embedding": 6, "tied": True, "cell": "mingru"}, id="prenorm-tied"),
    pytest.param({"block": "residual", "embedding": 5, "lstm__projection": 3}, id="residual-projection"),
    pytest.param({"lstm__projection": 3, "layers": 4}, id="projection-looped"),
    pytest.param({"block": "highway", "embedding": 6, "cell": "sru"}, id="highway-sru"),
    pytest.param({"block": "highway", "embedding": 5, "input_projection": 3, "layers": 4}, id="highway-projected"),
]


def make(**options):
    return build(hidden=H, **options)


def randomized(params):
    """Add noise to params, so that biases and gains are not where they start."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: np.asarray(p + 0.3 * rng.normal(size=p.shape), np.float32), params)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def norm(x, gain):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * gain


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rnn(p, x_BTD, reset, add=0.0):
    h, out = np.zeros((B, H)), []
    for t in range(T):
        h = np.where(reset[:, t, None], 0, h)
        h = np.tanh((x_BTD @ p["W_x"] + add)[:, t] + p["b"] + h @ p["W_h"])
        out.append(h)
    return np.stack(out, 1)


def by_hand(kind, params, x, reset):
    """Compute the logits of a model of tanh cells."""
    first = inputs = params["embedding"]["table"][x]
    outputs = []
    for i in range(2):
        p = params[f"layer_{i}"]
        read = inputs @ p["projection"] if "projection" in p else inputs
        y = rnn(p, read, reset, first @ p["skip_in"] if "skip_in" in p else 0.0)
        skipped = inputs @ p["skip"] if "skip" in p else inputs
        if kind == "residual":
            y = skipped + y
        if kind == "highway":
            before = np.where(reset[:, :, None], 0, np.pad(y, ((0, 0), (1, 0), (0, 0)))[:, :-1])
            r = sigmoid(read @ p["highway_W"] + p["highway_v"] * before + p["highway_b"])
            y = r * y + (1 - r) * np.sqrt(1 + 2 * np.exp(-3.0)) * skipped
        if kind == "prenorm":
            normed = norm(inputs, p["norm_in"])
            mixed = np.zeros_like(normed)
            for b, t, k in itertools.product(range(B), range(T), range(4)):
                if t >= k and not reset[b, t - k + 1 : t + 1].any():
                    mixed[b, t] += p["conv"][k] * normed[b, t - k]
            y = skipped + rnn(p, mixed, reset)
            a = norm(y, p["norm_mlp"])
            y = y + (gelu(a @ p["mlp_gate"]) * (a @ p["mlp_up"])) @ p["mlp_down"]
        inputs = y
        outputs.append(y)
    read = {"skip": np.concatenate(outputs, -1), "skip_output": sum(outputs)}.get(kind, outputs[-1])
    if kind == "prenorm":
        read = norm(read, params["output"]["norm"])
    return read @ params["output"]["W"] + params["output"]["b"]


@pytest.mark.parametrize("embedding", [H, slow(5)])
@pytest.mark.parametrize("kind, projection", [*((kind, 0) for kind in KINDS), ("highway", 4)])
def test_a_block_equals_its_equations(kind, projection, embedding):
    config, params, forward = make(cell="rnn", block=kind, embedding=embedding, input_projection=projection)
    params, (x, reset) = randomized(params), inputs()
    _, logits = forward(params, model.initial_carry(config, B), x, reset)
    np.testing.assert_allclose(logits, by_hand(kind, params, x, reset), rtol=1e-4, atol=1e-4)


SLOW = [pytest.param(*model.values, id=model.id, marks=pytest.mark.slow) for model in MODELS]


@pytest.mark.parametrize("options", [*QUICK, *SLOW])
def test_windows_with_carry_equal_one_pass_and_single_steps(options):
    """The logits are equal in one window, in two, and step by step with what is folded and no loop over layers."""
    config, params, forward = make(**options)
    params, (x, reset), start = randomized(params), inputs(), model.initial_carry(config, B)
    whole_carry, whole = forward(params, start, x, reset)
    carry, head = forward(params, start, x[:, :2], reset[:, :2])
    carry, tail = forward(params, carry, x[:, 2:], reset[:, 2:])
    np.testing.assert_allclose(np.concatenate([head, tail], 1), whole, rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), carry, whole_carry)
    step = jax.jit(model.apply(model.inference_config(config), V, step_by_step=True))
    folded, carry = model.inference_params(config, params), start
    for t in range(T):
        carry, logits = step(folded, carry, x[:, t : t + 1], reset[:, t : t + 1])
        np.testing.assert_allclose(logits[:, 0], whole[:, t], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("options", [*QUICK, *MODELS])
def test_the_future_does_not_reach_the_past(options):
    """The logits at t depend on the symbols since the last reset, and on none after t."""
    config, params, forward = make(**options)
    x, _ = inputs(batch=1)
    reset = np.arange(T)[None, :] == 5
    lanes = np.tile(x, (T + 1, 1))
    for s in range(T):
        lanes[s, s] = (x[0, s] + 1) % V
    _, logits = forward(randomized(params), model.initial_carry(config, T + 1), lanes, np.tile(reset, (T + 1, 1)))
    effect = np.abs(logits[:T] - logits[T:]).max(axis=-1)
    for s, t in itertools.product(range(T), range(T)):
        if t < s or s < 5 <= t:
            assert effect[s, t] == 0
        elif t < s + 4:
            assert effect[s, t] > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("options", [*QUICK, *MODELS])
def test_counts_modules_and_programs_are_those_of_the_config(options):
    """Params are known from the config, modules equal functions, and products have operands of the compute dtype."""
    config, params, forward = make(**options)
    assert size.param_shapes(config, V) == jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    module, (x, reset), start = model.RecurrentLM(config, V), inputs(), model.initial_carry(config, B)
    (after, logits), captured = module.apply({"params": params}, start, x, reset, mutable=["intermediates"])
    wanted = forward(params, start, x, reset)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), (after, logits), wanted)
    assert len(captured["intermediates"]) == len(config.hidden_sizes)
    text = lowered("cuda", hidden=H, dtype="bfloat16", **options)
    wide = [line for line in text.splitlines() if "dot_general" in line and "xbf16>" not in line]
    assert all("HIGHEST" in line for line in wide)  # the sums of each symbol's rows


@pytest.mark.parametrize("kind", KINDS)
def test_flops_are_two_for_each_weight_of_a_product(kind):
    config, params, _ = make(cell="rnn", block=kind, embedding=5)
    weights = sum(p.size for name, layer in params.items() if name != "embedding" for p in layer.values() if p.ndim > 1)
    assert size.flops_per_symbol(config, V) == 2 * weights


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_cell_fits_every_block(kind, cell):
    if kind == "skip" and not CELLS[cell](getattr(ModelConfig(), cell, None)).projects_inputs:
        with pytest.raises(UserError, match=f"{cell} cannot be in model.block=skip"):
            size.param_shapes(tiny(model__hidden=8, model__cell=cell, model__block=kind).model, V)
        return
    config = tiny(model__hidden=8, model__cell=cell, model__block=kind, model__embedding=4).model
    params, carry = size.param_shapes(config, V), model.initial_carry(config, B)
    assert jax.eval_shape(partial(model.init_params, config, V), jax.random.PRNGKey(0)) == params
    after, logits = jax.eval_shape(model.apply(config, V), params, carry, *inputs())
    assert logits.shape == (B, T, V)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, carry)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"block": "residual"}, "set model.embedding"),
        ({"block": "skip_output", "sizes": (3, 4)}, "model.sizes"),
        ({"block": "dense"}, "expected one of plain"),
        ({"lstm__projection": 13}, "wider than a layer of 12 units"),
        ({"lstm__projection": -1}, "model.lstm.projection=-1"),
        ({"block": "skip", "embedding": 12, "tied": True}, "differs from the 24 outputs that the softmax reads"),
        ({"lstm__projection": 4, "embedding": 12, "tied": True}, "the 4 outputs that the softmax reads"),
        ({"lstm__layer_norm": True, "sizes": (3, 1)}, "model.lstm.layer_norm normalizes units together"),
        ({"cell": "matrix_lstm", "hidden": 7}, "model.matrix_lstm.heads=4 normalizes units together, but there is 1"),
        ({"hyperlstm__hyper_units": 1}, "model.hyperlstm.layer_norm normalizes units together"),
    ],
)
def test_a_block_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny(**{f"model__{name}": value for name, value in options.items()})


def test_a_cell_with_a_name_of_the_blocks_is_refused(monkeypatch):
    clash = stack.blocks_of(configure(block="residual", embedding=5), V)[0]
    monkeypatch.setattr(blocks.Residual, "added_params", lambda self: {"W_x": None})
    monkeypatch.setattr(blocks.Residual, "added_carry", lambda self: {"c": None})
    with pytest.raises(UserError, match="calls a param 'W_x', as model.block=residual does: rename that of the cell"):
        clash.params()
    with pytest.raises(UserError, match="calls an array of its carry 'c', as model.block=residual does"):
        clash.carry()
