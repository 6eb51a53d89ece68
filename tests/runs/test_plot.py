"""Plots show bpc against costs or config keys, and claim a law only where there is one."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from rnnlm.errors import UserError
from rnnlm.runs import plot
from rnnlm.runs.power_law import fit_power_law
from tests.conftest import tiny
from tests.runs.test_compare import make_run


def runs_of(**keys):
    """Make a run for each value of a config key."""
    [(key, values)] = keys.items()
    return [
        dataclasses.replace(make_run(f"{i}", shift=0.1 * i), config=tiny(**{key: value}), parameters=100 * 3**i)
        for i, value in enumerate(values)
    ]


def drawn(runs, name, colour=""):
    ax = Figure().subplots()
    plot.plot_groups(ax, runs, name, colour)
    return ax


def labels(ax):
    legend = ax.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_a_power_law_is_recovered():
    x = np.array([1e3, 1e4, 5e5, 1e7])
    fit = fit_power_law(x, 7.5 * x**-0.08)
    assert fit.scale == pytest.approx(7.5) and fit.exponent == pytest.approx(0.08)
    assert fit_power_law([5.0, 5.0, 6.0, 7.0], [1.0, 1.0, 2.0, 3.0]) is None


def test_a_law_needs_four_costs_and_is_never_one_of_time():
    runs = runs_of(model__hidden=[8, 9, 10, 11])
    assert ["x$^{" in label for label in labels(drawn(runs, "parameters"))] == [True]
    few = drawn(runs[:3], "parameters")
    assert labels(few) == [] and [len(line.get_xdata()) for line in few.get_lines() if line.get_linestyle() == "-"] == [
        3
    ]
    later = [dataclasses.replace(run, seconds=10.0 * 2**i) for i, run in enumerate(runs)]
    assert labels(drawn(later, "seconds")) == [] and all(
        line.get_linestyle() == "None" for line in drawn(later, "seconds").get_lines()
    )


def test_an_axis_that_spans_a_decade_is_logarithmic():
    wide = drawn(runs_of(optim__learning_rate=[1e-3, 3e-3, 1e-2]), "optim.learning_rate")
    assert wide.get_xscale() == "log" and wide.get_xticks().tolist() == [1e-3, 3e-3, 1e-2]
    assert [wide.xaxis.get_major_formatter()(x) for x in wide.get_xticks()] == ["0.001", "0.003", "0.01"]
    assert labels(wide) == []
    assert drawn(runs_of(model__hidden=[8, 10, 12]), "model.hidden").get_xscale() == "linear"
    assert drawn(runs_of(train__drop_state=[0.0, 0.001, 0.1]), "train.drop_state").get_xscale() == "linear"


def test_categories_are_ticks():
    ax = drawn(runs_of(model__cell=["lstm", "gru", "lstm"]), "model.cell")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["gru", "lstm"]
    assert sorted(x for c in ax.containers for x in c.lines[0].get_xdata()) == [0, 1, 1]
    flags = drawn(runs_of(model__tied=[False, False]), "model.tied")
    assert [tick.get_text() for tick in flags.get_xticklabels()] == ["False"]


def test_a_second_key_is_the_colour():
    runs = runs_of(optim__learning_rate=[0.1, 0.01]) + runs_of(model__hidden=[8, 9])
    ax = drawn(runs, "optim.learning_rate", "model.hidden")
    assert labels(ax) == ["8", "9", "12"] and ax.get_legend().get_title().get_text() == "model.hidden"
    assert len({container.lines[0].get_color() for container in ax.containers}) == 3
    assert len(set(plot.shades(30))) == 30


@pytest.mark.parametrize("x", ["", "seconds", "seed,model.cell", "flops"])
def test_runs_without_an_interval_or_time_are_plotted(tmp_path, x):
    runs = [dataclasses.replace(run, seconds=None) for run in runs_of(seed=[1, 2])]
    runs[1] = dataclasses.replace(runs[1], validation=True)
    plot.plot(runs, tmp_path / "figure.svg", x)
    assert b"</svg>" in (tmp_path / "figure.svg").read_bytes()


def test_an_unknown_axis_is_named_with_the_nearest_one():
    assert plot.axis_names("optim.learning_rate,model.hidden") == ["optim.learning_rate", "model.hidden"]
    for x, message in [
        ("optim.learning_rte", "did you mean optim.learning_rate"),
        ("seed,", "--x= is no config key, nor one of parameters"),
        ("seed,seed,seed", "has 3 names"),
    ]:
        with pytest.raises(UserError, match=message):
            plot.axis_names(x)
