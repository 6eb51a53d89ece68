"""A text in columns has the splits of char-rnn's loader, and a run finds it again."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlm.config import DataConfig
from rnnlm.data.locate import find_corpus
from rnnlm.data.splits import SPLITS, open_dataset
from rnnlm.data.windows import TrainWindows
from rnnlm.errors import UserError


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("texts")


def write(folder, data):
    path = folder / f"{hashlib.sha256(data).hexdigest()}.txt"
    path.write_bytes(data)
    return path


def as_char_rnn(data, streams, time, train, valid):
    """Cut a text as CharSplitLMMinibatchLoader.lua does: -> the bytes of each split, window by window of a stream."""
    windows = len(data) // (streams * time)
    grid = np.frombuffer(data[: windows * streams * time], np.uint8).reshape(streams, windows, time)
    first, second = int(windows * train), int(windows * valid)
    if train + valid == 1:  # split_fractions[3] == 0: ntest = 0, nval = nbatches - ntrain
        second = windows - first
    return dict(zip(SPLITS, np.split(grid, [first, first + second], axis=1), strict=True))


@settings(max_examples=40)  # each example syncs files to the disk
@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 400), st.sampled_from([(0.5, 0.25), (0.75, 0.25), (1, 0)]))
def test_the_splits_are_those_of_char_rnn_s_loader(folder, streams, time, extra, shares):
    size = streams * time * 2 + extra
    data = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8).tobytes()
    spec = f"columns_{streams}x{time}_{shares[0]}/{shares[1]}/{1 - sum(shares)}"
    dataset = open_dataset(DataConfig("", str(write(folder, data)), spec, "byte", binary=True))
    for name, expected in as_char_rnn(data, streams, time, *shares).items():
        assert (
            b"".join(dataset.slice(name).raw()) == expected.tobytes() if expected.size else name not in dataset.splits
        )


def test_a_lane_of_training_is_a_stream(folder):
    data = bytes(range(240))
    dataset = open_dataset(DataConfig("", str(write(folder, data)), "columns_4x5_0.5/0.5/0", "byte", binary=True))
    windows = TrainWindows(dataset.slice("train"), batch=4, time=5)
    read = np.stack([windows.window(step, slice(0, 4)).y for step in range(6)], axis=1)
    assert np.array_equal(read, as_char_rnn(data, 4, 5, 0.5, 0.5)["train"])


def test_a_text_in_columns_is_made_again_where_the_cache_lost_it(folder, tmp_path, monkeypatch):
    path = write(folder, b"all happy families are alike " * 40)
    config = DataConfig("", str(path), "columns_5x4_0.8/0.1/0.1")
    known = open_dataset(config).corpus
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    moved = path.rename(tmp_path / "moved.txt")
    found = find_corpus(config, known, data=str(moved))
    assert (found.sha256, found.size) == (known.sha256, known.size) and found.path != known.path
    assert find_corpus(config, known, near=[tmp_path], data="").sha256 == known.sha256


@pytest.mark.parametrize(
    ("spec", "more", "message"),
    [
        ("columns", {}, "columns_STREAMSxTIME_SHARES"),
        ("columns_0x50_0.9/0.05/0.05", {}, "columns_STREAMSxTIME_SHARES"),
        ("columns_50x50_0.9/0.2/0.05", {}, "columns_STREAMSxTIME_SHARES"),
        ("columns_50x50_0.9/0.1/0", {}, "no window for training"),
        ("columns_5x4_0.8/0.1/0.1", {"shuffle": "files"}, "data.shuffle=none"),
        ("columns_5x4_0.8/0.1/0.1", {"symbols": "char"}, "data.symbols=byte_seen"),
    ],
)
def test_impossible_columns_are_refused(folder, spec, more, message):
    with pytest.raises(UserError, match=message):
        open_dataset(DataConfig("", str(write(folder, b"abc" * 40)), spec, **more))
