"""Corpora are found on this machine or downloaded from a real server, and verified."""

import functools
import hashlib
import http.server
import threading
import zipfile
from pathlib import Path

import pytest

from rnnlm.config import DataConfig
from rnnlm.data import corpora, locate
from rnnlm.data.corpora import by_name, from_files
from rnnlm.data.published import SOURCES, Source
from rnnlm.errors import UserError

TEXT = b"a published text\n" * 1000


@pytest.fixture
def server(tmp_path):
    """Serve the text, plain and zipped, from a web server on this machine."""
    root = tmp_path / "www"
    root.mkdir()
    (root / "text.txt").write_bytes(TEXT)
    with zipfile.ZipFile(root / "text.zip", "w") as archive:
        archive.writestr("../evil", b"never unpacked")
        archive.writestr("text", TEXT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=root))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", root
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def publish(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RNNLM_DATA_DIR", raising=False)

    def add(url, member="", size=17_000, digest=None):
        digest = digest or "sha256:" + hashlib.sha256(TEXT).hexdigest()
        source = Source("text.txt", url, size, digest, member, 10**6)
        monkeypatch.setitem(SOURCES, "published", source)

    return add


def cached_files(tmp_path):
    return [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()]


@pytest.mark.parametrize("file, member", [("text.txt", ""), ("text.zip", "text")])
def test_download(server, publish, tmp_path, file, member):
    url, _ = server
    publish(f"{url}/{file}", member)
    corpus = by_name("published")
    assert corpus.path.read_bytes() == TEXT and corpus.size == len(TEXT)
    assert cached_files(tmp_path) == ["text.txt"] and not (tmp_path / "evil").exists()
    publish("http://127.0.0.1:9/gone")  # the next open finds the file on this machine
    assert by_name("published") == corpus


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"digest": "md5:" + "0" * 32}, "has the md5 .* but the published text has 000"),
        ({"size": len(TEXT) - 5}, "should have 16,995 bytes but has 16,996 or more"),
        ({"size": len(TEXT) + 5}, "should have 17,005 bytes but has 17,000"),
    ],
)
def test_a_wrong_download_leaves_nothing(server, publish, tmp_path, change, complaint):
    url, _ = server
    for file, member in (("text.txt", ""), ("text.zip", "text")):
        publish(f"{url}/{file}", member, **change)
        with pytest.raises(UserError, match=complaint):
            by_name("published")
        assert cached_files(tmp_path) == []


def squeeze(root):
    """Compress the archive, and change one byte of the member's data."""
    with zipfile.ZipFile(root / "text.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text", TEXT)
    data = bytearray((root / "text.zip").read_bytes())
    data[40] ^= 0xFF
    (root / "text.zip").write_bytes(data)


@pytest.mark.parametrize(
    "member, harm",
    [
        ("other", lambda root: None),
        ("text", lambda root: (root / "text.zip").write_bytes(b"<html>Sorry</html>")),
        ("text", squeeze),
    ],
)
def test_a_wrong_archive_leaves_nothing(server, publish, tmp_path, member, harm):
    url, root = server
    harm(root)
    publish(f"{url}/text.zip", member)
    with pytest.raises(UserError, match="not a sound zip archive with a member"):
        by_name("published")
    assert cached_files(tmp_path) == []


@pytest.mark.parametrize("gone", ["{url}/nothing", "http://127.0.0.1:9/refused"])
def test_a_failed_download_says_where_to_put_the_file(server, publish, tmp_path, gone):
    publish(gone.format(url=server[0]))
    with pytest.raises(UserError, match="Could not fetch published .*RNNLM_DATA_DIR"):
        by_name("published")
    assert cached_files(tmp_path) == []


def test_the_given_folder_comes_first(publish, tmp_path, monkeypatch):
    publish("http://127.0.0.1:9/refused")
    monkeypatch.setenv("RNNLM_DATA_DIR", str(tmp_path))
    (tmp_path / "text.txt").write_bytes(TEXT)
    assert by_name("published").path == tmp_path / "text.txt"
    (tmp_path / "text.txt").write_bytes(TEXT.replace(b"a p", b"a P", 1))
    with pytest.raises(UserError, match="has the sha256"):
        by_name("published")


def test_a_damaged_concatenated_text_is_written_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in "ab":
        (tmp_path / name).write_text(name * 5)
    corpus = from_files(f"{tmp_path}/a,{tmp_path}/b")
    corpus.path.write_text("aaaaabbbbB")
    assert from_files(f"{tmp_path}/a,{tmp_path}/b").path.read_text() == "aaaaabbbbb"


def test_own_files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    for name, data in {"b.txt": b"bb", "a.txt": b"a", "deep/c.md": b"ccc", "empty": b""}.items():
        (folder / name).write_bytes(data)

    def read(files):
        corpus = from_files(files)
        assert corpus.sha256 == hashlib.sha256(corpus.path.read_bytes()).hexdigest()
        return corpus.path.read_bytes()

    assert read(f"{folder}/b.txt") == b"bb"
    assert read(f"{folder}/b.txt, {folder}/a.txt") == b"bba"
    assert read(str(folder)) == b"abbccc"
    assert read(f"{folder}/*.txt") == b"abb"
    assert read(f"{folder}/**/*.md") == b"ccc"
    assert from_files(f"{folder}/b.txt").path == folder / "b.txt"  # a single file is not copied
    for missing in (f"{folder}/none.txt", f"{folder}/*.pdf", f"{folder}/b.txt,{folder}/x"):
        with pytest.raises(UserError, match="no file is there"):
            from_files(missing)
    for gap in (f"{folder}/b.txt,", f"{folder}/b.txt,,{folder}/a.txt"):
        with pytest.raises(UserError, match="has an empty name in it"):
            from_files(gap)
    monkeypatch.chdir(folder)
    assert corpora.make_absolute("b.txt, deep/*.md") == f"{folder}/b.txt,{folder}/deep/*.md"
    for empty in (f"{folder}/empty", f"{folder}/empty,{folder}/empty"):
        with pytest.raises(UserError, match="empty: give"):
            from_files(empty)


def test_the_standard_library_is_on_every_machine():
    corpus = corpora.open_corpus(DataConfig("stdlib", "", "0.9/0.05/0.05", "byte"))
    text = corpus.path.read_bytes()
    assert 5_000_000 < corpus.size == len(text)
    assert b"class JSONDecoder" in text and b"class ChainMap" in text
    assert b"import unittest\nfrom test.support" not in text
    assert corpora.by_name("stdlib") == corpus


def test_an_unknown_name_is_refused_with_a_list_of_names():
    with pytest.raises(UserError, match="no corpus 'enwik7': choose one of enwik8, .*stdlib"):
        by_name("enwik7")


def test_no_whole_disk_is_searched_for_a_moved_text():
    tails = [names[0] for names in locate.relocate(Path("/x"), ["/gone/*/project/**/*.txt"])]
    assert tails == ["/x/gone/*/project/**/*.txt", "/x/project/**/*.txt", "/x/*.txt"]
