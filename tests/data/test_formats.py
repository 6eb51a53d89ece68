"""Compressed text is unpacked whole or not at all, and what is no text is named and refused."""

import bz2
import gzip
import lzma
import random
import tarfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlm.config import DataConfig
from rnnlm.data import formats
from rnnlm.data.corpora import from_files, open_corpus
from rnnlm.data.formats import detect_compression, detect_foreign, unpack
from rnnlm.errors import UserError
from tests.conftest import make_text

PACK = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lambda data: lzma.compress(data, preset=0),
    "bzip2": bz2.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
TEXT = make_text(3000)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rnnlm"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packed")


def test_every_compression_that_is_recognized_has_an_unpacker():
    assert formats.COMPRESSED.keys() == formats.UNPACKERS.keys() == PACK.keys()


@pytest.mark.parametrize("kind", PACK)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_a_compressed_file_of_several_parts_is_unpacked(folder, kind, parts):
    path = folder / f"{kind}.parts"
    path.write_bytes(b"".join(map(PACK[kind], parts)))
    assert detect_compression(path.read_bytes()) == kind
    assert b"".join(unpack(path, kind)) == b"".join(parts)


@pytest.mark.parametrize("kind", PACK)
@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_cut_or_changed_file_is_never_taken_for_another_text(folder, kind, share, bit):
    data, path = PACK[kind](TEXT), folder / f"{kind}.harmed"
    at = int(share * len(data))
    path.write_bytes(data[:at])
    if at:
        with pytest.raises(UserError, match=f"{kind}.harmed (ends in the middle of its|cannot be unpacked)"):
            b"".join(unpack(path, kind))
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    path.write_bytes(changed)
    try:
        assert b"".join(unpack(path, kind)) == TEXT  # the bit was a date, for example
    except UserError as error:
        assert "harmed" in str(error)


def test_large_texts_are_unpacked_in_chunks(folder):
    text = random.Random(0).randbytes(600_000).hex().encode()
    for kind, pack in PACK.items():
        path = folder / "large"
        path.write_bytes(pack(text))
        chunks = list(unpack(path, kind))
        assert b"".join(chunks) == text and len(chunks) > 1


@pytest.mark.parametrize(
    "data, kind",
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG"),
        (b"GIF89a\1", "GIF"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\x03\x04", "zip"),
        (b"\x7fELF\2\1", "ELF"),
        (b"SQLite format 3\0", "SQLite"),
        ("text".encode("utf-16"), "UTF-16 text"),
        ("text".encode("utf-32"), "UTF-32 text"),
        ("한국어".encode("utf-16"), "UTF-16 text"),  # without a single NUL byte
        (gzip.compress(b"", mtime=0), "gzip"),
        (b"text\0", "NUL bytes"),
        (b"", ""),
        (b"plain text", ""),
        ("\ufeff한국어".encode(), ""),
        ("café".encode("latin-1"), ""),
        (b"BZh is how bzip2 begins", ""),
        (b"PAR1 of 2", ""),
    ],
)
def test_formats_are_told_by_their_first_bytes(data, kind):
    assert detect_foreign(data) == kind


def test_bytecode_and_tar_are_told(tmp_path):
    import importlib.util
    import py_compile

    (tmp_path / "module.py").write_text("x = 1\n")
    compiled = py_compile.compile(str(tmp_path / "module.py"), str(tmp_path / "module.pyc"))
    assert detect_foreign((tmp_path / "module.pyc").read_bytes()) == "Python bytecode", compiled
    assert importlib.util.MAGIC_NUMBER[2:] == b"\r\n"
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "module.py", "module.py")
    with pytest.raises(UserError, match=r"all.tar.gz is no text but tar in gzip: .* data.binary=True"):
        from_files(f"{tmp_path}/all.tar.gz")


def test_a_folder_with_odd_files_is_refused_by_their_names(tmp_path, cache):
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.txt").write_bytes(TEXT)
    (folder / "z.gz").write_bytes(gzip.compress(b"\x7fELF\0"))
    with pytest.raises(UserError, match=r"^1 of the 5 files of .* is no text: .*/z.gz \(ELF in gzip\)\. Please"):
        from_files(str(folder))
    for i in range(4):
        (folder / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "a.txt").write_bytes("text".encode("utf-16"))
    with pytest.raises(UserError, match=r"6 of the 10 .* are no text: .*/0.png \(PNG\), .* and 3 more\. .*UTF-16 and"):
        from_files(str(folder))
    assert not any(path.is_file() for path in cache.rglob("*"))
    raw = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    corpus = open_corpus(DataConfig(files=str(folder), binary=True))
    assert corpus.path.read_bytes() == raw and corpus.origin is None


def test_compressed_files_are_unpacked_once(tmp_path, cache):
    folder = tmp_path / "texts"
    folder.mkdir()
    pieces = [make_text(500, seed) for seed in range(5)]
    for i, (pack, piece) in enumerate(zip([*PACK.values(), bytes], pieces, strict=True)):
        (folder / f"{i}.any-name").write_bytes(pack(piece))
    corpus = from_files(str(folder))
    assert corpus.path.read_bytes() == b"".join(pieces)
    assert corpus.origin.unpacked == 4 and corpus.origin.files == 5
    assert corpus.file_ends == (500, 1000, 1500, 2000, 2500)
    stamp = corpus.path.stat().st_mtime_ns
    assert from_files(str(folder)) == corpus and corpus.path.stat().st_mtime_ns == stamp
    corpus.path.write_bytes(b"damaged")
    assert from_files(str(folder)).path.read_bytes() == b"".join(pieces)
    (folder / "0.any-name").write_bytes(gzip.compress(b"changed"))
    assert from_files(str(folder)).path.read_bytes() == b"changed" + b"".join(pieces[1:])


def test_a_damaged_file_leaves_nothing_in_the_cache(tmp_path, cache):
    (tmp_path / "text.xz").write_bytes(lzma.compress(make_text(200_000))[:-20])
    with pytest.raises(UserError, match="text.xz ends in the middle of its xz data"):
        from_files(f"{tmp_path}/text.xz")
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    (tmp_path / "text.xz").write_bytes(lzma.compress(b""))
    with pytest.raises(UserError, match="text.xz is empty"):
        from_files(f"{tmp_path}/text.xz")


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path):
    with pytest.raises(UserError, match="could not be read"):
        list(unpack(tmp_path, "gzip"))
