"""Character n-grams: interpolated modified Kneser-Ney (Chen and Goodman 1999), in memory linear in the text.

p_k(c | h) = (n(hc) - D(n(hc))) / n(h) + (D1 N1(h) + D2 N2(h) + D3 N3+(h)) / n(h) p_(k-1)(c | h')

n counts occurrences at the highest order, and at lower orders the different symbols before hc; h' is h without its
first symbol; Ni(h) is the number of different symbols that follow h with n = i. Below order 1 the distribution is
uniform.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grams:
    """Hold the different k-grams of a text, numbered from 0."""

    at: Ints
    """[positions]: the k-gram that ends at each position."""
    context: Ints
    """[k-grams]: the (k-1)-gram before the last symbol of each."""
    first: Ints
    """[k-grams]: the position at which each first ends."""


def extend_grams(grams: Grams, ids: Ints, symbols: int) -> Grams:
    """Return the (k+1)-grams of a text from its k-grams, as if its first symbol were repeated before it."""
    before = np.concatenate([grams.at[:1], grams.at[:-1]])
    pairs, first, at = np.unique(before * symbols + ids, return_index=True, return_inverse=True)
    return Grams(at, pairs // symbols, first)


def discounts(counts: Ints) -> tuple[float, float, float]:
    """Estimate the discounts D1, D2 and D3+ from the counts of k-grams; all are positive, so no probability is 0."""
    n1, n2, n3, n4 = (np.count_nonzero(counts == i) for i in (1, 2, 3, 4))
    if not (n1 and n2):
        return 0.5, 1.0, 1.5
    y = n1 / (n1 + 2 * n2)
    d2 = 2 - 3 * y * n3 / n2
    d3 = 3 - 4 * y * n4 / n3 if n3 else d2
    d = np.clip([y, d2, d3], 0.1, [1, 2, 3])
    return float(d[0]), float(d[1]), float(d[2])


def interpolate(grams: Grams, counts: Ints, positions: Ints, shorter: Floats) -> Floats:
    """Return p_k of the k-grams that end at the positions, from p_(k-1) of their suffixes, `shorter`."""
    d = discounts(counts)
    discount = np.array([0.0, *d])[np.minimum(counts, 3)]
    size = int(grams.context.max()) + 1
    total = np.bincount(grams.context, counts, size)
    discount_mass = np.bincount(grams.context, discount, size)
    gram = grams.at[positions]
    context = grams.context[gram]
    seen = total[context] > 0
    n = np.where(seen, total[context], 1.0)
    p = (counts[gram] - discount[gram] + discount_mass[context] * shorter) / n
    return np.asarray(np.where(seen, p, shorter))


def costs(train: Ints, held_out: Ints, vocab: int, order: int) -> Iterator[Floats]:
    """Score a held-out text with the n-gram models of order 1, 2, ..., `order` of a training text: yield nats [N] each.

    The held-out text is scored without context before its first symbol. Symbols are numbers below `vocab`.
    """
    # An extra symbol separates the texts: no k-gram that contains it is counted.
    ids = np.concatenate([train, [vocab], held_out]).astype(np.int64)
    positions = np.arange(len(train) + 1, len(ids))
    start = np.zeros(len(ids), np.int64)
    grams = extend_grams(Grams(start, start[:1], start[:1]), ids, vocab + 1)
    shorter = np.full(len(positions), 1 / vocab)
    for _ in range(order):
        above = extend_grams(grams, ids, vocab + 1)
        occurrences = np.bincount(grams.at[: len(train)], minlength=len(grams.first))
        continuations = np.bincount(grams.at[above.first[above.first < len(train)]], minlength=len(grams.first))
        yield -np.log(interpolate(grams, occurrences, positions, shorter))
        shorter = interpolate(grams, continuations, positions, shorter)
        grams = above
