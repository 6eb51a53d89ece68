"""The 95 % interval holds the true mean as often as it says, whatever the correlation up to n / 200 symbols."""

import json

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from experiments import coverage
from rnnlm.evaluation.tally import MIN_BLOCKS, NATS_PER_BIT, WAVES, Blocks, block_size
from rnnlm.files import read_lines


@pytest.mark.parametrize("n, tau", [(10_000, 0), (10_000, 5), (10_000, 50)])
def test_it_covers_the_mean_of_correlated_costs(n, tau):
    """2,000 replicates: a coverage of 95 % is found to half a percent."""
    assert 0.93 <= coverage.simulate(n, tau, seed=1) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n, tau", [(100_000, 500), (1_000_000, 5_000)])
def test_it_covers_the_mean_of_many_costs(n, tau):
    assert 0.93 <= coverage.simulate(n, tau, seed=1) <= 0.97


def test_the_kept_figures_cover_what_is_promised():
    rows = [row for row in read_lines(coverage.KEPT) if row["what"] == "simulated"]
    kept = {(row["n"], row["tau"]): row["covered"] for row in rows if row["replicates"] == coverage.REPLICATES}
    assert kept.keys() == {(n, tau) for n in coverage.LENGTHS for tau in coverage.TIMES if 200 * tau <= n}
    assert all(0.93 <= covered <= 0.97 for covered in kept.values())


def test_an_interval_of_two_blocks_would_be_too_short():
    """The costs of two blocks, from which a standard error was once made, say nothing of the spread."""
    sums = coverage.ar1(np.random.default_rng(0), 400, 10_000, 50).reshape(400, 2, 5_000).sum(-1)
    close = np.abs(sums.sum(1)) <= 1.96 * np.abs(sums[:, 0] - sums[:, 1])
    assert close.mean() < 0.75


def test_white_costs_have_the_classical_interval():
    """On average over replicates the standard error is that of the mean, and its spread that of WAVES squares."""
    rng = np.random.default_rng(0)
    errors = np.array([Blocks(row, 10_000, 100).stderr() for row in rng.normal(100.0, 3.0, (2_000, 100))])
    expected = 3.0 / 100 / np.sqrt(100) / NATS_PER_BIT
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(expected, rel=0.02)
    assert np.var(errors**2 / expected**2) == pytest.approx(2 / WAVES, rel=0.15)
    blocks = Blocks(rng.normal(100.0, 3.0, 100), 10_000, 100)
    low, high = blocks.interval()
    assert low + high == pytest.approx(2 * blocks.tally.bpc)
    assert high - low == pytest.approx(2 * scipy.stats.t.ppf(0.975, WAVES) * blocks.stderr())


def test_a_shift_of_all_costs_is_known_exactly():
    nats = np.random.default_rng(0).normal(1_000.0, 30.0, 50)
    blocks, shifted = Blocks(nats, 50_000), Blocks(nats + 100.0, 50_000)
    assert shifted.stderr() == pytest.approx(blocks.stderr())
    difference = shifted.difference(blocks)
    assert difference.tally.bpc == pytest.approx(0.1 / NATS_PER_BIT)
    assert difference.stderr() == pytest.approx(0, abs=1e-12)


def test_without_enough_blocks_there_is_none_and_a_reason():
    enough = Blocks(np.random.default_rng(0).normal(10.0, 1.0, MIN_BLOCKS), MIN_BLOCKS * 10_000, 10_000)
    assert enough.no_interval is None and enough.stderr() > 0
    few = Blocks(enough.nats[1:], enough.count - 10_000, 10_000)
    assert few.uncertainty() == {
        "stderr": None,
        "interval": None,
        "no_interval": "the costs are in 19 blocks of 10,000 symbols: an interval needs 20",
    }
    short = Blocks.of_costs(np.ones(999))
    assert short.half_interval() is None and short.no_interval == "999 symbols are too few: an interval needs 1,000"
    assert Blocks.of_costs(np.ones(1_000)).interval() == pytest.approx((1 / NATS_PER_BIT,) * 2)


@given(st.integers(1, 10**9))
def test_a_result_keeps_few_blocks_but_enough(count):
    size = block_size(count)
    blocks = -(-count // size)
    assert size in (1, 10, 100, 1_000) and 10_000 % size == 0
    assert blocks >= min(count, 100) and (blocks <= 1_000 or count >= 10**6 - 1_000)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=3_000))
def test_blocks_of_costs_add_up(costs):
    blocks = Blocks.of_costs(np.array(costs))
    assert blocks.count == len(costs) == blocks.counts.sum()
    assert blocks.tally.nats == pytest.approx(sum(costs)) and len(blocks.nats) == len(blocks.counts)
    assert blocks == Blocks.of_costs(np.array(costs)) != Blocks.of_costs(np.array([*costs, 1.0]))


def test_passages_of_one_kind_are_covered_and_of_two_kinds_are_not():
    rng = np.random.default_rng(0)
    alike = rng.exponential(1.3, 400_000)
    assert 0.9 < coverage.passages(alike, 2_000)["covered"] < 0.99
    unlike = alike + np.repeat(rng.normal(0, 0.2, 200), 2_000)
    assert coverage.passages(unlike, 2_000)["covered"] < 0.6


def test_the_script_keeps_its_figures(tmp_path, monkeypatch):
    text = tmp_path / "text"
    text.write_bytes(b"the cat sat on a mat and the dog ran. " * 300)
    monkeypatch.setattr(coverage, "KEPT", tmp_path / "kept.jsonl")
    monkeypatch.setattr(coverage, "PASSAGES", (1_000,))
    coverage.main([str(text), "cats", "1000"])
    [row] = map(json.loads, (tmp_path / "kept.jsonl").read_text().splitlines())
    assert row["text"] == "cats" and row["passages"] == 10 and row["symbols"] == 300 * 38 - 1_000
