"""Initial values have the distribution of their method, and weight normalization keeps the function that was drawn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn import model, size, weight_norm
from rnnlm.nn.leaves import named_leaves
from rnnlm.options import INITS, LSTMOptions, RHNOptions

V, D, H = 11, 40, 60
BASE = ModelConfig(hidden=H, embedding=D, layers=2, lstm=LSTMOptions(biases=2))


def draw(**keys):
    config = dataclasses.replace(BASE, **keys)
    return model.init_params(config, V, jax.random.PRNGKey(0))


def test_char_rnn_draws_all_but_the_forget_bias():
    """Each param is uniform in +-0.08, and the bias of the forget gate that reads the input is 1 (train.lua)."""
    for name, p in named_leaves(draw(init="uniform")).items():
        drawn = np.delete(p, slice(H, 2 * H)) if name.endswith(".b") and name.startswith("layer") else np.ravel(p)
        assert np.abs(drawn).max() < 0.08 and np.abs(np.std(drawn) / (0.08 / 3**0.5) - 1) < 4 / drawn.size**0.5
        if drawn.size < p.size:
            assert (p[H : 2 * H] == 1).all()
    scaled = draw(init="uniform", init_scale=0.04, cell="rhn", rhn=RHNOptions(recurrence_depth=2))
    bias = np.asarray(scaled["layer_0"]["bias_1"])
    assert (bias[H:] == -4).all() and 0.03 < np.abs(bias[:H]).max() < 0.04


def test_min_char_rnn_draws_matrices_alone():
    for name, p in named_leaves(draw(init="normal", cell="rnn")).items():
        if p.ndim == 1:
            assert not p.any(), name
        else:
            assert abs(np.std(p) / 0.01 - 1) < 4 / (2 * p.size) ** 0.5


@pytest.mark.parametrize("method", ["orthogonal", "orthogonal_gates"])
def test_orthogonal_matrices_are_so_whole_or_gate_by_gate(method):
    params = draw(init=method, init_scale=2.0)
    for w in (params["layer_0"]["W_h"], params["layer_1"]["W_x"], params["output"]["W"], params["layer_0"]["W_x"]):
        cells = method == "orthogonal_gates" and w.shape[1] == 4 * H
        for block in np.split(np.asarray(w), 4, axis=1) if cells else [np.asarray(w)]:
            gram = block @ block.T if block.shape[0] <= block.shape[1] else block.T @ block
            np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)
    assert set(np.unique(params["layer_0"]["b"])) == {0.0, 1.0}


def test_torch_rnn_and_lamb_scale_by_the_widths():
    by_torch = draw(init="torch_rnn", init_gain=1.0)
    for layer, inputs in (("layer_0", D), ("layer_1", H)):
        for name in ("W_x", "W_h"):
            w = np.asarray(by_torch[layer][name])
            assert abs(np.std(w) * (inputs + H) ** 0.5 - 1) < 4 / (2 * w.size) ** 0.5
    by_lamb = draw(init="lamb")
    deviations = {"layer_0.W_x": D, "layer_1.W_x": H, "layer_1.W_h": H, "output.W": H, "embedding.table": D}
    leaves = named_leaves(by_lamb)
    for name, fan in deviations.items():
        w = np.asarray(leaves[name])
        assert abs(np.std(w) * fan**0.5 - 1.003) < 4 / (2 * w.size) ** 0.5, name
        assert np.abs(w).max() < 2 * (1.3 / fan) ** 0.5
    bias = np.asarray(leaves["layer_0.b"])
    assert 0 < np.std(bias[:H]) < 0.3 and abs(bias[H : 2 * H].mean() - 1) < 0.1 and abs(bias[:H].mean()) < 0.1
    assert not leaves["output.b"].any()


def test_the_embedding_has_a_range_of_its_own():
    tables = [draw(init=method, init_embedding=0.2)["embedding"]["table"] for method in INITS]
    for table in tables:
        np.testing.assert_array_equal(table, tables[0])
    assert 0.19 < np.abs(tables[0]).max() < 0.2


def test_a_scale_without_meaning_is_refused():
    with pytest.raises(UserError, match=r"model\.init_scale=0\.1 has no meaning for model\.init=lamb"):
        ModelConfig(init="lamb", init_scale=0.1)


@pytest.mark.parametrize("keys", [{}, {"cell": "mlstm"}, {"cell": "mogrifier", "layers": 4}, {"block": "prenorm"}])
def test_weight_normalization_keeps_the_function_and_has_orthogonal_gradients(keys):
    plain, config = (dataclasses.replace(BASE, weight_norm=on, **keys) for on in (False, True))
    raw, params = (model.init_params(c, V, jax.random.PRNGKey(0)) for c in (plain, config))
    assert size.count_params(config, V) == sum(p.size for p in jax.tree.leaves(params))
    x = np.random.default_rng(0).integers(0, V, (3, 8)).astype(np.int32)
    carry, reset = model.initial_carry(config, 3), x < 0
    run = jax.jit(lambda p: model.apply(config, V)(p, carry, x, reset)[1])
    np.testing.assert_allclose(run(params), model.apply(plain, V)(raw, carry, x, reset)[1], rtol=1e-4, atol=1e-5)
    folded = model.apply(model.inference_config(config), V)(model.inference_params(config, params), carry, x, reset)[1]
    np.testing.assert_allclose(folded, run(params), rtol=1e-4, atol=1e-5)
    grads = jax.grad(lambda p: jnp.sum(jnp.sin(run(p))))(params)["layer_1"]
    lengths = [name for name in grads if name.endswith(weight_norm.SUFFIX)]
    assert lengths
    for name in lengths:
        w, d = (np.asarray(tree[name.removesuffix(weight_norm.SUFFIX)]) for tree in (params["layer_1"], grads))
        assert np.abs(np.sum(w * d, axis=0)).max() < 1e-4 * np.abs(d).max() * len(w)
        doubled = params | {"layer_1": params["layer_1"] | {name.removesuffix(weight_norm.SUFFIX): 2 * w}}
        np.testing.assert_allclose(run(doubled), run(params), rtol=1e-4, atol=1e-5)
