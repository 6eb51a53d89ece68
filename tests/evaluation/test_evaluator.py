"""Evaluation follows the chain rule under each protocol, and bpc does not depend on the number of lanes."""

import jax
import numpy as np
import pytest

from rnnlm.data.text import Text, TextSlice
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.evaluation.evaluator import Evaluator, score_mean, tune_temperature
from rnnlm.evaluation.protocol import EvalProtocol
from rnnlm.nn import model
from rnnlm.runtime import parallel
from tests.conftest import make_text, tiny

CONFIG = tiny(model__hidden=24).model
DATA = make_text(9000)
VOCABULARY = Vocabulary("byte_seen", tuple(sorted(set(DATA))))
TEXT = Text.from_text(VOCABULARY, DATA)
EVALUATOR = Evaluator(CONFIG, len(VOCABULARY))
FIELDS = {"split", "protocol", "count", "nats", "bpc", "bpb", "stderr", "interval", "no_interval"}
FORWARD = jax.jit(model.apply(CONFIG, len(VOCABULARY)))


def evaluate(params, begin, end, *protocol, symbols=(0, 0), stop=lambda: False, **named):
    return EVALUATOR(params, TextSlice(TEXT, begin, end, "test"), EvalProtocol(*protocol, **named), symbols, stop)


@pytest.fixture(scope="module")
def params():
    """Make params sharper than initial ones, so that the carry matters."""
    initial = model.init_params(CONFIG, len(VOCABULARY), jax.random.PRNGKey(1))
    return parallel.replicate(jax.tree.map(lambda p: 1.7 * p, initial))


def one_by_one(params, begin, end, resets=(), temperature=1.0):
    """Score symbol by symbol, with a reset at some positions: nats [end - begin]."""
    carry, costs = model.initial_carry(CONFIG, 1), []
    ids = VOCABULARY.encode(DATA)
    for i in range(begin, end):
        x = np.array([[ids[i - 1] if i else VOCABULARY.bos_id]])
        carry, logits = FORWARD(params, carry, x, np.array([[i in resets]]))
        wide = np.asarray(logits[0, 0], np.float64) / temperature
        costs.append(np.log(np.exp(wide - wide.max()).sum()) + wide.max() - wide[ids[i]])
    return np.array(costs)


@pytest.mark.parametrize("begin, end", [(0, 300), (4000, 4321)])
def test_one_lane_is_the_chain_rule(params, begin, end):
    score = evaluate(params, begin, end, lanes=1)
    assert score.tally.count == end - begin == score.bytes
    assert score.tally.nats == pytest.approx(one_by_one(params, begin, end).sum(), rel=1e-5)
    assert score.sentence == "carry, 1 lane"


def test_lanes_do_not_change_the_bits(params):
    exact = evaluate(params, 500, 8777, lanes=1)
    for lanes in (0, 2, 7, 64):
        score = evaluate(params, 500, 8777, lanes=lanes)
        assert score.tally.count == exact.tally.count
        assert score.tally.bpc == pytest.approx(exact.tally.bpc, abs=1e-3)
    cold = evaluate(params, 500, 8777, lanes=64, warmup=0)
    assert abs(cold.tally.bpc - exact.tally.bpc) > 2e-3  # the warm-up is needed


@pytest.mark.parametrize("window, stride", [(40, 40), (40, 15), (7, 1), (500, 100)])
def test_windows_start_from_a_reset(params, window, stride):
    begin, end = 3000, 3290
    score = evaluate(params, begin, end, "windows", window=window, stride=stride)
    costs = []
    for first in range(begin, end, stride):
        start = max(begin, first - (window - stride))
        last = min(end, first + stride)
        costs.extend(one_by_one(params, start, last)[first - start :])
    assert len(costs) == score.tally.count
    assert score.tally.nats == pytest.approx(sum(costs), rel=1e-5)
    assert score.sentence == f"windows of {window}, stride {stride}"


