"""Tallies and blocks give the right nats and bits."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm.evaluation import tally
from rnnlm.evaluation.tally import Blocks, Tally


def test_a_known_distribution_scores_its_entropy():
    p = np.array([0.5, 0.25, 0.125, 0.125])
    y = np.array([[0, 0, 0, 0, 1, 1, 2, 3]])  # frequencies equal to p
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


@given(st.lists(st.floats(0, 20), min_size=1, max_size=60), st.integers(1, 7), st.integers(1, 5))
def test_coarsened_blocks_are_those_of_the_larger_size(nats, size, factor):
    def direct(size):
        cut = [nats[i : i + size] for i in range(0, len(nats), size)]
        return Blocks(np.array([math.fsum(block) for block in cut]), len(nats), size)

    got, expected = direct(size).coarsen(size * factor), direct(size * factor)
    np.testing.assert_allclose(got.nats, expected.nats, rtol=1e-12)
    assert (got.size, got.count) == (expected.size, expected.count) and got.counts.tolist() == expected.counts.tolist()


def test_blocks_are_not_coarsened_to_another_multiple():
    with pytest.raises(ValueError, match="blocks of 4 symbols do not join to blocks of 10"):
        Blocks(np.ones(5), 20, 4).coarsen(10)
