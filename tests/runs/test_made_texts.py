"""A run finds its unpacked or shuffled text again: it is made anew of its files, known by their own digest."""

import gzip
import json
import lzma
import shutil

import pytest

from rnnlm import api
from rnnlm.config import Config, DataConfig
from rnnlm.data.splits import open_dataset
from rnnlm.errors import UserError
from rnnlm.files import cache_dir
from rnnlm.runs import layout
from tests.conftest import leaves, make_text, same_bits, tiny

FILES = {
    "a.gz": gzip.compress(make_text(3000, 1)),
    "b.txt": make_text(2000, 2),
    "c.xz": lzma.compress(make_text(999, 3)),
}
SPLIT = "0.5/0.25/0.25"
SEED = 3


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Change to a working directory, cache and data folder without texts; make the folder of the texts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RNNLM_DATA_DIR", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    texts = tmp_path / "old" / "texts"
    texts.mkdir(parents=True)
    for name, data in FILES.items():
        (texts / name).write_bytes(data)
    return tmp_path


def begin_run(home, **data):
    """Write the small files of a run: -> its folder and its dataset."""
    files = data.pop("files", str(home / "old" / "texts"))
    config = Config(data=DataConfig(files=files, split=SPLIT, shuffle_seed=SEED, **data))
    dataset = open_dataset(config.data)
    folder = home / "old" / "runs" / "a"
    folder.mkdir(parents=True)
    info = {"parameters": 1, "symbols_per_step": 1}
    layout.write_run_info(folder, config, dataset, info, {"step": 0})
    return folder, dataset


