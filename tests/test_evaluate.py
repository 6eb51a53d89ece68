"""A part's bits do not depend on how it is read."""

import jax
import numpy as np
import pytest

from rnnlm import model, parallel
from rnnlm.evaluate import Evaluator
from rnnlm.symbols import Text, Vocabulary
from tests.conftest import make_text, tiny

CONFIG = tiny(model__hidden=24).model
DATA = make_text(9000)
VOCABULARY = Vocabulary("byte_seen", tuple(sorted(set(DATA))))
TEXT = Text.of(VOCABULARY, DATA)
EVALUATOR = Evaluator(CONFIG, len(VOCABULARY))


def evaluate(params, begin, end, lanes=0, warmup=512, max_symbols=0, **watch):
    return EVALUATOR(params, TEXT, (begin, end), "test", lanes, warmup, max_symbols, **watch)


@pytest.fixture(scope="module")
def params():
    """Sharper than fresh ones, so that the carry matters."""
    fresh = model.init_params(CONFIG, len(VOCABULARY), jax.random.PRNGKey(1))
    return parallel.replicate(jax.tree.map(lambda p: 1.7 * p, fresh))


def one_by_one(params, begin, end):
    """The cost of each symbol, the model fed step by step: nats [end - begin]."""
    forward = jax.jit(model.apply(CONFIG, len(VOCABULARY)))
    carry, costs = model.zero_carry(CONFIG, 1), []
    ids = VOCABULARY.encode(DATA)
    for i in range(begin, end):
        x = np.array([[ids[i - 1] if i else VOCABULARY.start]])
        carry, logits = forward(params, carry, x, np.zeros((1, 1), bool))
        costs.append(-jax.nn.log_softmax(logits[0, 0])[ids[i]])
    return np.array(costs)


@pytest.mark.parametrize("begin, end", [(0, 300), (4000, 4321)])
def test_one_lane_is_the_chain_rule(params, begin, end):
    found = evaluate(params, begin, end, lanes=1)
    assert found.tally.count == end - begin == found.bytes
    assert found.tally.nats == pytest.approx(one_by_one(params, begin, end).sum(), rel=1e-5)
    assert found.protocol == "carry, 1 lane"


def test_lanes_do_not_change_the_bits(params):
    exact = evaluate(params, 500, 8777, lanes=1)
    for lanes in (0, 2, 7, 64):
        found = evaluate(params, 500, 8777, lanes=lanes)
        assert found.tally.count == exact.tally.count
        assert found.tally.bpc == pytest.approx(exact.tally.bpc, abs=1e-3)
    cold = evaluate(params, 500, 8777, lanes=64, warmup=0)
    assert abs(cold.tally.bpc - exact.tally.bpc) > 2e-3  # so the warm-up is needed


def test_the_protocol_says_how(params):
    assert evaluate(params, 0, 200, 7, 16).protocol == "carry, 7 lanes, 16 warm-up"
    found = evaluate(params, 0, 5000, 0, 20, 800)
    assert found.protocol == "carry, 5 lanes, 20 warm-up, first 800 symbols" and found.tally.count == 800
    assert set(found.as_dict()) == {"split", "protocol", "count", "nats", "bpc", "bpb"}


def test_more_lanes_than_symbols(params):
    assert evaluate(params, 10, 13, lanes=50).tally.count == 3


def test_it_stops_when_told(params):
    asked = iter([False, False, True])
    assert evaluate(params, 0, 9000, lanes=1, stop=lambda: next(asked)) is None


def test_bits_per_byte_of_characters():
    string = "añb€" * 100
    vocabulary = Vocabulary("char", tuple(sorted({ord(c) for c in string})))
    text = Text.of(vocabulary, string)
    params = model.init_params(CONFIG, 4, jax.random.PRNGKey(0))
    found = Evaluator(CONFIG, 4)(parallel.replicate(params), text, (0, 400), "text", 0, 512, 0)
    line = found.as_dict()
    assert found.bytes == len(string.encode()) == 700
    assert line["bpc"] * 400 == pytest.approx(line["bpb"] * 700)
