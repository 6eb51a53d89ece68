"""Files and records come in a random order of the seed, whole, and none lies in two splits."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlm.config import DataConfig
from rnnlm.data import shuffle, text
from rnnlm.data.corpora import Corpus
from rnnlm.data.shuffle import next_record, random_order, record_ends
from rnnlm.data.splits import open_dataset, split_offsets
from rnnlm.errors import UserError


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("texts")


def write(folder, data, name="text.txt"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def parts(dataset):
    return {name: b"".join(dataset.slice(name).raw()) for name in dataset.splits}


def test_the_order_is_that_of_the_seed_in_every_version_of_numpy():
    assert random_order(8, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert random_order(8, 1).tolist() != random_order(8, 0).tolist()
    assert sorted(random_order(1000, 3)) == list(range(1000))


@given(st.text("ab,ж", max_size=60), st.sampled_from([",", "ж"]), st.sampled_from([1, 2, 3, 7, 1 << 20]))
def test_records_end_after_separators_whatever_the_chunks(folder, string, separator, chunk):
    data, sep = string.encode(), separator.encode()
    path = write(folder, data)
    expected = [0, *np.cumsum([len(piece) + len(sep) for piece in data.split(sep)[:-1]]).tolist()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shuffle, "CHUNK_BYTES", chunk)
        patch.setattr(text, "CHUNK_BYTES", chunk)
        if data:
            assert record_ends(np.frombuffer(data, np.uint8), sep).tolist() == expected[1:]
        for offset in range(len(data) + 1):
            begin = min([e for e in expected if e >= offset], default=len(data))
            assert next_record(path, sep, offset, len(data)) == begin


@settings(max_examples=40)  # each example syncs files to the disk
@given(
    st.lists(st.lists(st.text("abж", max_size=6), min_size=1, max_size=8), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from(["byte", "byte_seen", "char"]),
    st.integers(0, 3),
)
def test_records_are_shuffled_whole_and_none_lies_in_two_splits(folder, files, ended, symbols, seed):
    for old in (folder / "many").glob("*"):
        old.unlink()
    for i, records in enumerate(files):
        write(folder, ("\n".join(records) + "\n" * ended).encode(), f"many/{i}")
    written = [(path.read_bytes()) for path in sorted((folder / "many").iterdir())]
    wanted = Counter(r for data in written for r in data.removesuffix(b"\n").split(b"\n") if data)
    config = DataConfig(
        files=str(folder / "many"),
        split="0.6/0.2/0.2",
        symbols=symbols,
        shuffle="records",
        separator="\n",
        shuffle_seed=seed,
    )
    try:
        dataset = open_dataset(config)
    except UserError as error:
        assert any(word in str(error) for word in ("leaves no whole record", "single record", "is empty"))
        return
    found = parts(dataset)
    assert all(part.endswith(b"\n") for part in found.values()) and len(found) == 3
    assert Counter(r for part in found.values() for r in part.removesuffix(b"\n").split(b"\n")) == wanted
    again = open_dataset(config)
    assert again.corpus == dataset.corpus and parts(again) == found
    lengths = {name: end - begin for name, (begin, end) in dataset.splits.items()}
    assert sum(lengths.values()) == len(dataset.text)
    assert symbols != "char" or lengths == {name: len(part.decode()) for name, part in found.items()}


@settings(max_examples=25)
@given(st.lists(st.integers(0, 9), min_size=3, max_size=9), st.integers(0, 2), st.booleans())
def test_files_are_shuffled_whole_and_none_lies_in_two_splits(folder, sizes, seed, separated):
    for old in (folder / "some").glob("*"):
        old.unlink()
    pieces = [bytes([65 + i]) * size for i, size in enumerate(sizes)]
    for i, piece in enumerate(pieces):
        write(folder, piece, f"some/{i}")
    config = DataConfig(
        files=str(folder / "some"),
        split="0.5/0.25/0.25",
        shuffle="files",
        separator="\n" if separated else "",
        shuffle_seed=seed,
    )
    try:
        found = parts(open_dataset(config))
    except UserError as error:
        assert any(word in str(error) for word in ("leaves no whole file", "is empty"))
        return
    end = b"\n" if separated else b""
    assert len(b"".join(found.values())) == sum(len(piece + end) for piece in pieces if piece)
    for piece in filter(None, pieces):
        assert [(piece + end) in part for part in found.values()].count(True) == 1
        assert [piece[:1] in part for part in found.values()].count(True) == 1


def test_another_seed_is_another_order(folder):
    path = write(folder, b"".join(b"%d\n" % i for i in range(500)), "numbers.txt")
    config = DataConfig(files=str(path), shuffle="records", separator="\n")
    first, second = (open_dataset(replace(config, shuffle_seed=seed)) for seed in (0, 1))
    assert first.corpus.sha256 != second.corpus.sha256
    assert first.corpus.origin.text_sha256 == second.corpus.origin.text_sha256 == first.corpus.origin.sha256
    assert first.corpus.origin.seed == 0 and second.corpus.origin.seed == 1
    assert path.read_bytes().startswith(b"0\n1\n2\n") and not parts(first)["train"].startswith(b"0\n1\n2\n")


def test_with_a_separator_edges_lie_between_records_in_the_texts_own_order_too(folder):
    path = write(folder, b"".join(b"%d\n" % i for i in range(500)), "numbers.txt")
    found = parts(open_dataset(DataConfig(files=str(path), separator="\n")))
    assert b"".join(found.values()) == path.read_bytes() and all(part.endswith(b"\n") for part in found.values())


@pytest.mark.parametrize(
    "data, options, complaint",
    [
        (
            b"one record, that goes on",
            {"separator": "\n", "symbols": "byte"},
            "is a single record, since data.separator='\\\\n' ends none",
        ),
        (b"one record\n", {"separator": "\n", "shuffle": "records"}, "is a single record"),
        (b"a\n" + b"b" * 99 + b"\n", {"separator": "\n"}, "leaves no whole record to valid and test"),
        (b"text", {"shuffle": "files"}, "data.shuffle=files has nothing to shuffle: .* is one file"),
        (b"a\nb\n", {"separator": "ab"}, "The separator 'ab' has 2 bytes, but exactly one symbol"),
        (b"a\nb\n", {"separator": "ж"}, "has 2 bytes, .*, or take data.symbols=char"),
        (b"a\nb\n", {"separator": "жж", "symbols": "char"}, "has 2 characters"),
    ],
)
def test_what_cannot_be_shuffled_or_split_is_refused(folder, data, options, complaint):
    path = write(folder, data, "refused.txt")
    with pytest.raises(UserError, match=complaint):
        open_dataset(DataConfig(files=str(path), **options))


def test_published_splits_are_of_texts_in_their_own_order(folder):
    with pytest.raises(UserError, match="data.split=std_90_5_5 is defined on a text in its own order, not with"):
        split_offsets("std_90_5_5", Corpus("big", folder, 10**8, ""), "records", b"\n")


def test_shuffling_records_needs_a_separator():
    with pytest.raises(UserError, match="data.shuffle=records is without data.separator"):
        DataConfig(shuffle="records")
