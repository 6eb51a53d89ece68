"""What --grid, --zip, --random and --seeds list."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import axes
from rnnlm.errors import UserError

WORDS = st.text(st.characters(exclude_characters=",", exclude_categories=["Cs"]), min_size=1).filter(
    lambda word: not word.startswith(("[", "("))
)


@given(st.lists(st.lists(WORDS, min_size=1, max_size=4, unique=True), min_size=1, max_size=3))
def test_a_grid_has_every_combination_once(axis_values):
    words = [f"k{i}={','.join(values)}" for i, values in enumerate(axis_values)]
    listed = axes.grid(words)
    expected = 1
    for values in axis_values:
        expected *= len(values)
    assert len({json.dumps(overrides) for overrides in listed}) == len(listed) == expected
    assert all(o[f"k{i}"] in values for o in listed for i, values in enumerate(axis_values))


@given(st.lists(st.text(), min_size=1, max_size=4, unique=True))
def test_a_json_list_holds_any_text(values):
    assert axes.grid([f"k={json.dumps(values)}"]) == [{"k": value} for value in values]


def test_zipped_keys_go_together():
    assert axes.zipped(["a=1,2", "b=x,y"]) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]


@given(st.integers(0, 5), st.integers(1, 20), st.integers(0, 10))
def test_more_random_trials_begin_with_the_fewer(seed, count, more):
    ranges = ["a=log:1e-4:1e-2", "b=int:64:512:64", "c=lin:-1:1", "d=x,y"]
    few, many = (axes.sample([str(n), *ranges], seed) for n in (count, count + more))
    assert many[:count] == few and len(many) == count + more
    assert len({json.dumps(drawn) for drawn in many}) == len(many)
    for drawn in many:
        assert 1e-4 <= drawn["a"] <= 1e-2 and -1 <= drawn["c"] <= 1
        assert 64 <= drawn["b"] <= 512 and drawn["b"] % 64 == 0 and drawn["d"] in ("x", "y")


def test_a_logarithmic_range_is_even_in_the_logarithm():
    drawn = [axes.sample(["1", "a=log:1e-4:1e-2"], seed)[0]["a"] for seed in range(2000)]
    below = sum(value < 1e-3 for value in drawn) / len(drawn)
    assert abs(below - 0.5) < 0.05  # four standard deviations


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: axes.grid(["model.hidden="]), "has no values"),
        (lambda: axes.grid(["model.hidden"]), "has no values"),
        (lambda: axes.grid(["model.hidden=1,,2"]), "has an empty value"),
        (lambda: axes.grid(["model.hidden=1,1"]), "has 1 twice"),
        (lambda: axes.grid(["model.hidden=[1,"]), "is no JSON list"),
        (lambda: axes.grid(["model.hidden=[]"]), "is an empty list"),
        (lambda: axes.grid(["a=1", "a=2"]), "a is swept twice"),
        (lambda: list(axes.product([{"a": 1}], [{"a": 2}])), "a is swept twice"),
        (lambda: axes.zipped(["a=1,2", "b=1"]), "a has 2, b has 1"),
        (lambda: axes.sample(["x", "a=log:1:2"], 0), "write the number of trials"),
        (lambda: axes.sample(["3"], 0), "write the number of trials"),
        (lambda: axes.sample(["3", "a=log:0:1"], 0), "is an empty range"),
        (lambda: axes.sample(["3", "a=lin:2:1"], 0), "is an empty range"),
        (lambda: axes.sample(["3", "a=int:1:2:3:4"], 0), "is no range"),
        (lambda: axes.sample(["3", "a=log:x:1"], 0), "is no range"),
        (lambda: axes.sample(["3", "a=1,2"], 0), "fewer than 3 values of 3 digits"),
        (lambda: axes.sample(["3", "a=log:nan:1"], 0), "is no range"),
        (lambda: axes.sample(["3", "a=1e-3:0.1"], 0), "write log:1e-3:0.1, lin:1e-3:0.1 or int:1e-3:0.1"),
        (lambda: axes.sample(["3", "a=-1:1"], 0), "does not say how to draw"),
        (lambda: axes.grid(["a=(1,2),(3,4)"]), "write lists as JSON"),
    ],
)
def test_what_cannot_be_listed_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
