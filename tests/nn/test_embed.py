"""Rows of a table are looked up, and its gradient is the one-hot product, in bounded memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlm.nn.embed import ONE_HOT_SIZE, embed, one_hot_matmul, segment_sum

T, B = 7, 3


def test_embed_and_both_forms_of_its_gradient_equal_the_one_hot_product():
    rng = np.random.default_rng(0)
    x, table = rng.integers(0, 5, (T, B)), jnp.asarray(rng.normal(size=(5, 4)), jnp.float32)
    out, pull = jax.vjp(lambda t: embed(t, x), table)
    one_hot = np.eye(5, dtype=np.float32)[x]
    np.testing.assert_array_equal(out, one_hot @ table)
    d = rng.normal(size=(T, B, 4)).astype(np.float32)
    wanted = np.einsum("tbv,tbg->vg", one_hot, d)
    np.testing.assert_allclose(pull(d)[0], wanted, rtol=1e-5, atol=1e-6)
    for form in (segment_sum, one_hot_matmul):
        np.testing.assert_allclose(form(5, x.reshape(-1), d.reshape(-1, 4)), wanted, rtol=1e-5, atol=1e-6)


@given(rows=st.integers(1, 50), size=st.integers(1, 200), vocab=st.integers(1, 7))
@settings(deadline=None, max_examples=30)
def test_products_in_pieces_count_each_row_once(rows, size, vocab):
    rng = np.random.default_rng(rows)
    x, d = rng.integers(0, vocab, rows), rng.integers(-9, 9, (rows, 3)).astype(np.float32)
    wanted = np.zeros((vocab, 3), np.float32)
    np.add.at(wanted, x, d)
    np.testing.assert_array_equal(one_hot_matmul(vocab, x, d, size), wanted)  # sums of small integers are exact


@pytest.mark.parametrize("rows, vocab", [(10_000, 6_000), (50_000, 6_000), (10_000, 20_000)])
def test_the_memory_of_the_products_is_bounded(rows, vocab):
    x, d = jax.ShapeDtypeStruct((rows,), jnp.int32), jax.ShapeDtypeStruct((rows, 8), jnp.float32)
    memory = jax.jit(partial(one_hot_matmul, vocab)).lower(x, d).compile().memory_analysis()
    # The one-hot matrix of all rows would take 4 * rows * vocab, 240 MB at least; its transpose may be copied.
    assert memory.temp_size_in_bytes <= 2 * 4 * ONE_HOT_SIZE + 16 * 4 * vocab
