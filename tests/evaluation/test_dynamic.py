"""Dynamic evaluation follows the rule of the paper, and no prediction depends on later symbols."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.data.text import Text, TextSlice
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.evaluation import protocol, tally
from rnnlm.evaluation.dynamic import (
    EPSILON,
    TUNED_SEGMENTS,
    Adaptation,
    Adapter,
    per_param_rates,
    tune,
    tune_adaptation,
)
from rnnlm.evaluation.evaluator import Evaluator
from rnnlm.evaluation.protocol import EvalProtocol
from rnnlm.nn import model
from rnnlm.runtime import parallel
from tests.conftest import make_text, tiny

CONFIG = tiny(model__hidden=16).model
DATA = make_text(6000)
VOCABULARY = Vocabulary("byte_seen", tuple(sorted(set(DATA))))
TEXT = Text.from_text(VOCABULARY, DATA)
TRAIN = TextSlice(TEXT, 0, 3000, "train")
V = len(VOCABULARY)
ADAPTER = Adapter(CONFIG, V)
PARAMS = jax.tree.map(lambda p: 1.5 * p, model.init_params(CONFIG, V, jax.random.PRNGKey(0)))
RMS = ADAPTER.statistics(PARAMS, TRAIN, 10, 8, 20)


def adapt(begin, end, method="rms", rate=1e-3, decay=0.01, text=TEXT, segment=10, **more):
    options = Adaptation(method, segment, rate, decay, **more)
    return ADAPTER(PARAMS, RMS, TextSlice(text, begin, end, "test"), options)


@functools.partial(jax.jit, static_argnums=4)
def cost_and_gradient(params, carry, x, y, segment):
    def cost(params):
        after, logits = model.apply(CONFIG, V)(params, carry, x, jnp.zeros(x.shape, bool))
        nats = tally.nats(logits, y)
        return jnp.sum(nats) / segment, (after, nats[0])

    return jax.grad(cost, has_aux=True)(params)


def by_hand(begin, end, options):
    """Apply the rule in numpy, segment by segment: -> nats [end - begin]."""
    decay_rates, step_sizes = per_param_rates(RMS, options)
    params, carry, ids, costs = PARAMS, model.initial_carry(CONFIG, 1), VOCABULARY.encode(DATA), []
    for first in range(begin, end, options.segment):
        last = min(end, first + options.segment)
        grads, (carry, nats) = cost_and_gradient(
            params, carry, ids[None, first - 1 : last - 1], ids[None, first:last], options.segment
        )
        costs.extend(np.asarray(nats, np.float64))
        params = jax.tree.map(
            lambda p, p0, a, b, g: np.asarray(p) + a * (p0 - p) - b * g, params, PARAMS, decay_rates, step_sizes, grads
        )
    return np.array(costs)


@pytest.mark.parametrize("method, rate", [("rms", 1e-3), ("sgd", 0.3)])
def test_it_follows_the_rule_of_the_paper(method, rate):
    options = Adaptation(method, 10, rate, 0.01)
    score = adapt(3000, 3123, method, rate)
    assert score.tally.nats == pytest.approx(by_hand(3000, 3123, options).sum(), rel=1e-5)
    assert score.tally.count == 123


def test_each_parameter_has_its_decay_rate_and_step_size():
    rms = {"a": np.array([1.0, 3.0], np.float32), "b": np.array([[10.0]], np.float32)}
    decay_rates, step_sizes = per_param_rates(rms, Adaptation("rms", 5, 0.5, 0.2))
    np.testing.assert_allclose(decay_rates["a"], [0.2 / 6, 0.6 / 6], rtol=1e-6)  # 6 is the mean of the means, 2 and 10
    np.testing.assert_allclose(decay_rates["b"], [[2 / 6]], rtol=1e-6)
    np.testing.assert_allclose(step_sizes["a"], 0.5 / (np.array([1.0, 3.0]) + EPSILON), rtol=1e-6)
    decay_rates, _ = per_param_rates(rms, Adaptation("rms", 5, 0.5, 1.0, "global"))
    np.testing.assert_allclose(decay_rates["a"], [3 / 14, 9 / 14], rtol=1e-6)
    assert decay_rates["b"] == 1.0  # a decay rate is at most 1


def test_statistics_are_the_root_of_the_mean_square():
    forward = model.apply(CONFIG, V)
    ids, lane = VOCABULARY.encode(DATA), 3000 // 8
    carry, squares = model.initial_carry(CONFIG, 8), []

    def cost(params, carry, x, y):
        after, logits = forward(params, carry, x, np.zeros(x.shape, bool))
        return jnp.mean(tally.nats(logits, y)), after

    gradient = jax.jit(jax.grad(cost, has_aux=True))
    for i in range(3):
        at = np.arange(8)[:, None] * lane + i * 10 + np.arange(10)
        grads, carry = gradient(PARAMS, carry, np.where(at == 0, VOCABULARY.bos_id, ids[at - 1]), ids[at])
        squares.append(jax.tree.map(lambda g: np.asarray(g, np.float64) ** 2, grads))
    wanted = jax.tree.map(lambda *g: np.sqrt(np.mean(g, axis=0)), *squares)
    statistics = ADAPTER.statistics(PARAMS, TRAIN, 10, 8, 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9), statistics, wanted)


@pytest.mark.parametrize("method", ["rms", "sgd"])
def test_with_a_zero_learning_rate_it_equals_static_evaluation_exactly(method, monkeypatch):
    monkeypatch.setattr(protocol, "TIME", 10)  # read equal windows
    static = Evaluator(CONFIG, V)(parallel.replicate(PARAMS), TextSlice(TEXT, 3000, 3700), EvalProtocol(lanes=1))
    score = adapt(3000, 3700, method, 0.0)
    assert score.tally.nats == static.tally.nats


def test_the_future_has_no_effect_on_a_prediction():
    """A change of the text within a segment changes only the costs of later symbols."""
    other = bytearray(DATA)
    other[3205:3300] = DATA[1000:1095]
    changed = Text.from_text(VOCABULARY, bytes(other))
    a, b = (adapt(3000, 3300, text=text).blocks.nats for text in (TEXT, changed))
    assert (a[:205] == b[:205]).all() and (a[205:] != b[205:]).mean() > 0.9


def test_it_gains_where_the_statistics_change():
    text = Text.from_text(VOCABULARY, DATA[:3000] + b"ran away and " * 150)
    bpc = {rate: adapt(3000, 4950, "sgd", rate, 0.0, text).tally.bpc for rate in (0.0, 0.3)}
    assert bpc[0.3] < 0.6 * bpc[0.0]


def test_streams_adapt_independently():
    score = adapt(3000, 3900, streams=3, warmup=0)
    alone = [by_hand(first, first + 300, Adaptation("rms", 10, 1e-3, 0.01)) for first in (3000, 3300, 3600)]
    assert score.tally.nats == pytest.approx(np.concatenate(alone).sum(), rel=1e-5)
    assert str(score.protocol) == "dynamic rms, 3 streams, 0 warm-up, segment 10, rate 0.001, decay 0.01, tensor mean"
    warm = adapt(3000, 3900, streams=3, warmup=25)
    assert warm.protocol.warmup == 30 and warm.tally.count == 900


def test_tuning_finds_the_minimum():
    trials = []

    def cost(rate, decay):
        trials.append((rate, decay))
        return np.log(rate / 0.08) ** 2 + np.log(decay / 0.002) ** 2

    rate, decay = tune(cost, 0.01, 0.01)
    assert rate == 0.08 and 0.0012 < decay < 0.0026 and len(trials) < 40
    assert tune(lambda rate, decay: -decay + np.log(rate / 0.01) ** 2, 0.01, 0.25) == (0.01, 1.0)  # at most 1
    assert tune(lambda rate, decay: np.nan if rate > 0.1 else -rate, 0.01, 0.5)[0] == 0.08


def bpc_of(options):
    """Return an artificial bpc with its minimum at segment 20, rate 0.08 and decay 0.002."""
    return 2 + abs(options.segment - 20) / 50 + np.log(options.learning_rate / 0.08) ** 2 + abs(options.decay - 0.002)


def test_tuning_ends_where_shorter_segments_do_not_gain():
    trials = []
    bpc, options = tune_adaptation(bpc_of, "sgd", on_trial=lambda options, bpc: trials.append((options, bpc)))
    assert options.segment == 20 and options.learning_rate == pytest.approx(0.1) and options.streams == 1
    assert bpc == min(cost for _, cost in trials) == bpc_of(options)
    assert len({tried for tried, _ in trials}) == len(trials) and all(bpc_of(tried) == cost for tried, cost in trials)
    assert [segment for segment in TUNED_SEGMENTS if segment in {tried.segment for tried, _ in trials}] == [40, 20, 10]

    trials.clear()
    longest = tune_adaptation(lambda o: bpc_of(o) + (o.segment < 40), "sgd", on_trial=lambda *t: trials.append(t))[1]
    assert longest.segment == 40 and {tried.segment for tried, _ in trials} == {40, 20}
    assert tune_adaptation(lambda o: np.nan if o.learning_rate > 0.1 else bpc_of(o), "sgd")[1] == options


def test_tuning_a_model_that_has_diverged():
    with pytest.raises(UserError, match="found no settings"):
        tune_adaptation(lambda options: np.nan, "rms")


def test_impossible_options_are_refused():
    for wrong in ((-1.0, 0.1), (np.nan, 0.1), (np.inf, 0.1), (0.1, 1.5), (0.1, np.nan)):
        with pytest.raises(UserError, match="Cannot adapt with"):
            Adaptation("sgd", 10, *wrong)
    with pytest.raises(UserError, match="longer than the training split of 3000"):
        ADAPTER.statistics(PARAMS, TRAIN, 5000, 8, 20)