@pytest.mark.parametrize("lanes", [1, 5])
def test_records_are_independent(params, lanes):
    begin, end = 2000, 2600
    after = [i for i in range(begin, end) if DATA[i - 1 : i] == b"\n"]
    assert len(after) > 3
    score = evaluate(params, begin, end, "records", lanes=lanes, warmup=300, separator="\n")
    assert score.tally.nats == pytest.approx(one_by_one(params, begin, end, after).sum(), rel=1e-5)
    carried = evaluate(params, begin, end, lanes=1)
    assert abs(carried.tally.bpc - score.tally.bpc) > 1e-3
    assert score.sentence.startswith(r"records after '\n', ")


def test_blocks_are_the_text_in_order(params):
    score = evaluate(params, 100, 8900, lanes=9)
    assert score.blocks.nats.shape == (880,) and score.blocks.size == 10
    costs = one_by_one(params, 100, 300)
    np.testing.assert_allclose(score.blocks.nats[:20], costs.reshape(20, 10).sum(1), atol=0.05)
    long = TextSlice(Text.from_text(VOCABULARY, DATA * 4), 50, 35_050, "test")
    whole = EVALUATOR(params, long, EvalProtocol(lanes=16))
    assert whole.blocks.counts.tolist() == [100] * 350 and 0 < whole.stderr < 1
    coarse = whole.blocks.coarsen(10_000)
    assert coarse.counts.tolist() == [10_000] * 3 + [5_000]
    for i in range(4):
        only = (i * 10_000, min(35_000, (i + 1) * 10_000))
        alone = EVALUATOR(params, long, EvalProtocol(lanes=16), only)
        assert alone.tally.bpc == pytest.approx(coarse.bpc[i], abs=5e-3)
        assert alone.sentence == f"carry, 16 lanes, 512 warm-up, symbols {only[0]}..{only[1]}"
    assert sum(whole.blocks.nats) == pytest.approx(whole.tally.nats)


def test_the_protocol_is_in_the_score(params):
    assert evaluate(params, 0, 200, "carry", 7, 16).sentence == "carry, 7 lanes, 16 warm-up"
    score = evaluate(params, 0, 5000, "carry", 0, 20, symbols=(0, 800))
    assert score.sentence == "carry, 5 lanes, 20 warm-up, symbols 0..800" and score.tally.count == 800
    assert set(score.as_dict()) == FIELDS
    assert score.as_dict()["interval"] is None and "800 symbols are too few" in score.no_interval


def test_subranges_of_a_split_add_up(params):
    whole = evaluate(params, 1000, 3000, lanes=1)
    first = evaluate(params, 1000, 3000, lanes=1, symbols=(0, 700))
    assert first.tally.nats == pytest.approx(one_by_one(params, 1000, 1700).sum(), rel=1e-5)
    rest = evaluate(params, 1000, 3000, lanes=1, symbols=(700, 0))
    assert first.tally.count + rest.tally.count == whole.tally.count
    with pytest.raises(UserError, match=r"no symbols 2000\.\.end in test, which has 2000"):
        evaluate(params, 1000, 3000, symbols=(2000, 0))


def test_uniform_logits_cost_the_entropy_of_a_uniform_source(params):
    flat = jax.tree.map(lambda p: 0 * p, params)
    for protocol in ({"lanes": 1}, {"lanes": 7}, {"name": "windows", "window": 64, "stride": 32}):
        score = evaluate(flat, 0, 5000, **protocol)
        assert score.tally.bpc == pytest.approx(np.log2(len(VOCABULARY)), rel=1e-6)


