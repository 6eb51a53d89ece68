"""rnnlm data describes own files as it does corpora, and says where it looked."""

import lzma

import pytest

import rnnlm
from rnnlm.commands import main
from rnnlm.data.published import search_dirs
from tests.conftest import make_text


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RNNLM_DATA_DIR", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def run(capsys, *args, code=0):
    assert main.main(["data", *map(str, args)]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("rnnlm: ") == bool(code)
    return captured.err if code else captured.out


def test_own_files_are_described(place, capsys):
    text = make_text(2000) + "é".encode()
    (place / "here/a.txt.xz").write_bytes(lzma.compress(text))
    row = rnnlm.describe_text("a.txt.xz")
    assert (row["files"], row["unpacked"], row["bytes"]) == (1, 1, len(text))
    assert row["symbols"] == {"byte": 256, "byte_seen": len(set(text)), "char": len(set(text.decode()))}
    (place / "here/b.txt").write_bytes(b"text\n" * 20)
    printed = run(capsys, "a.txt.xz", "b.txt")
    assert f"files     2 of {row['source_bytes'] + 100} bytes, 1 of them compressed" in printed
    assert "bytes     2,102" in printed and "0.9/0.05/0.05 train 0..1,89" in printed
    assert "bytes     2,102" in run(capsys, ".") and "bytes     100" in run(capsys, "*.txt")
    assert f"bytes     {row['source_bytes']}" in run(capsys, "a.txt.xz", "--binary")
    latin = (place / "here/latin.txt").write_bytes("é".encode("latin-1") * 50)
    assert f"bytes     {latin}" in run(capsys, "latin.txt")
    assert rnnlm.describe_text("latin.txt")["symbols"]["char"] is None


@pytest.mark.parametrize(
    "args, complaint",
    [
        (["nothing"], "There is no corpus 'nothing' and no such file: choose one of enwik8, "),
        (["."], "names '.', but no file is there"),
        (["a.png"], "a.png is no text but PNG: name text alone"),
        (["a.png", "text"], "1 of the 2 files of a.png,text is no text: a.png (PNG)."),
        (["--binary"], "--binary says how files are opened"),
        (["--clean", "enwik8"], "leave out 'enwik8'"),
    ],
)
def test_what_is_not_there_or_no_text_is_refused(place, capsys, args, complaint):
    if "." not in args:
        (place / "here/a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
        (place / "here/text").write_bytes(b"text")
    assert complaint in run(capsys, *args, code=2)


def test_it_says_where_it_looked(place, capsys, monkeypatch):
    here = place / "here"
    assert search_dirs() == [here / "data", place / "shared/data", place / "cache/rnnlm/corpora"]
    printed = run(capsys)
    assert all(f"\n  {folder}  (not there)\n" in printed for folder in search_dirs())
    assert "$RNNLM_DATA_DIR is not set" in printed and "has 0 bytes" in printed
    for name in ("here/data", "shared/data", "given"):
        (place / name).mkdir(parents=True)
        (place / name / "enwik8").write_bytes(b"")
    assert f"here   {here}/data/enwik8" in run(capsys)
    (here / "data/enwik8").unlink()
    assert f"here   {place}/shared/data/enwik8" in run(capsys)
    monkeypatch.setenv("RNNLM_DATA_DIR", "../given")
    printed = run(capsys)
    assert f"here   {here}/../given/enwik8" in printed and "is not set" not in printed
