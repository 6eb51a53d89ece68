"""Drawing is the model's own distribution, whatever the dispatch."""

import collections

import jax
import numpy as np
import pytest

from rnnlm.errors import UserError
from rnnlm.generation.sampler import Sampler, SamplingOptions
from rnnlm.generation.stepper import CHUNK, Stepper
from rnnlm.nn import model
from tests.conftest import slow, tiny

V = 9
CONFIG = tiny(model__embedding=6).model
STEPPER = Stepper(CONFIG, V)
SAMPLER = Sampler(STEPPER)
RAW = jax.tree.map(lambda p: 2.0 * p, model.init_params(CONFIG, V, jax.random.PRNGKey(2)))
PARAMS = STEPPER.inference_params(RAW)
PROMPT = np.array([1, 2, 3, 4])


def draw(length, temperature, seed=0, streams=1, prompt=PROMPT, **options):
    options = SamplingOptions(temperature, seed, **options)
    return np.concatenate(list(SAMPLER.chunks(PARAMS, prompt, length, options, streams)), axis=1)


@pytest.mark.parametrize("length", [1, CHUNK, CHUNK + 1, 3 * CHUNK - 1])
def test_reading_a_prompt_equals_stepping_through_it(length):
    ids = np.arange(length) % V
    carry, logits = STEPPER.read(PARAMS, ids, 2)
    stepped = model.initial_carry(CONFIG, 2)
    for i in ids:
        stepped, wanted = STEPPER.step(PARAMS, stepped, np.array([i, i]))
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), carry, stepped)


@pytest.mark.parametrize("folded", [True, False])
def test_probabilities_are_the_softmax_of_a_steps_logits(folded):
    stepper, params = Stepper(CONFIG, V, folded), PARAMS if folded else RAW
    logits = p = None
    one = other = stepper.start(3)
    for x in ([1, 2, 3], [4, 4, 0]):
        one, logits = stepper.step(params, one, np.array(x))
        other, p = stepper.probabilities(params, other, np.array(x))
    np.testing.assert_allclose(p, jax.nn.softmax(logits), rtol=1e-4, atol=1e-6)


def test_greedy_takes_the_likeliest_step_by_step():
    carry, logits = STEPPER.read(PARAMS, PROMPT, 1)
    wanted = []
    for _ in range(CHUNK + 9):
        wanted.append(int(np.argmax(logits[0])))
        carry, logits = STEPPER.step(PARAMS, carry, np.array(wanted[-1:]))
    assert draw(CHUNK + 9, 0.0)[0].tolist() == wanted


def test_several_temperatures_draw_what_each_draws_alone():
    together = draw(CHUNK + 9, (0.0, 0.5, 1.5), seed=3, streams=2)
    apart = [draw(CHUNK + 9, temperature, seed=3, streams=2) for temperature in (0.0, 0.5, 1.5)]
    assert np.array_equal(together, np.concatenate(apart))


def test_the_same_seed_draws_the_same_and_another_does_not():
    assert np.array_equal(draw(150, 1.0, seed=4), draw(150, 1.0, seed=4))
    assert not np.array_equal(draw(150, 1.0, seed=4), draw(150, 1.0, seed=5))
    many = draw(150, 1.0, streams=3)
    assert many.shape == (3, 150) and len({row.tobytes() for row in many}) == 3


@pytest.mark.parametrize("temperature", [0.5, slow(1.0), slow(2.0)])
def test_frequencies_are_the_tempered_distribution(temperature):
    _, logits = STEPPER.read(PARAMS, PROMPT, 1)
    wanted = np.asarray(jax.nn.softmax(logits[0] / temperature))
    streams = 20_000
    counts = collections.Counter(draw(1, temperature, streams=streams)[:, 0].tolist())
    for symbol, p in enumerate(wanted):
        assert abs(counts[symbol] / streams - p) < 5 * (p * (1 - p) / streams) ** 0.5


def test_length_is_kept():
    for length in (1, CHUNK - 1, CHUNK, CHUNK + 1):
        assert draw(length, 1.0).shape == (1, length)


def test_a_stream_does_not_depend_on_those_beside_it():
    assert np.array_equal(draw(100, 1.0, streams=5)[:3], draw(100, 1.0, streams=3))


@pytest.mark.parametrize(
    "options", [slow({"top_k": 3}), slow({"top_p": 0.6}), {"top_k": 4, "top_p": 0.9}, slow({"top_k": 99})]
)
def test_narrowed_draws_are_the_tempered_distribution_cut_off(options):
    _, logits = STEPPER.read(PARAMS, PROMPT, 1)
    p = np.asarray(jax.nn.softmax(logits[0] / 1.5), np.float64)
    order = np.argsort(-p)[: options.get("top_k", V)]
    share = p[order] / p[order].sum()
    kept = order[np.cumsum(share) - share < options.get("top_p", 1.0)]
    streams = 20_000
    counts = np.bincount(draw(1, 1.5, streams=streams, **options)[:, 0], minlength=V)
    assert set(np.flatnonzero(counts)) == set(kept)
    wanted = p[kept] / p[kept].sum()
    assert np.all(np.abs(counts[kept] / streams - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / streams))


def test_the_narrowest_choice_is_greedy():
    greedy = draw(100, 0.0)
    assert np.array_equal(draw(100, 2.0, top_k=1), greedy) and np.array_equal(draw(100, 2.0, top_p=1e-6), greedy)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"temperature": ()},
        {"temperature": (1.0, -1.0)},
        {"seed": -1},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
    ],
)
def test_what_cannot_be_drawn_by_is_refused(options):
    with pytest.raises(UserError, match="Cannot draw"):
        SamplingOptions(**{"temperature": 1.0, "seed": 0} | options)