KINDS = {
    "unpacked": {},
    "files": {"shuffle": "files"},
    "records": {"shuffle": "records", "separator": "\n"},
    "characters": {"shuffle": "files", "separator": "\n", "symbols": "char"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_moved_with_its_files_makes_its_text_anew(home, kind):
    folder, dataset = begin_run(home, **KINDS[kind])
    saved = json.loads((folder / "run.json").read_text())["corpus"]
    assert saved["sha256"] == dataset.corpus.sha256 and saved["origin"]["unpacked"] == 2
    assert saved["origin"]["shuffle"] == KINDS[kind].get("shuffle", "none")
    text = dataset.corpus.path.read_bytes()

    def check(folder, data=""):
        found = layout.load_run(folder).open_dataset(data)
        assert found.corpus.sha256 == dataset.corpus.sha256 and found.corpus.path.read_bytes() == text
        assert (found.splits, found.byte_splits) == (dataset.splits, dataset.byte_splits)
        return found

    check(folder)
    shutil.rmtree(cache_dir())
    check(folder)
    (home / "old").rename(home / "new")
    check(home / "new/runs/a")  # in the cache
    shutil.rmtree(cache_dir())
    assert check(home / "new/runs/a").corpus.origin.sha256 == saved["origin"]["sha256"]
    shutil.rmtree(cache_dir())
    (home / "new/texts").rename(home / "far")
    with pytest.raises(UserError, match=r"no longer there, .*: say where it is with --data=PATH"):
        layout.load_run(home / "new/runs/a").open_dataset()
    check(home / "new/runs/a", str(home / "far"))
    shutil.rmtree(cache_dir())
    (home / "text").write_bytes(text)  # the text itself does as well
    check(home / "new/runs/a", str(home / "text"))
    (home / "far/b.txt").write_bytes(make_text(2000, 4))
    with pytest.raises(UserError, match="far is another text than the run's"):
        layout.load_run(home / "new/runs/a").open_dataset(str(home / "far"))


def test_files_packed_in_another_manner_are_the_text_too(home):
    folder, dataset = begin_run(home, shuffle="records", separator="\n")
    for name in FILES:
        (home / "old/texts" / name).unlink()
    shutil.rmtree(cache_dir())
    for i, seed in enumerate([3000, 2000, 999]):
        (home / "old/texts" / f"{i}").write_bytes(lzma.compress(make_text(seed, i + 1)))
    found = layout.load_run(folder).open_dataset(str(home / "old/texts"))
    assert found.corpus.sha256 == dataset.corpus.sha256
    assert layout.load_run(folder).open_dataset().corpus.sha256 == dataset.corpus.sha256


def test_a_changed_file_is_told_from_the_runs_text(home):
    folder, _ = begin_run(home, shuffle="files")
    shutil.rmtree(cache_dir())
    (home / "old/texts/b.txt").write_bytes(make_text(2000, 4))
    with pytest.raises(UserError, match="has changed since the run began: the sha256 of its text was"):
        layout.load_run(folder).open_dataset()


def test_a_published_text_is_shuffled_anew(home, monkeypatch):
    import hashlib

    from rnnlm.data.published import SOURCES, Source

    text = make_text(4000)
    monkeypatch.setitem(SOURCES, "published", Source("p.txt", "", 4000, f"sha256:{hashlib.sha256(text).hexdigest()}"))
    (home / "here/data").mkdir()
    (home / "here/data/p.txt").write_bytes(text)
    folder, dataset = begin_run(home, files="", corpus="published", shuffle="records", separator="\n")
    shutil.rmtree(cache_dir())
    assert layout.load_run(folder).open_dataset().corpus == dataset.corpus
    shutil.rmtree(cache_dir())
    (home / "here/data/p.txt").rename(home / "old/p.txt")  # beside the run
    assert layout.load_run(folder).open_dataset().splits == dataset.splits


def test_damaged_splits_of_shuffled_files_are_noticed(home):
    folder, _ = begin_run(home, shuffle="files")
    run = json.loads((folder / "run.json").read_text())
    for kind, name in (("bytes", "valid"), ("symbols", "valid")):
        changed = json.loads(json.dumps(run))
        changed["split"][kind][name][0] += 1
        (folder / "run.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match="run.json is damaged"):
            layout.load_run(folder).open_dataset()
    run["corpus"]["origin"]["colour"] = 1
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(UserError, match="run.json is damaged"):
        layout.load_run(folder).open_dataset()


def test_an_older_run_on_compressed_bytes_keeps_them(home):
    """It was trained before files were unpacked, and its config has none of the new keys."""
    files = str(home / "old/texts/a.gz")
    folder, dataset = begin_run(home, files=files, binary=True)
    assert dataset.corpus.path.read_bytes() == FILES["a.gz"] and dataset.corpus.origin is None
    saved = json.loads((folder / "config.json").read_text())
    for name in ("binary", "shuffle", "shuffle_seed", "separator"):
        del saved["data"][name]
    saved["data"]["corpus"] = "stdlib"  # the former default, which meant nothing beside files
    (folder / "config.json").write_text(json.dumps(saved))
    run = layout.load_run(folder)
    assert run.config.data == DataConfig(files=files, split=SPLIT, binary=True)
    assert run.open_dataset().corpus.sha256 == dataset.corpus.sha256
    given = Config(data=DataConfig(files=files, split=SPLIT))
    layout.refuse_other(folder, run.config, given)  # the command that began it goes on with it


def test_a_run_on_shuffled_records_goes_on_as_one_without_a_break(home):
    data = {"files": str(home / "old/texts"), "shuffle": "records", "separator": "\n"}
    config = tiny(**{f"data__{name}": value for name, value in data.items()}, sample__every=0)
    api.train(config, home / "whole", show=False)
    half = tiny(**{f"data__{name}": value for name, value in data.items()}, sample__every=0, train__steps=15)
    api.train(half, home / "broken", show=False)
    shutil.rmtree(cache_dir())
    (home / "old").rename(home / "new")
    broken = home / "new/broken"
    (home / "broken").rename(broken)
    longer = {"files": str(home / "new/texts")}
    config = tiny(**{f"data__{name}": value for name, value in (data | longer).items()}, sample__every=0)
    api.train(config, broken, show=False)
    same_bits(leaves(home / "whole", 30), leaves(broken, 30))
