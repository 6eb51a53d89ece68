"""The n-grams are those of Chen and Goodman; the sizes of compressors are those of their files."""

import bz2
import lzma
import zlib
from collections import Counter, defaultdict

import numpy as np
import pytest

from rnnlm.baselines import compressors, ngram
from rnnlm.config import DataConfig
from rnnlm.data.splits import open_dataset
from tests.conftest import SHARED, make_text


def by_the_book(train, held_out, vocab, order):
    """Score with n-grams in dicts, one symbol at a time: -> nats."""

    def table(k, whole):
        grams = Counter(tuple(train[i : i + k]) for i in range(len(train) - k + 1))
        if whole:
            return grams
        longer = {tuple(train[i : i + k + 1]) for i in range(len(train) - k)}
        return Counter(gram[1:] for gram in longer)

    def p(symbol, context, k, whole):
        if k == 0:
            return 1 / vocab
        counts = tables[k, whole]
        shorter = p(symbol, context[1:], k - 1, False)
        following = contexts[k, whole].get(context)
        if len(context) < k - 1 or not following:
            return shorter
        d = (0, *discounts(counts))
        n = following[symbol]
        left = sum(d[min(m, 3)] for m in following.values())
        return (n - d[min(n, 3)] + left * shorter) / sum(following.values())

    def discounts(counts):
        n = [sum(m == i for m in counts.values()) for i in range(5)]
        if not (n[1] and n[2]):
            return 0.5, 1.0, 1.5
        y = n[1] / (n[1] + 2 * n[2])
        d2 = 2 - 3 * y * n[3] / n[2]
        d = (1 - 2 * y * n[2] / n[1], d2, 3 - 4 * y * n[4] / n[3] if n[3] else d2)
        return [min(max(x, 0.1), limit) for x, limit in zip(d, (1, 2, 3), strict=True)]

    tables = {(k, whole): table(k, whole) for k in range(1, order + 1) for whole in (True, False)}
    contexts = {}
    for key, counts in tables.items():
        contexts[key] = defaultdict(Counter)
        for gram, n in counts.items():
            contexts[key][gram[:-1]][gram[-1]] = n
    cost = 0.0
    for i, symbol in enumerate(held_out):
        k = min(order, i + 1)
        cost -= np.log(p(symbol, tuple(held_out[i - k + 1 : i]), k, k == order))
    return cost


def nats_by_order(*args):
    return [float(costs.sum()) for costs in ngram.costs(*args)]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_it_equals_chen_and_goodman(order):
    rng = np.random.default_rng(0)
    train = rng.choice(4, 600, p=[0.5, 0.3, 0.15, 0.05])
    train[::3] = 0
    held_out = rng.choice(4, 80)
    nats = nats_by_order(train, held_out, 4, order)[-1]
    wanted = by_the_book(train.tolist(), held_out.tolist(), 4, order)
    assert nats == pytest.approx(wanted, rel=2e-3)


@pytest.mark.parametrize("order", [1, 3, 8])
def test_the_probabilities_of_the_next_symbol_sum_to_one(order):
    train = np.frombuffer(make_text(3000), np.uint8).astype(np.int64) % 31
    for context in ([], [5], train[100:110].tolist(), [30, 30, 30]):
        each = []
        for symbol in range(31):
            text = np.array([*context, symbol])
            whole = nats_by_order(train, text, 31, order)[-1]
            before = nats_by_order(train, text[:-1], 31, order)[-1] if context else 0.0
            each.append(np.exp(before - whole))
        assert sum(each) == pytest.approx(1, abs=1e-9) and min(each) > 0


def test_longer_contexts_help_on_a_periodic_text():
    train, held_out = np.tile(np.arange(7), 200), np.tile(np.arange(7), 20)
    one, two = nats_by_order(train, held_out, 7, 2)
    assert one == pytest.approx(140 * np.log(7), rel=0.01) and two < 0.1 * one


@pytest.mark.slow
def test_the_papers_20_gram():
    """The 20-gram has 1.195 nats on War and Peace in char-rnn's splits (Karpathy, Johnson and Li 2015)."""
    text = SHARED / "warpeace_input.txt"
    if not text.exists():
        pytest.skip("the text is not there")
    dataset = open_dataset(DataConfig("", str(text), "columns_100x100_0.8/0.1/0.1"))
    train, held_out = (dataset.text.encode(np.arange(*dataset.splits[name])) for name in ("train", "test"))
    nats = nats_by_order(train, held_out, len(dataset.text.vocabulary), 20)
    assert nats[-1] / len(held_out) == pytest.approx(1.195, abs=5e-4)


def test_sizes_are_those_of_the_files():
    data = make_text(5000)
    sizes = compressors.sizes([data[:100], data[100:]], compressors.available())
    assert sizes["xz -9e"] == len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    assert sizes["bzip2 -9"] == len(bz2.compress(data))
    assert sizes["gzip -9"] == len(zlib.compress(data, 9, 31))
    assert set(compressors.ALL) <= set(sizes) and all(200 < size < 3000 for size in sizes.values())
