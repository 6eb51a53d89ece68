"""Windows have the right lanes, wraps, warm-ups and first symbols."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm.data.text import Text, TextSlice
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.data.windows import EvalWindows, TrainWindows
from rnnlm.errors import UserError

BYTES = Vocabulary("byte", tuple(range(256)))


def text(size, begin=0, end=None):
    """Make a slice of a text whose symbols are their positions modulo 251."""
    whole = Text(BYTES, (np.arange(size) % 251).astype(np.uint8), BYTES.table)
    return TextSlice(whole, begin, size if end is None else end)


def test_lanes_are_reset_at_random():
    windows = TrainWindows(text(4000), 40, 5, 0.1, seed=3)
    without = TrainWindows(text(4000), 40, 5)
    starts = np.stack([windows.window(step, slice(0, 40)).reset for step in range(1, 20)])
    assert not starts[:, :, 1:].any() and not without.window(1, slice(0, 40)).reset.any()
    assert starts.mean() * 5 == pytest.approx(0.1, abs=0.03) and len({lane.tobytes() for lane in starts}) > 15
    for step in (0, 7):
        again = TrainWindows(text(4000), 40, 5, 0.1, seed=3).window(step, slice(8, 24))
        assert (again.reset == windows.window(step, slice(0, 40)).reset[8:24]).all()
        assert (again.x == without.window(step, slice(8, 24)).x).all()
    assert TrainWindows(text(4000), 40, 5, 1.0).window(7, slice(0, 40)).reset[:, 0].all()


@given(st.data())
def test_training_lanes_are_contiguous_and_reset_where_they_wrap(data):
    begin, batch, time = data.draw(st.integers(0, 40)), data.draw(st.integers(1, 7)), data.draw(st.integers(1, 12))
    length = data.draw(st.integers(time, 60))
    end = begin + batch * length + data.draw(st.integers(0, batch - 1))
    windows = TrainWindows(text(end + 5, begin, end), batch, time)
    steps = -(-2 * length // time)
    got = [windows.window(step, slice(0, batch)) for step in range(steps)]
    x, y, reset = (np.concatenate(arrays, axis=1) for arrays in zip(*got, strict=True))
    for lane in range(batch):
        # A lane repeats its share of the split, with a reset at each start.
        position = begin + lane * length + np.arange(steps * time) % length
        np.testing.assert_array_equal(y[lane], position % 251)
        np.testing.assert_array_equal(x[lane][position > 0], (position[position > 0] - 1) % 251)
        np.testing.assert_array_equal(reset[lane], np.arange(steps * time) % length == 0)


@given(st.integers(0, 10**9))
def test_a_window_is_a_pure_function_of_its_step(step):
    a = TrainWindows(text(1000), 3, 16).window(step, slice(0, 3))
    b = TrainWindows(text(1000), 3, 16).window(step, slice(1, 3))
    for all_lanes, two_lanes in zip(a, b, strict=True):
        np.testing.assert_array_equal(all_lanes[1:], two_lanes)


@given(st.data())
def test_evaluation_counts_every_symbol_once_from_its_own_context(data):
    begin, size = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 300))
    stride, context = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 20))
    lanes, time = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 33))
    separator = data.draw(st.sampled_from([None, 3, 40]))
    windows = EvalWindows(text(begin + size + 7, begin, begin + size), stride, context, lanes, time, separator)
    got = [windows.window(i, slice(0, lanes + 2)) for i in range(len(windows))]  # two lanes of padding
    x, y, reset, mask, position = (np.concatenate(arrays, axis=1) for arrays in zip(*got, strict=True))
    # Symbols are in order within a lane, and lane after lane.
    np.testing.assert_array_equal(position[mask], np.arange(begin, begin + size))
    np.testing.assert_array_equal(y[mask], position[mask] % 251)
    for lane, step in zip(*np.nonzero(mask), strict=True):
        # The context has no gap from the last reset, at the piece's context, the start of the split, or a separator.
        start = step - np.argmax(reset[lane, step::-1])
        at = position[lane, start : step + 1]
        np.testing.assert_array_equal(np.diff(at), 1)
        np.testing.assert_array_equal(x[lane, start : step + 1][at > 0], (at[at > 0] - 1) % 251)
        piece = begin + (at[-1] - begin) // stride * stride
        piece_start = max(begin, piece - context)
        expected = [p for p in range(piece_start + 1, at[-1] + 1) if (p - 1) % 251 == separator]
        assert at[0] == max([piece_start, *expected])


def test_the_first_symbol_of_a_split_is_predicted_from_the_one_before_it():
    window = EvalWindows(text(100, 40, 60), 20, 0, 1, 20).window(0, slice(0, 1))
    assert window.x[0, 0] == 39 and window.y[0, 0] == 40 and window.mask.all() and window.reset[0, 0]


def test_the_first_symbol_of_a_text_is_predicted_from_a_line_break():
    window = TrainWindows(text(100), 1, 10).window(0, slice(0, 1))
    assert window.x[0, 0] == ord("\n") and window.y[0, 0] == 0


def test_too_short_a_split_is_refused():
    with pytest.raises(UserError, match=r"30 symbols, which is 7 for each of train.batch=4 lanes.*train.window=8"):
        TrainWindows(text(30), 4, 8)


@given(st.data())
def test_training_lanes_are_reset_before_each_separator(data):
    batch, time, size = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 12)), data.draw(st.integers(60, 200))
    separator = data.draw(st.integers(0, 250))
    plain = text(size)
    vocabulary = BYTES.with_separator(bytes([separator]).decode("utf-8", "surrogateescape"))
    with_records = TextSlice(replace(plain.text, vocabulary=vocabulary), 0, size)
    for step in range(2 * size // time):
        a, b = (TrainWindows(s, batch, time).window(step, slice(0, batch)) for s in (plain, with_records))
        first = (a.y == 0) & a.reset  # the text's first symbol follows the separator, if there is one
        np.testing.assert_array_equal(b.x, np.where(first, separator, a.x))
        np.testing.assert_array_equal(b.y, a.y)
        np.testing.assert_array_equal(b.reset, a.reset | (b.x == separator))
