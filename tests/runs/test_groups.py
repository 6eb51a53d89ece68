"""Runs that differ in their seed are one group, with mean and spread."""

import dataclasses
import statistics

import numpy as np
import pytest
from scipy import stats

from rnnlm.errors import UserError
from rnnlm.runs.groups import group_rows, group_runs
from rnnlm.runs.power_law import fit_power_law
from tests.conftest import tiny
from tests.runs.test_compare import make_run


def runs():
    return [
        dataclasses.replace(
            make_run(f"{hidden}-{seed}", shift=0.01 * seed * seed + 1 / hidden),
            config=tiny(model__hidden=hidden, seed=seed),
        )
        for hidden in (4, 8)
        for seed in (0, 1, 2)
    ]


def test_a_group_has_mean_and_spread_over_seeds_best_first():
    made = runs()
    rows = group_rows(group_runs(made))
    assert [row["model.hidden"] for row in rows] == [8, 4]
    for row in rows:
        scores = [run.bpc for run in made if run.config.model.hidden == row["model.hidden"]]
        assert row["runs"] == 3 and row["bpc"] == pytest.approx(statistics.fmean(scores))
        assert row["spread"] == pytest.approx(np.std(scores, ddof=1))
        assert (row["lowest"], row["highest"]) == (min(scores), max(scores))
    assert rows[0]["worse_by"] == 0 and rows[1]["worse_by"] == pytest.approx(rows[1]["bpc"] - rows[0]["bpc"])


def test_a_run_that_was_made_again_is_no_other_seed():
    made = runs()
    again = dataclasses.replace(made[0], name="again")
    assert group_rows(group_runs([*made, again])) == group_rows(group_runs(made))


def test_single_runs_have_no_spread():
    rows = group_rows(group_runs(runs()[::3]))
    assert [row["runs"] for row in rows] == [1, 1] and "spread" not in rows[0]


def test_grouping_by_another_key_leaves_the_seeds_apart():
    assert [dict(group.values) for group in group_runs(runs(), "model.hidden")] == [
        {"seed": seed} for seed in (0, 1, 2)
    ]


def test_what_differs_within_a_group_is_not_told_of_it():
    made = [dataclasses.replace(run, parameters=run.config.model.hidden) for run in runs()]
    assert [row["parameters"] for row in group_rows(group_runs(made))] == [8, 4]
    assert [row["parameters"] for row in group_rows(group_runs(made, "model.hidden"))] == [None] * 3


def test_a_key_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="did you mean seed"):
        group_runs(runs(), "sed")


def test_the_law_and_its_interval_are_those_of_linear_regression():
    rng = np.random.default_rng(0)
    x = np.geomspace(1e4, 1e7, 9)
    y = 8 * x**-0.07 * np.exp(0.02 * rng.standard_normal(9))
    law, line = fit_power_law(x.tolist(), y.tolist()), stats.linregress(np.log(x), np.log(y))
    student = stats.t.ppf(0.975, 7)
    assert law.exponent == pytest.approx(-line.slope) and law.half_interval == pytest.approx(student * line.stderr)
    low, high = law.band(np.array([1.0]))  # at log x = 0 the band is that of the intercept
    assert np.log(high / low).item() == pytest.approx(2 * student * line.intercept_stderr)


def test_the_band_holds_the_law_in_95_of_100_samples():
    rng = np.random.default_rng(1)
    x, at = np.geomspace(1e4, 1e7, 6), np.array([1e8])
    held = 0
    for _ in range(1000):
        law = fit_power_law(x.tolist(), (8 * x**-0.07 * np.exp(0.02 * rng.standard_normal(6))).tolist())
        low, high = law.band(at)
        held += bool(low < 8 * at**-0.07 < high)
    assert 0.93 < held / 1000 < 0.97  # three standard deviations
