"""Nats, bits, and what uniform logits cost."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm.evaluation import tally
from rnnlm.evaluation.tally import Tally


@pytest.mark.parametrize("vocab", [2, 65, 256])
def test_uniform_logits_cost_log2_v(vocab):
    y = np.arange(12).reshape(3, 4) % vocab
    nats = tally.nats(jnp.full((3, 4, vocab), 7.5), y)
    assert Tally(float(nats.sum()), y.size).bpc == pytest.approx(math.log2(vocab), rel=1e-6)


def test_a_known_distribution_scores_its_entropy():
    p = np.array([0.5, 0.25, 0.125, 0.125])
    y = np.array([[0, 0, 0, 0, 1, 1, 2, 3]])  # in those shares
    nats = tally.nats(jnp.broadcast_to(jnp.log(p), (1, 8, 4)), y)
    assert Tally(float(nats.sum()), 8).bpc == pytest.approx(1.75, rel=1e-6)


def test_large_logits_do_not_overflow():
    nats = tally.nats(jnp.array([[[1e4, 0.0], [0.0, 1e4]]]), np.array([[0, 0]]))
    np.testing.assert_allclose(nats, [[0.0, 1e4]])


@given(st.floats(0, 1e6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_bits_per_symbol_and_per_byte_are_of_the_same_bits(nats, count, size):
    tally = Tally(nats, count)
    assert tally.bpc * count == pytest.approx(nats / math.log(2))
    assert tally.per(size) * size == pytest.approx(tally.bpc * count)
