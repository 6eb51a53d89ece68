"""Measure how often the 95 % interval of a bpc holds: on simulated costs, and on passages of real texts.

    python experiments/coverage.py                         # simulated costs
    python experiments/coverage.py PATH NAME TRAIN         # the text of a file, 6-grams from its first TRAIN bytes

Each figure is a line of experiments/coverage.jsonl, from which `python experiments/tables.py` makes the tables of
docs/evaluation.md.

Simulated costs are AR(1), x[i] = exp(-1 / tau) x[i - 1] + noise, whose correlation time is tau symbols (0: independent
ones). On a real text the n-grams' costs after TRAIN are cut into passages of n symbols. The interval of each is held
against the mean of the ten passages around it, whose own error is a tenth of the passage's in variance. This is no test
of the interval, which makes no statement about other passages: it tells how much passages differ.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from rnnlm.baselines import ngram
from rnnlm.evaluation.tally import Blocks, block_size

KEPT = Path(__file__).with_name("coverage.jsonl")
REPLICATES = 2_000
TIMES = (0, 1, 5, 50, 500, 5_000)
"""Correlation times, of which those up to n / 200 are simulated."""
LENGTHS = (10_000, 100_000, 1_000_000)
PASSAGES = (1_000, 10_000, 100_000)
BESIDE = 5
"""Passages before and after one, to which it is compared."""
AT_ONCE = 4_000_000
"""Symbols that are simulated at once."""


def ar1(rng: np.random.Generator, rows: int, n: int, tau: float) -> NDArray[np.float32]:
    """Draw rows of AR(1) costs with mean 0, variance 1 and a correlation time of `tau` symbols: [rows, n]."""
    noise = rng.standard_normal((rows, n), dtype=np.float32)
    if not tau:
        return noise
    phi = np.float32(np.exp(-1 / tau))
    before = phi * rng.standard_normal((rows, 1), dtype=np.float32)
    gain, decay = np.array([np.sqrt(1 - phi**2)], np.float32), np.array([1, -phi], np.float32)
    costs, _ = scipy.signal.lfilter(gain, decay, noise, zi=before)
    return np.asarray(costs, np.float32)


def simulate(n: int, tau: int, replicates: int = REPLICATES, seed: int = 0) -> float:
    """Return how often the interval of n simulated costs holds their true mean, as a share of the replicates."""
    rng, size, covered = np.random.default_rng([seed, n, tau]), block_size(n), 0
    rows = max(1, min(replicates, AT_ONCE // n))
    for done in range(0, replicates, rows):
        costs = ar1(rng, min(rows, replicates - done), n, tau)
        for sums in costs.reshape(len(costs), -1, size).sum(-1, dtype=np.float64):
            low, high = Blocks(sums, n, size).interval() or (0.0, 0.0)
            covered += low < 0 < high
    return covered / replicates


def passages(costs: NDArray[np.float64], n: int) -> dict[str, Any]:
    """Compare the interval of each passage of n symbols with the mean of the passages around it."""
    cut = [Blocks.of_costs(costs[i : i + n]) for i in range(0, len(costs) - n + 1, n)]
    bpc = np.array([blocks.tally.bpc for blocks in cut])
    halves = np.array([blocks.half_interval() for blocks in cut], float)
    around = []
    for i in range(len(cut)):
        near = np.r_[max(0, i - BESIDE) : i, i + 1 : i + BESIDE + 1]
        around.append(bpc[near[near < len(cut)]].mean())
    covered = np.abs(bpc - around) <= halves
    spread = float(np.std(bpc, ddof=1))
    row = {"n": n, "passages": len(cut), "covered": float(covered.mean()), "half_interval": float(np.median(halves))}
    return row | {"spread": spread, "bpc": float(bpc.mean())}


def read_costs(path: Path, train: int) -> NDArray[np.float64]:
    """Return the nats of the symbols of a text after its first `train`, by 6-grams of these."""
    kinds, ids = np.unique(np.fromfile(path, np.uint8), return_inverse=True)
    *_, costs = ngram.costs(ids[:train].astype(np.int64), ids[train:].astype(np.int64), len(kinds), 6)
    return costs


def measure(argv: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the figures that the arguments ask for."""
    if argv:
        path, name, train = argv
        costs = read_costs(Path(path), int(train))
        for n in PASSAGES:
            yield {"what": "passages", "text": name, "symbols": len(costs)} | passages(costs, n)
        return
    for n in LENGTHS:
        for tau in TIMES:
            if 200 * tau <= n:
                row = {"what": "simulated", "n": n, "tau": tau, "replicates": REPLICATES}
                yield row | {"covered": simulate(n, tau)}


def main(argv: list[str]) -> None:
    """Measure, and append each figure to the kept ones."""
    for row in measure(argv):
        with KEPT.open("a") as file:
            file.write(json.dumps(row) + "\n")
        sys.stderr.write(f"{row}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
