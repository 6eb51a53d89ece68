"""Symbols of texts and vocabularies round-trip, and unknown ones are named."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm.data import text as texts
from rnnlm.data.text import open_text, vocabulary_of
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError


def write(folder: Path, data: bytes) -> Path:
    path = folder / "text.txt"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("symbols")


@given(data=st.binary(min_size=1, max_size=400))
@pytest.mark.parametrize("kind", ["byte", "byte_seen"])
def test_bytes_round_trip(folder, kind, data):
    path = write(folder, data)
    vocabulary = vocabulary_of(path, kind)
    assert len(vocabulary) == (256 if kind == "byte" else len(set(data)))
    assert vocabulary.decode(vocabulary.encode(data)) == data
    text = open_text(path, "-", vocabulary)
    assert vocabulary.decode(text.encode(np.arange(len(text)))) == data
    assert Vocabulary.from_dict(vocabulary.as_dict()) == vocabulary


@given(string=st.text(min_size=1, max_size=300), chunk=st.integers(4, 50))
def test_characters_round_trip_whatever_the_chunks(folder, string, chunk):
    path = write(folder, string.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "CHUNK_BYTES", chunk)
        vocabulary = vocabulary_of(path, "char")
        assert vocabulary.codes == tuple(sorted({ord(c) for c in string}))
        text = open_text(path, hashlib.sha256(path.read_bytes()).hexdigest(), vocabulary)
        assert len(text) == len(string)
        assert vocabulary.decode(text.encode(np.arange(len(text)))).decode() == string
        assert texts.count_characters(path, len(string.encode())) == len(string)
    ids = vocabulary.encode(string)
    assert vocabulary.byte_lengths[ids].sum() == len(string.encode())


def test_an_ascii_text_is_mapped_without_a_copy_for_characters_too(tmp_path):
    path = write(tmp_path, b"plain text\n")
    text = open_text(path, "-", vocabulary_of(path, "char"))
    assert isinstance(text.units, np.memmap) and text.units.filename == path


def test_each_vocabulary_has_its_own_file_of_symbols(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write(tmp_path, "né à".encode())
    for codes in ((32, 110, 224, 233), (9, 32, 110, 224, 233)):
        vocabulary = Vocabulary("char", codes)
        assert vocabulary.decode(open_text(path, "same", vocabulary).encode(np.arange(4))).decode() == "né à"
    with pytest.raises(UserError, match="character 'é' at offset 1 is not among the 3"):
        open_text(path, "same", Vocabulary("char", (32, 110, 224)))
    encoded = list((tmp_path / "cache").rglob("*.txt"))
    assert len(encoded) == 2
    for file in encoded:  # damage is noticed, and the file made again
        file.write_bytes(b"\0" * file.stat().st_size)
    assert vocabulary.decode(open_text(path, "same", vocabulary).encode(np.arange(4))).decode() == "né à"


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    path = write(tmp_path, "né".encode())
    with pytest.raises(UserError, match="another cache than /proc/nowhere/rnnlm in XDG_CACHE_HOME"):
        open_text(path, "x", Vocabulary("char", (110, 233)))


def test_invalid_utf8_is_named_with_its_offset(tmp_path):
    path = write(tmp_path, "né".encode() * 30 + b"\xff" + b"x" * 20)
    with pytest.raises(UserError, match="not UTF-8: byte 0xff at offset 90 .*data.symbols=byte"):
        vocabulary_of(path, "char")


def test_a_character_cut_off_by_the_end_is_invalid(tmp_path):
    with pytest.raises(UserError, match="0xc3 at offset 2"):
        vocabulary_of(write(tmp_path, b"ab\xc3"), "char")


def test_an_unknown_symbol_is_named_with_its_offset():
    with pytest.raises(UserError, match="byte 'd' at offset 3 is not among the 3 symbols"):
        Vocabulary("byte_seen", (97, 98, 99)).encode("abcd")
    with pytest.raises(UserError, match="character 'é' at offset 1"):
        Vocabulary("char", (97,)).encode("aé")
    with pytest.raises(UserError, match="byte 0xc3 at offset 1"):
        Vocabulary("byte_seen", (97,)).encode("aé")


def test_a_text_starts_after_a_line_break_if_the_vocabulary_has_one():
    assert Vocabulary("byte_seen", (9, 10, 65)).bos_id == 1
    assert Vocabulary("byte_seen", (65, 66)).bos_id == 0
