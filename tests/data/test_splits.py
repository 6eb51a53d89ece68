"""Splits have exact offsets, cover the text without overlap, and cut no character."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm.config import DataConfig
from rnnlm.data.corpora import Corpus
from rnnlm.data.splits import open_dataset, parse_fractions, split_offsets
from rnnlm.errors import UserError
from tests.conftest import SHARED

MILLION = 1_000_000


def corpus(size, path=Path("/nowhere")):
    return Corpus("made up", path, size, "-")


def test_named_splits_are_those_of_the_papers():
    assert split_offsets("graves_96_4", corpus(100 * MILLION)) == {
        "train": (0, 96 * MILLION),
        "test": (96 * MILLION, 100 * MILLION),
    }
    assert split_offsets("std_90_5_5", corpus(100 * MILLION)) == {
        "train": (0, 90 * MILLION),
        "valid": (90 * MILLION, 95 * MILLION),
        "test": (95 * MILLION, 100 * MILLION),
    }


def test_named_splits_need_a_hundred_million_bytes():
    with pytest.raises(UserError, match="100,000,000 bytes, but made up has 99,999,999"):
        split_offsets("graves_96_4", corpus(100 * MILLION - 1))


def test_three_files_are_the_splits_and_none_is_empty():
    three = replace(corpus(60), file_ends=(10, 30, 60))
    assert split_offsets("files", three) == {"train": (0, 10), "valid": (10, 30), "test": (30, 60)}
    with pytest.raises(UserError, match="data.split=files has an empty file for valid"):
        split_offsets("files", replace(three, file_ends=(10, 10, 60)))
    with pytest.raises(UserError, match="but made up is 2: name three"):
        split_offsets("files", replace(three, file_ends=(10, 60)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dataset")


@given(
    st.text(min_size=30, max_size=200), st.sampled_from(["0.8/0.1/0.1", "1/3/1/3/1/3", "0.5/0.25/0.25", "0.9/0.1/0"])
)
def test_splits_cover_the_text_and_cut_no_character(folder, string, spec):
    spec = spec.replace("1/3/1/3/1/3", "0.34/0.33/0.33")
    path = folder / "text.txt"
    path.write_text(string, newline="")
    data = path.read_bytes()
    offsets = split_offsets(spec, corpus(len(data), path))
    assert "".join(data[begin:end].decode() for begin, end in offsets.values()) == string
    shares = [float(s) for s in spec.split("/")]
    edge = shares[0] * len(data)
    assert edge - 1 < offsets["train"][1] < edge + 4


@given(st.text(alphabet="ab\nжц€😀", min_size=40, max_size=200))
def test_splits_in_characters_are_the_splits_in_bytes(folder, string):
    path = folder / "chars.txt"
    path.write_text(string, newline="")
    data = open_dataset(DataConfig("", str(path), "0.6/0.2/0.2", "char"))
    for name, (begin, end) in data.splits.items():
        raw = b"".join(data.slice(name).raw()).decode()
        assert raw == string[begin:end]
    assert list(data.splits.values())[-1][1] == len(string)


@pytest.mark.parametrize(
    "spec", ["0.8/0.1", "0.8/0.1/0.2", "a/b/c", "1.2/-0.1/-0.1", "0/0.5/0.5", "", "1/0/0/0", "graves"]
)
def test_an_invalid_split_spec_is_refused(spec):
    with pytest.raises(UserError, match="is no split"):
        parse_fractions(spec, corpus(1000))


def test_fractions_are_exact():
    text = corpus(1000)
    assert sum(parse_fractions("0.7/0.2/0.1", text)) == 9 * sum(parse_fractions("0.1/0.1/0.8", text)) / 2
    assert parse_fractions("700/200/100", text) == parse_fractions("0.7/0.2/0.1", text)


def test_splits_may_be_given_in_bytes(folder):
    path = folder / "ascii.txt"
    path.write_bytes(b"abc" * 100)
    assert split_offsets("211/50/39", corpus(300, path)) == {"train": (0, 211), "valid": (211, 261), "test": (261, 300)}
    with pytest.raises(UserError, match="or to the 300 bytes of made up"):
        split_offsets("211/50/40", corpus(300, path))


def test_a_split_that_the_spec_lacks_is_refused():
    data = open_dataset(DataConfig("stdlib", "", "0.9/0.1/0", "byte"))
    with pytest.raises(UserError, match=r"no split 'test': it has train, valid"):
        data.slice("test")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared texts are not beside this checkout")
def test_tinyshakespeare_has_the_peers_split():
    data = open_dataset(DataConfig("tinyshakespeare", "", "0.9/0.1/0", "char"))
    assert data.splits == {"train": (0, 1_003_854), "valid": (1_003_854, 1_115_394)}
    assert len(data.text.vocabulary) == 65