def test_a_known_distribution_scores_its_entropy(params):
    """Independent symbols cost their entropy under a model with the log probabilities as output bias."""
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(len(VOCABULARY)))
    ids = rng.choice(len(VOCABULARY), 200_000, p=p)
    flat = jax.tree.map(lambda p: 0 * p, params)
    exact = flat | {"output": flat["output"] | {"b": parallel.replicate(np.log(p).astype(np.float32))}}
    score = EVALUATOR(exact, TextSlice(Text(VOCABULARY, ids, None), 0, 200_000), EvalProtocol())
    entropy = -(p * np.log2(p)).sum()
    assert abs(score.tally.bpc - entropy) < 4 * score.stderr < 0.03


def test_more_lanes_and_context_than_symbols(params):
    exact = evaluate(params, 10, 13, lanes=1).tally
    assert exact.count == 3
    for protocol in ({"lanes": 50, "warmup": 10**20}, {"name": "windows", "window": 10**20, "stride": 1}):
        assert evaluate(params, 10, 13, **protocol).tally.nats == pytest.approx(exact.nats, rel=1e-5)


def test_it_stops_when_told(params):
    answers = iter([False, False, True])
    assert evaluate(params, 0, 9000, lanes=1, stop=lambda: next(answers)) is None


def test_bits_per_byte_of_characters():
    string = "añb€" * 100
    vocabulary = Vocabulary("char", tuple(sorted({ord(c) for c in string})))
    text = Text.from_text(vocabulary, string)
    params = model.init_params(CONFIG, 4, jax.random.PRNGKey(0))
    score = Evaluator(CONFIG, 4)(parallel.replicate(params), TextSlice(text, 0, 400), EvalProtocol())
    line = score.as_dict()
    assert score.bytes == len(string.encode()) == 700
    assert line["bpc"] * 400 == pytest.approx(line["bpb"] * 700)


@pytest.mark.parametrize("temperature", [0.5, 1.7])
def test_a_temperature_divides_the_logits(params, temperature):
    score = evaluate(params, 0, 300, lanes=1, temperature=temperature)
    assert score.tally.nats == pytest.approx(one_by_one(params, 0, 300, temperature=temperature).sum(), rel=1e-5)
    assert score.sentence == f"temperature {temperature}, carry, 1 lane"
    assert score.protocol.as_fields()["temperature"] == temperature


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_temperature_is_refused(temperature):
    with pytest.raises(UserError, match=r"temperature=\S+ cannot divide the logits .* above 0"):
        EvalProtocol(temperature=temperature)


@pytest.mark.parametrize("sharpness", [0.7, 1.0, 1.25, 1.9])
def test_the_tuned_temperature_undoes_what_logits_were_multiplied_by(params, sharpness):
    """The frequencies of a text are the best distribution of single symbols in it."""
    counts = np.bincount(VOCABULARY.encode(DATA[:2000]), minlength=len(VOCABULARY)) + 1e-9
    output = {"W": np.zeros_like(params["output"]["W"]), "b": (sharpness * np.log(counts)).astype(np.float32)}
    known = parallel.replicate(params | {"output": output})

    def bpc(temperature):
        return EVALUATOR(known, TextSlice(TEXT, 0, 2000), EvalProtocol(temperature=temperature)).tally.bpc

    assert tune_temperature(bpc) == pytest.approx(sharpness, rel=0.01)


def test_an_ensemble_costs_by_the_mean_of_its_probabilities(params):
    other = parallel.replicate(model.init_params(CONFIG, len(VOCABULARY), jax.random.PRNGKey(2)))
    text_slice, protocol = TextSlice(TEXT, 0, 300), EvalProtocol(lanes=1)
    both = score_mean([(EVALUATOR, params), (EVALUATOR, other)], text_slice, protocol)
    mean = np.mean([np.exp(-one_by_one(p, 0, 300)) for p in (params, other)], axis=0)
    assert both.tally.nats == pytest.approx(-np.log(mean).sum(), rel=1e-5)
    twice = score_mean([(EVALUATOR, params)] * 2, text_slice, protocol)
    assert twice.tally.nats == pytest.approx(evaluate(params, 0, 300, lanes=1).tally.nats, rel=1e-6)
