"""The plots of a sweep's page."""

import dataclasses

import pytest
from matplotlib.figure import Figure

from launch.report import draw_cost
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
