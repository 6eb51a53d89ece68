"""The cells of xLSTM stay finite, and have widths that their heads divide."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.cells import cell_of, matrix_lstm, slstm
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn import scan, width
from rnnlm.nn.block import Block
from rnnlm.options import MatrixLSTMOptions, SLSTMOptions

T, B, D, H = 6, 2, 3, 8


MATRIX_LSTM = matrix_lstm.make_cell(MatrixLSTMOptions(heads=2))
CELLS = {
    "slstm": slstm.make_cell(SLSTMOptions(heads=2)),
    "slstm, forget_gate=exp": slstm.make_cell(SLSTMOptions(heads=2, forget_gate="exp")),
    "matrix_lstm, at once": MATRIX_LSTM,
    "matrix_lstm, step by step": replace(MATRIX_LSTM, window=None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e6])
def test_it_is_finite_from_the_initial_carry_on_whatever_it_reads(name, size):
    cell = CELLS[name]
    params = {name: p.init(jax.random.key(1), p.shape) for name, p in cell.params(D, H).items()}
    x = (size * np.random.default_rng(0).normal(size=(T, B, D))).astype(np.float32)
    reset = np.arange(T * B).reshape(T, B) == 7

    def loss(params, x):
        u = scan.project(params, x, jnp.float32)
        carry, h = scan.scan(cell, H, params, Block(cell, D, H).start(B), u, reset, jnp.float32)
        return jnp.sum(jnp.sin(h)), (carry, h)

    grads, (carry, h) = jax.grad(loss, (0, 1), has_aux=True)(params, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, carry, h)))
    if name.startswith("slstm"):
        assert float(jnp.max(jnp.abs(h))) <= 1 <= float(jnp.min(carry[2]))


def test_heads_that_do_not_divide_a_width_are_refused_and_a_budget_gives_one_that_they_divide():
    options = SLSTMOptions(heads=3)
    for sizes in ({"hidden": 8}, {"sizes": (6, 8)}):
        with pytest.raises(
            UserError, match="model.cell=slstm divides a layer into 3 equal parts, .* but one has 8 units"
        ):
            cell_of(ModelConfig(cell="slstm", slstm=options, **sizes))
    solved = width.solve(ModelConfig(cell="slstm", slstm=options, params=1e5), 20)
    assert solved.hidden > 90 and solved.hidden % 3 == 0
