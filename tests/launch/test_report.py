"""The plots of a sweep's page."""

import dataclasses

import pytest
from matplotlib.figure import Figure

from launch.report import draw_cost, table_of, title
from rnnlm.runs.curves import plot_curves
from rnnlm.runs.groups import group_runs
from tests.conftest import tiny
from tests.runs.test_compare import make_run


@pytest.mark.parametrize(("flops", "law"), [([1e9] * 4, False), ([1e9, 2e9, 4e9, 8e9], True)])
def test_seconds_have_a_law_only_where_flops_differ(flops, law):
    runs = [
        dataclasses.replace(make_run(f"{i}", shift=0.1 * i), flops=cost, seconds=10.0 * 2**i)
        for i, cost in enumerate(flops)
    ]
    ax = Figure().subplots()
    draw_cost(ax, runs, "seconds")
    assert any(line.get_linestyle() == "--" for line in ax.get_lines()) == law


@pytest.mark.parametrize(("validations", "said"), [((True, True), False), ((True, False), True)])
def test_the_table_says_where_scores_come_from_if_they_differ(validations, said):
    runs = [
        dataclasses.replace(make_run(f"{i}"), config=tiny(seed=i), validation=value)
        for i, value in enumerate(validations)
    ]
    assert ("source" in table_of(group_runs(runs))) == ("star" in title(runs)) == said


def test_curves_of_one_bpc_are_drawn():
    ax = Figure().subplots()
    plot_curves(ax, {"a": [(10, 2.0)], "b": [(10, 2.0)]})
    low, high = ax.get_ylim()
    assert low < 2.0 < high
