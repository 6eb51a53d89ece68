"""The HyperLSTM begins as an LSTM, from which the hyper LSTM then departs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.cells import hyperlstm, lstm
from rnnlm.nn import scan
from rnnlm.nn.block import Block
from rnnlm.options import HyperLSTMOptions, LSTMOptions

T, B, D, H = 5, 2, 3, 6


@pytest.mark.slow
@pytest.mark.parametrize("layer_norm", [False, True])
def test_it_begins_as_an_lstm_whose_pre_activations_are_a_tenth(layer_norm):
    """Layer normalization undoes the tenth, but for the term that it adds to the variance."""
    cell = hyperlstm.make_cell(HyperLSTMOptions(layer_norm=layer_norm))
    keys = jax.random.split(jax.random.key(0), 20)
    params = {name: p.init(key, p.shape) for key, (name, p) in zip(keys, cell.params(D, H).items(), strict=False)}
    x, reset = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32), np.zeros((T, B), bool)

    def run(cell, params):
        return scan.scan(cell, H, params, Block(cell, D, H).start(B), x @ params["W_x"], reset, jnp.float32)[1]

    matrices = {name: 0.1 * params[name][:, : 4 * H] for name in ("W_x", "W_h")}
    same = lstm.make_cell(LSTMOptions(layer_norm=layer_norm))
    np.testing.assert_allclose(run(cell, params), run(same, params | matrices | {"b": params["b_0"]}), rtol=1e-5)
    for matrix in np.split(np.asarray(params["W_h"])[:, : 4 * H], 4, axis=1):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(H), atol=1e-5)

    def loss(params):
        return jnp.sum(jnp.sin(run(cell, params)))

    moved = jax.tree.map(lambda p, d: p - 0.1 * d, params, jax.grad(loss)(params))
    assert float(jnp.max(jnp.abs(jax.grad(loss)(moved)["hyper_W_h"]))) > 0
