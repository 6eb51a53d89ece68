"""Character n-grams: interpolated modified Kneser-Ney (Chen and Goodman 1999), in memory linear in the text.

p_k(c | h) = (n(hc) - D(n(hc))) / n(h) + (D1 N1(h) + D2 N2(h) + D3 N3+(h)) / n(h) p_(k-1)(c | h')

n counts occurrences at the longest order, and below it the different symbols before hc; h' is h less its first symbol;
Ni(h) is how many different symbols follow h with n = i. Below order 1 all symbols are as likely.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grams:
    """The different k-grams of a text: which one ends at each position [M], and of each the number of the (k-1)-gram
    before its last symbol, and where it first ends."""

    at: Ints
    context: Ints
    first: Ints


def longer(grams: Grams, ids: Ints, symbols: int) -> Grams:
    """From k-grams to (k+1)-grams; before the text stand others like its first symbol."""
    before = np.concatenate([grams.at[:1], grams.at[:-1]])
    pairs, first, at = np.unique(before * symbols + ids, return_index=True, return_inverse=True)
    return Grams(at, pairs // symbols, first)


def discounts(counts: Ints) -> tuple[float, float, float]:
    """D1, D2, D3+ from how many k-grams have each count; always some, so that nothing is impossible."""
    n1, n2, n3, n4 = (np.count_nonzero(counts == i) for i in (1, 2, 3, 4))
    if not (n1 and n2):
        return 0.5, 1.0, 1.5
    y = n1 / (n1 + 2 * n2)
    d2 = 2 - 3 * y * n3 / n2
    d3 = 3 - 4 * y * n4 / n3 if n3 else d2
    d = np.clip([y, d2, d3], 0.1, [1, 2, 3])
    return float(d[0]), float(d[1]), float(d[2])


def interpolated(grams: Grams, counts: Ints, asked: Ints, shorter: Floats) -> Floats:
    """p_k of the k-grams that end at the positions asked, from those of their suffixes."""
    d = discounts(counts)
    which = np.minimum(counts, 3)
    taken = np.array([0.0, *d])[which]
    size = int(grams.context.max()) + 1
    total = np.bincount(grams.context, counts, size)
    left = np.bincount(grams.context, taken, size)
    gram = grams.at[asked]
    context = grams.context[gram]
    seen = total[context] > 0
    n = np.where(seen, total[context], 1.0)
    p = (counts[gram] - taken[gram] + left[context] * shorter) / n
    return np.asarray(np.where(seen, p, shorter))


def nats(train: Ints, held_out: Ints, vocab: int, order: int) -> list[float]:
    """What a held-out text costs by the models of order 1, 2, ..., `order` made from a training text, in nats.

    Nothing before the held-out text is read. Symbols are numbers below `vocab`.
    """
    # A symbol of its own keeps the texts apart: no k-gram that holds it was counted.
    ids = np.concatenate([train, [vocab], held_out]).astype(np.int64)
    asked = np.arange(len(train) + 1, len(ids))
    start = np.zeros(len(ids), np.int64)
    grams = longer(Grams(start, start[:1], start[:1]), ids, vocab + 1)
    shorter = np.full(len(asked), 1 / vocab)
    found = []
    for _ in range(order):
        above = longer(grams, ids, vocab + 1)
        occurrences = np.bincount(grams.at[: len(train)], minlength=len(grams.first))
        ways = np.bincount(grams.at[above.first[above.first < len(train)]], minlength=len(grams.first))
        found.append(float(-np.log(interpolated(grams, occurrences, asked, shorter)).sum()))
        shorter = interpolated(grams, ways, asked, shorter)
        grams = above
    return found
