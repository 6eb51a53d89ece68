"""The width that a budget of parameters gives is the largest that it allows, for any model."""

from dataclasses import replace
from functools import partial

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlm
from rnnlm.cells import CELLS, Cell, find_cell
from rnnlm.cells.cell import Param, zeros
from rnnlm.compression.codec import BYTES
from rnnlm.compression.container import CompressedFile
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn import model, size, width
from rnnlm.options import LSTMOptions
from tests.conftest import slow


def shrinking_cell(options):
    """A cell that has fewer parameters at some greater widths: even ones lack a matrix."""
    rnn = CELLS["rnn"](None)

    def params(inputs, hidden):
        return rnn.params(inputs, hidden) | ({"extra": Param((9 * hidden, 9), zeros)} if hidden % 2 else {})

    return Cell(params, rnn.carry, mix=rnn.mix, update=rnn.update)


def five_outputs(options):
    """A cell whose output is narrower than its layer."""
    return CELLS["lstm"](LSTMOptions(projection=5))


def check_last_that_fits(given, vocab):
    solved = width.solve(given, vocab)
    assert size.count_params(solved, vocab) <= given.params
    step = find_cell(given).hidden_multiple
    assert solved.hidden % step == 0
    assert size.count_params(width.set_width(solved, solved.hidden + step), vocab) > given.params
    assert solved.embedding == (solved.hidden if given.tied else given.embedding)
    assert replace(solved, hidden=given.hidden, embedding=given.embedding) == given
    return solved


@given(
    cell=st.sampled_from(list(CELLS)),
    layers=st.integers(1, 5),
    embedding=st.sampled_from([0, 1, 17]),
    tied=st.booleans(),
    vocab=st.sampled_from([2, 65, 300]),
    budget=st.one_of(st.integers(10**5, 10**7), st.floats(10**5, 10**12)),
)
def test_the_width_is_the_last_that_fits(cell, layers, embedding, tied, vocab, budget):
    """A budget of 10^12 would take 4 TB, so that nothing is allocated to count it."""
    given = ModelConfig(cell=cell, layers=layers, embedding=embedding, tied=tied, params=float(budget))
    solved = check_last_that_fits(given, vocab)
    assert width.solve(solved, vocab) == solved == width.solve(replace(given, hidden=7), vocab)


@pytest.mark.parametrize(
    "cell", [slow("flax.linen:GRUCell"), "tests.cells.test_matrix_memory:cell", "tests.nn.test_width:shrinking_cell"]
)
def test_also_for_a_cell_from_outside_and_one_that_shrinks(cell):
    for budget in (1e4, 2.2e4, 2.3e4):
        check_last_that_fits(ModelConfig(cell=cell, layers=1, params=budget), 20)


def test_the_count_is_that_of_the_params_that_are_drawn():
    for cell in CELLS:
        solved = width.solve(ModelConfig(cell=cell, params=2e4, tied=True), 20)
        drawn = jax.eval_shape(partial(model.init_params, solved, 20), jax.random.PRNGKey(0))
        assert size.count_params(solved, 20) == sum(leaf.size for leaf in jax.tree.leaves(drawn)) <= 2e4


@pytest.mark.parametrize(
    "extra", [{"block": "skip"}, {"lstm": LSTMOptions(projection=5)}, {"cell": "tests.nn.test_width:five_outputs"}]
)
def test_a_tied_embedding_is_as_wide_as_what_the_softmax_reads(extra):
    solved = width.solve(ModelConfig(params=5e3, tied=True, **extra), 20)
    outputs = {"skip": 2 * solved.hidden}.get(solved.block, 5)
    shapes = size.param_shapes(solved, 20)
    assert shapes["embedding"]["table"].shape == (20, outputs)
    drawn = jax.eval_shape(partial(model.init_params, solved, 20), jax.random.PRNGKey(0))
    assert drawn == shapes and size.count_shapes(shapes) <= 5e3


def test_a_projection_wider_than_the_layers_of_a_budget_is_refused():
    with pytest.raises(UserError, match="projection=500 is wider than a layer of"):
        width.solve(ModelConfig(params=45e3, lstm=LSTMOptions(projection=500)), 20)


def test_without_a_budget_the_width_is_that_of_the_config():
    assert width.solve(ModelConfig(hidden=7), 20) == ModelConfig(hidden=7)


def test_impossible_budgets_are_refused():
    least = size.count_params(ModelConfig(hidden=1), 20)
    with pytest.raises(UserError, match=f"with 20 symbols this model has {least} parameters at model.hidden=1 already"):
        width.solve(ModelConfig(params=least - 1.0), 20)
    assert width.solve(ModelConfig(params=float(least)), 20).hidden == 1
    with pytest.raises(UserError, match=r"model.params=1e\+06 and model.sizes=\(3, 4\) are both set"):
        ModelConfig(params=1e6, sizes=(3, 4))
    for impossible in (-1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="model.params=.* is impossible: it must be"):
            ModelConfig(params=impossible)
    with pytest.raises(UserError, match="model.cell is 'lsmt'"):
        width.solve(ModelConfig(cell="lsmt", params=1e6), 20)


def test_a_file_that_is_coded_online_keeps_the_width():
    budget = 20_000.0
    coded = rnnlm.compress_online(b"words " * 20, {"model": {"params": budget, "layers": 1}})
    assert rnnlm.decompress(coded) == b"words " * 20
    kept = CompressedFile.from_bytes(coded, "coded").header["online"]["model"]
    solved = width.solve(ModelConfig(params=budget, layers=1), len(BYTES))
    assert kept["hidden"] == solved.hidden and "params" not in kept
