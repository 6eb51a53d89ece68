"""A comparison fits the terminal with the columns that matter, and names stay different."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm.runs import columns, compare
from tests.conftest import tiny
from tests.runs.test_compare import make_run

NAMES = [f"runs/shakespeare-sweep-hidden=48-learning_rate={rate}" for rate in (0.01, 0.001, 0.0001)]


def rows():
    runs = [
        dataclasses.replace(
            make_run(name, 0.01 * i, 0.1), config=tiny(optim__learning_rate=1.0 / 10**i, model__hidden=8 + i)
        )
        for i, name in enumerate(NAMES)
    ]
    runs[2] = dataclasses.replace(runs[2], validation=True)
    return compare.table(runs)


def test_all_columns_are_there_where_they_fit():
    assert columns.fit_rows(rows(), 1000) == columns.format_rows(rows())
    header, *lines = columns.format_rows(rows())
    assert len(header) == len(columns.column_names(rows())) and {
        "model.hidden",
        "optim.learning_rate",
        "protocol",
        "source",
    } <= set(header)
    assert [line[0] for line in lines] == NAMES and [line[1][-1] == "*" for line in lines] == [False, False, True]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 160])
def test_fewer_columns_fit_a_width(width):
    table = columns.fit_rows(rows(), width)
    assert columns.table_width(zip(*table, strict=True)) <= max(width, 40)
    assert len({line[0] for line in table}) == len(table)
    assert table[0][:2] == ["run", "bpc"]


def test_at_80_columns_the_keys_that_differ_are_shown():
    assert columns.fit_rows(rows(), 80)[0] == ["run", "bpc", "worse by", "its +-", "hidden", "learning_rate"]


def test_keys_with_the_same_last_word_keep_their_section():
    run = dataclasses.replace(make_run("a" * 90), config=tiny(train__steps=30))
    other = dataclasses.replace(make_run("b" * 90), config=tiny(eval__every=5, sample__every=7))
    assert {"eval.every", "sample.every"} <= set(columns.fit_rows(compare.table([run, other]), 100)[0])


@given(st.sets(st.text("ab/=1.", min_size=1, max_size=40), min_size=1, max_size=12), st.integers(3, 30))
def test_names_stay_different(names, most):
    names = sorted(names)
    short = columns.shorten(names, most)
    assert len(set(short)) == len(names)
    for cut, name in zip(short, names, strict=True):
        head, _, tail = cut.partition("…")
        assert "…" not in cut or (head in name and name.endswith(tail))
