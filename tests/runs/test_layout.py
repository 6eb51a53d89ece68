"""Run folders of an older version open, and find their text after both were moved or copied."""

import json
import shutil

import pytest

from rnnlm.errors import UserError
from rnnlm.files import cache_dir
from rnnlm.runs import layout
from rnnlm.runs.layout import load_run
from tests.conftest import ROOT

FIXTURES = ROOT / "tests" / "fixtures"
NAMES = ("lstm_4_layers", "gru_one_hot")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Change to a working directory, cache and data folder without the text."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RNNLM_DATA_DIR", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def copy_run(folder, name="lstm_4_layers"):
    """Copy the small files of a fixture's run folder: -> the copy."""
    folder.mkdir(parents=True)
    for path in (FIXTURES / name).glob("*.json*"):
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_an_older_run_folder_opens(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = load_run(FIXTURES / name)
    saved = json.loads((FIXTURES / name / "config.json").read_text())
    assert run.config.data.files == "tests/fixtures/words.txt" and run.started_in is None
    assert run.config_sha256 == layout.json_digest(dict(reversed(saved.items())))
    assert run.open_dataset().slice("test").begin == run.splits["test"][0] == 4800


@pytest.mark.parametrize("place", ["runs/words.txt", "words.txt", "tests/fixtures/words.txt", "runs/a/words.txt"])
def test_a_run_folder_moved_with_its_text_finds_it(elsewhere, place):
    folder, text = copy_run(elsewhere / "new" / "runs" / "a"), elsewhere / "new" / place
    text.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(FIXTURES / "words.txt", text)
    data = load_run(folder).open_dataset()
    assert data.corpus.path == text and data.splits["test"] == (4800, 6000)
    assert data.corpus.name == "tests/fixtures/words.txt"


def test_a_run_folder_copied_without_its_text_finds_it_where_the_run_was_started(elsewhere):
    folder = copy_run(elsewhere / "copy" / "a")
    run = json.loads((folder / "run.json").read_text())
    run["starts"][-1]["cwd"] = str(ROOT)
    (folder / "run.json").write_text(json.dumps(run))
    assert load_run(folder).open_dataset().corpus.path == FIXTURES / "words.txt"


def test_the_usual_places_and_the_cache_are_searched(elsewhere, monkeypatch):
    folder = copy_run(elsewhere / "copy" / "a")
    run = load_run(folder)
    joined = cache_dir() / "joined" / f"{run.sha256}.txt"
    joined.parent.mkdir(parents=True)
    shutil.copy(FIXTURES / "words.txt", joined)
    assert run.open_dataset().corpus.path == joined
    monkeypatch.setenv("RNNLM_DATA_DIR", str(FIXTURES))
    assert run.open_dataset().corpus.path == FIXTURES / "words.txt"


def test_a_missing_text_is_reported(elsewhere):
    with pytest.raises(UserError, match=r"text tests/fixtures/words\.txt \(6,000 bytes, .*say where .* --data=PATH"):
        load_run(copy_run(elsewhere / "copy" / "a")).open_dataset()


def test_the_text_may_be_named(elsewhere):
    run = load_run(copy_run(elsewhere / "copy" / "a"))
    for data in ("words.txt", "words*", "."):
        shutil.copy(FIXTURES / "words.txt", elsewhere / "here")
        assert run.open_dataset(data).corpus.path.name == "words.txt"
    (elsewhere / "here" / "other.txt").write_bytes((FIXTURES / "words.txt").read_bytes().replace(b"cost", b"cast", 1))
    with pytest.raises(UserError, match=rf"other.txt is another text .* [0-9a-f]{{64}}, but .* {run.sha256}"):
        run.open_dataset("other.txt")
    with pytest.raises(UserError, match="--data=gone names no file"):
        run.open_dataset("gone")


def test_a_changed_text_is_refused_unless_the_old_one_is_beside_the_run(elsewhere):
    folder = copy_run(elsewhere / "copy" / "a")
    config = json.loads((folder / "config.json").read_text())
    config["data"]["files"] = str(elsewhere / "words.txt")
    (folder / "config.json").write_text(json.dumps(config))
    for text in (b"shorter", (FIXTURES / "words.txt").read_bytes().replace(b"cost", b"cast", 1)):
        (elsewhere / "words.txt").write_bytes(text)
        with pytest.raises(UserError, match="has changed since the run began: the sha256 of .* was a2a339b9"):
            load_run(folder).open_dataset()
    shutil.copy(FIXTURES / "words.txt", folder)
    assert load_run(folder).open_dataset().corpus.path == folder / "words.txt"


def test_texts_of_several_files_are_found(elsewhere):
    folder, text = copy_run(elsewhere / "new" / "runs" / "a"), (FIXTURES / "words.txt").read_bytes()
    texts = elsewhere / "new" / "texts"
    texts.mkdir()
    (texts / "1.txt").write_bytes(text[:2000])
    (texts / "2.txt").write_bytes(text[2000:])
    config = json.loads((folder / "config.json").read_text())
    for files in ("/gone/texts", "/gone/texts/*.txt", "/gone/texts/1.txt,/gone/texts/2.txt", "/gone/**/texts/**/*.txt"):
        config["data"]["files"] = files
        (folder / "config.json").write_text(json.dumps(config))
        assert load_run(folder).open_dataset().corpus.path.read_bytes() == text
        shutil.rmtree(cache_dir())
