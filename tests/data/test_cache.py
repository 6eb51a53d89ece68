"""The cache is described, and cleaned of all that can be made again."""

import gzip
import os
import time

import pytest

import rnnlm
from rnnlm.commands import main
from rnnlm.config import DataConfig
from rnnlm.data import cache, corpora
from rnnlm.data.splits import open_dataset
from rnnlm.errors import UserError
from tests.conftest import make_text


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rnnlm"


def fill(tmp_path, place):
    """Fill each folder of the cache: -> the config of the text that was made."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.gz").write_bytes(gzip.compress("a é\n".encode() * 300))
    (folder / "b.txt").write_bytes(make_text(500))
    config = DataConfig(files=str(folder), symbols="char", shuffle="records", separator="\n")
    open_dataset(config)
    open_dataset(DataConfig(files=f"{folder}/b.txt,{folder}/b.txt"))
    for name in ("corpora/enwik8", "compiled/cpu/program"):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_bytes(b"12345")
    return config


def sizes(place):
    return {str(path.relative_to(place)): path.stat().st_size for path in place.rglob("*") if path.is_file()}


def test_cleaning_keeps_downloads_and_says_what_it_freed(tmp_path, place, capsys):
    config = fill(tmp_path, place)
    before = sizes(place)
    described = {row["name"]: row for row in cache.describe_cache()}
    assert described.keys() == {name.split("/")[0] for name in before}  # each folder has something
    assert sum(row["bytes"] for row in described.values()) == sum(before.values())
    rows = rnnlm.clean_cache()
    assert sizes(place) == {"corpora/enwik8": 5}
    assert sum(row["freed"] for row in rows) == sum(before.values()) - 5
    assert {row["name"] for row in rows if not row["freed"]} == {"corpora"}
    text = open_dataset(config)  # it is made again
    assert main.main(["data", "--clean"]) == 0
    printed = capsys.readouterr().out
    freed = text.corpus.size + sum(before[name] for name in before if name.split("/")[0] in ("unpacked", "char"))
    assert "corpora               5 bytes      1 files  downloaded texts: kept" in printed
    assert int(printed.rsplit("freed ", 1)[1].split()[0].replace(",", "")) >= freed
    assert max(map(len, printed.splitlines()[1:])) <= 80
    assert sizes(place) == {"corpora/enwik8": 5}


def test_files_that_are_being_written_are_left_alone(place):
    for name in ("unpacked/.x.1.part", "corpora/.enwik8.1.part"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"half")
    assert sum(row["freed"] for row in rnnlm.clean_cache()) == 0 and len(sizes(place)) == 2
    long_ago = time.time() - 2 * cache.PART_SECONDS
    for name in sizes(place):
        os.utime(place / name, (long_ago, long_ago))
    assert sum(row["freed"] for row in rnnlm.clean_cache()) == 8 and not sizes(place)


def test_an_open_text_survives_cleaning(tmp_path, place):
    config = fill(tmp_path, place)
    dataset = open_dataset(config)
    rnnlm.clean_cache()
    raw = {name: b"".join(dataset.slice(name).raw()) for name in dataset.splits}
    again = open_dataset(config)
    assert raw == {name: b"".join(again.slice(name).raw()) for name in again.splits} and len(raw["train"]) > 1000


def test_files_that_change_while_they_are_read_are_refused(tmp_path, place):
    files = [tmp_path / name for name in ("a.txt", "b.gz")]
    files[0].write_bytes(b"some text\n")
    files[1].write_bytes(gzip.compress(b"more text\n"))
    with pytest.raises(UserError, match="The files of both changed while they were read"):
        corpora.concatenate("both", files, "0" * 64)
    assert not list(place.rglob("*.txt"))


def test_a_damaged_index_is_made_again(tmp_path, place):
    fill(tmp_path, place)
    config = DataConfig(files=str(tmp_path / "texts"))
    first = open_dataset(config).corpus
    for index in (place / "unpacked").glob("*.json"):
        for damage in ("{", "[]", "{}", '{"sha256": "x", "file_ends": []}'):
            index.write_text(damage)
            assert open_dataset(config).corpus == first
