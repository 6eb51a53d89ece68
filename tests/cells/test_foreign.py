"""Foreign cells are loaded by import path: flax's cells equal ours, and unsuitable ones are refused in a sentence."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.cells import CELLS, cell_of
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn import model, size
from rnnlm.options import LSTMOptions
from tests.cells import laws
from tests.conftest import slow

V, B, T, D, H = 5, 3, 7, 6, 8
NARROW = CELLS["lstm"](LSTMOptions(projection=3))


class NormalizedCell(nn.RNNCellBase):
    """A cell with layer normalization."""

    features: int

    @nn.compact
    def __call__(self, carry, x):
        h = jnp.tanh(nn.LayerNorm()(nn.Dense(self.features)(x) + nn.Dense(self.features, use_bias=False)(carry)))
        return h, h

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.full((*input_shape[:-1], self.features), 0.25)

    @property
    def num_feature_axes(self):
        return 1


class NoisyCell(NormalizedCell):
    """A cell that drops units of its carry in training only."""

    @nn.compact
    def __call__(self, carry, x):
        if self.has_rng("dropout"):
            carry = nn.Dropout(0.5, deterministic=False)(carry)
        h = jnp.tanh(nn.Dense(self.features)(x) + nn.Dense(self.features, use_bias=False)(carry))
        return h, h


class CountingCell(NormalizedCell):
    """A cell with a mutable collection."""

    @nn.compact
    def __call__(self, carry, x):
        self.variable("counts", "steps", jnp.zeros, ())
        return carry, nn.Dense(self.features)(x)


class AlwaysNoisyCell(NormalizedCell):
    """A cell that draws random numbers also in evaluation."""

    @nn.compact
    def __call__(self, carry, x):
        h = nn.Dense(self.features)(x) + jax.random.normal(self.make_rng("dropout"), carry.shape)
        return h, h


def config(name, **more):
    return ModelConfig(cell=name, layers=2, hidden=H, embedding=D, **more)


def inputs():
    rng = np.random.default_rng(0)
    return rng.integers(0, V, (B, T)).astype(np.int32), rng.random((B, T)) < 0.2


def lstm_weights(p):
    gates = "ifgo"
    return {
        "W_x": jnp.concatenate([p[f"i{g}.kernel"] for g in gates], 1),
        "W_h": jnp.concatenate([p[f"h{g}.kernel"] for g in gates], 1),
        "b": jnp.concatenate([p[f"h{g}.bias"] for g in gates]),
    }


def gru_weights(p):
    zeros = jnp.zeros(2 * H)
    return {
        "W_x": jnp.concatenate([p[f"i{g}.kernel"] for g in "rzn"], 1),
        "W_h": jnp.concatenate([p[f"h{g}.kernel"] for g in "rzn"], 1),
        "b": jnp.concatenate([p[f"i{g}.bias"] for g in "rzn"]),
        "b_h": jnp.concatenate([zeros, p["hn.bias"]]),
    }


def rnn_weights(p):
    return {"W_x": p["i.kernel"], "W_h": p["h.kernel"], "b": p["i.bias"]}


@pytest.mark.parametrize(
    "flax_cell, ours, weights",
    [
        slow("OptimizedLSTMCell", "lstm", lstm_weights),
        slow("GRUCell", "gru", gru_weights),
        ("SimpleCell", "rnn", rnn_weights),
    ],
)
def test_flax_cells_equal_ours_with_equal_weights(flax_cell, ours, weights):
    theirs = config(f"flax.linen:{flax_cell}")
    params = model.init_params(theirs, V, jax.random.PRNGKey(1))
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases are zero at first
    mapped = {name: weights(p) if name.startswith("layer") else p for name, p in params.items()}
    x, reset = inputs()

    def loss_of(config):
        def loss(params):
            logits = model.apply(config, V)(params, model.initial_carry(config, B), x, reset)[1]
            return jnp.sum(jnp.sin(logits)), logits

        return jax.jit(jax.grad(loss, has_aux=True))

    (got, logits), (wanted, wanted_logits) = loss_of(theirs)(params), loss_of(config(ours))(mapped)
    np.testing.assert_allclose(logits, wanted_logits, rtol=1e-5, atol=1e-6)
    got = {name: weights(p) if name.startswith("layer") else p for name, p in got.items()}
    if ours == "gru":  # flax's GRU has no recurrent bias of r and z
        wanted = {n: p | {"b_h": p["b_h"].at[: 2 * H].set(0)} if "b_h" in p else p for n, p in wanted.items()}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, wanted)


def test_a_layer_normalized_cell_with_a_carry_that_starts_elsewhere():
    laws.check_model("tests.cells.test_foreign:NormalizedCell")
    carry = model.initial_carry(config("tests.cells.test_foreign:NormalizedCell"), 2)
    np.testing.assert_array_equal(carry[0][1], np.full((2, H), 0.25))


def test_a_random_cell_is_differentiated_by_autodiff_and_draws_by_lane():
    noisy = config("tests.cells.test_foreign:NoisyCell")
    cell = cell_of(noisy)
    assert cell.random and not cell_of(config("tests.cells.test_foreign:NormalizedCell")).random
    params, (x, reset) = model.init_params(noisy, V, jax.random.PRNGKey(0)), inputs()
    keys, forward = jax.random.split(jax.random.PRNGKey(2), B), jax.jit(model.apply(noisy, V))
    carry = model.initial_carry(noisy, B)

    def loss(params, keys=keys):
        return jnp.sum(jnp.sin(forward(params, carry, x, reset, keys)[1]))

    assert float(loss(params)) != float(loss(params, None)) != float(loss(params, keys + 1))
    grad = jax.jit(jax.grad(loss))(params)
    step, direction = 1e-2, jax.tree.map(lambda p: jnp.ones_like(p) / 10, params)
    shifted = [jax.tree.map(lambda p, d, s=s: p + s * step * d, params, direction) for s in (1, -1)]
    slope = (float(loss(shifted[0])) - float(loss(shifted[1]))) / (2 * step)
    along = sum(float(jnp.vdot(g, d)) for g, d in zip(jax.tree.leaves(grad), jax.tree.leaves(direction), strict=True))
    assert along == pytest.approx(slope, rel=2e-2)
    _, whole = forward(params, carry, x, reset, keys)
    _, alone = forward(params, jax.tree.map(lambda s: s[1:2], carry), x[1:2], reset[1:2], keys[1:2])
    np.testing.assert_allclose(whole[1], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name, options, complaint",
    [
        ("flax.linen:ConvLSTMCell", {}, "ConvLSTMCell cannot be built as Name.features=H"),
        ("tests.cells.test_foreign:CountingCell", {}, "keeps mutable collections .counts."),
        ("tests.cells.test_foreign:AlwaysNoisyCell", {}, "draws random numbers in evaluation, too"),
        ("tests.cells.test_foreign:Missing", {}, "cannot be imported .AttributeError"),
        ("no.such.module:Cell", {}, "cannot be imported .ModuleNotFoundError"),
        ("numpy:pi", {}, "gives float: expected a Cell"),
        ("flax.linen:GRUCell", {"a": 1}, "takes no model.options"),
        ("lstm", {"a": 1}, "model.options are for a cell of your own"),
        ("lstn", {}, f"model.cell is 'lstn': expected one of {', '.join(CELLS)}, or package.module:Name"),
    ],
)
def test_an_unsuitable_cell_is_refused_in_a_sentence(name, options, complaint):
    with pytest.raises(UserError, match=complaint) as error:
        size.count_params(config(name, options=options), V)
    assert "\n" not in str(error.value)


def test_a_tied_embedding_must_be_as_wide_as_what_a_cell_of_ones_own_returns():
    name = "tests.cells.test_foreign:NARROW"
    tied = ModelConfig(cell=name, hidden=H, embedding=H, tied=True)
    with pytest.raises(UserError, match=f"model.embedding={H} differs from the 3 outputs of {name}"):
        size.count_params(tied, V)
    fits = dataclasses.replace(tied, embedding=3)
    assert size.param_shapes(fits, V)["embedding"]["table"].shape == (V, 3)


def choosy_cell(options):
    """Make NARROW, which can read nothing but the embedding and its own output."""

    def params(inputs, hidden):
        assert inputs in (1, D, 3)  # 1 is a width at which names are asked for
        return NARROW.params(inputs, hidden)

    return dataclasses.replace(NARROW, params=params)


def test_a_layer_is_checked_at_the_width_of_the_output_below():
    name = "tests.cells.test_foreign:choosy_cell"
    sizes = ModelConfig(cell=name, sizes=(8, 9, 9), embedding=D, block="skip_output")  # their outputs are equal
    assert size.param_shapes(sizes, V)["layer_2"]["W_x"].shape == (3, 4 * 9)
    with pytest.raises(UserError, match=f"model.cell={name} fails at line .* .AssertionError"):
        size.param_shapes(dataclasses.replace(sizes, embedding=D + 1), V)


def test_two_biases_are_one_bias_that_is_their_sum():
    two = config("lstm", lstm=LSTMOptions(biases=2))
    one = config("lstm")
    params = jax.tree.map(lambda p: p + 0.1, model.init_params(two, V, jax.random.PRNGKey(0)))
    summed = {
        name: {k: v + p["b_h"] if k == "b" else v for k, v in p.items() if k != "b_h"}
        if name.startswith("layer")
        else p
        for name, p in params.items()
    }
    x, reset = inputs()
    a, b = (model.apply(c, V)(p, model.initial_carry(c, B), x, reset)[1] for c, p in ((two, params), (one, summed)))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert size.count_params(two, V) - size.count_params(one, V) == 2 * 4 * H


def test_a_cell_has_exactly_one_form():
    whole = cell_of(ModelConfig())
    for change, complaint in (
        ({"update": None}, "either"),
        ({"step": lambda *a: a}, "either"),
        ({"mix": None}, "either"),
        ({"carry": {}}, "functions"),
        ({"output": lambda *a: a}, r"has carry\[0\] as its output"),
        ({"random": True}, "draws no random numbers"),
        ({"recurrent": ["W_h"]}, r"is \['W_h'\]: give a tuple of names"),
    ):
        with pytest.raises(UserError, match=complaint):
            dataclasses.replace(whole, **change)
    with pytest.raises(UserError, match="W_h"):
        dataclasses.replace(whole, params=lambda inputs, hidden: {})
