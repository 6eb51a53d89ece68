"""Cells with every kind of carry support training, resuming, scoring, sampling and compression."""

import numpy as np
import pytest

import rnnlm
from rnnlm.cells import CELLS
from tests.conftest import leaves, same_bits, tiny

FOREIGN = {
    "matrix_memory": ("tests.cells.test_matrix_memory:cell", {}),
    "flax": ("flax.linen:GRUCell", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_cell_supports_a_whole_run(name, tmp_path, text_file):
    cell, options = FOREIGN[name]
    check_run(cell, options, tmp_path, text_file)
    with pytest.raises(rnnlm.UserError, match=f"of the module {cell.partition(':')[0]}"):
        rnnlm.load(tmp_path / "uninterrupted")


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_supports_a_whole_run(cell, tmp_path, text_file):
    check_run(cell, {}, tmp_path, text_file)


def check_run(cell, options, tmp_path, text_file):
    """Check a run that is resumed, and all that is done with a trained model.

    It starts with small matrices, so that one rate of adaptation suits cells whose output is not bounded, too. Only the
    LSTM has two layers, as in other tests.
    """

    def config(steps):
        return tiny(
            model__cell=cell, model__options=options, model__hidden=8, model__init_gain=1.0, train__steps=steps,
            model__layers=2 if cell == "lstm" else 1,
            data__files=str(text_file), train__drop_state=0.3, eval__every=0, sample__every=0, checkpoint__every=6,
        )  # fmt: skip

    rnnlm.train(config(12), tmp_path / "uninterrupted", show=False)
    rnnlm.train(config(6), tmp_path / "resumed", show=False)
    rnnlm.train(config(12), tmp_path / "resumed", show=False)
    same_bits(leaves(tmp_path / "uninterrupted", 12), leaves(tmp_path / "resumed", 12))
    lm = rnnlm.load(tmp_path / "uninterrupted", trust_code=True)
    one, many = (lm.score("valid", protocol=rnnlm.EvalProtocol(lanes=n, warmup=1024)).tally for n in (1, 4))
    assert one.count == many.count == 600 and one.bpc == pytest.approx(many.bpc, rel=1e-3)
    assert lm.bpc("the cat") == pytest.approx(-sum(log_probabilities(lm, "the cat")) / np.log(2) / 7, rel=1e-4)
    static = lm.score("valid", dynamic=rnnlm.Adaptation("sgd", 10, 0.0, 0.0))
    rate = 0.02 if cell == "irnn" else 0.5  # its state may grow without bound
    adapted = lm.score("valid", dynamic=rnnlm.Adaptation("sgd", 10, rate, 0.0))
    assert static.tally.bpc == pytest.approx(one.bpc, rel=1e-5) and adapted.tally.bpc < one.bpc
    assert lm.sample("the ", 20, seed=1) == lm.sample("the ", 20, seed=1)
    states = next(lm.states("the cat"))
    assert all(len(array) == 7 for layer in states.carry for array in layer.values())
    assert lm.decompress(lm.compress(b"the cat sat on a mat")) == b"the cat sat on a mat"


def log_probabilities(lm, text):
    lm.reset()
    log_p = lm.step(lm.vocabulary.bos_id)
    for symbol in text:
        yield log_p[lm.vocabulary.encode_one(symbol)]
        log_p = lm.step(symbol)
