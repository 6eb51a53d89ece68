"""A budget of parameters becomes a width once, and from then on the run has that width."""

import shutil

import pytest

import rnnlm as api
from rnnlm.commands import overrides
from rnnlm.errors import UserError
from rnnlm.nn import size
from rnnlm.runs.layout import load_run
from tests.conftest import leaves, rows, same_bits, tiny

BUDGET = 4_000.0
SHORT = {"train__steps": 4, "eval__every": 0, "sample__every": 0, "checkpoint__every": 2}


def config(text_file, **overrides):
    return tiny(**{"data__files": str(text_file), "model__params": BUDGET, "model__tied": True, **SHORT, **overrides})


@pytest.fixture(scope="module")
def sized(tmp_path_factory, text_file):
    """Train a run whose width is solved: -> its folder."""
    workdir = tmp_path_factory.mktemp("sized") / "run"
    api.train(config(text_file), workdir, show=False)
    return workdir


def test_the_saved_config_has_the_width_and_keeps_the_budget(sized):
    run = load_run(sized)
    kept, vocab = run.config.model, len(run.vocabulary)
    assert kept.params == BUDGET and kept.hidden == kept.embedding != 12
    assert run.parameters == size.count_params(kept, vocab) <= BUDGET
    assert api.load(sized, step="latest").config.model == kept


def test_the_run_equals_one_of_that_width(sized, tmp_path, text_file):
    kept = load_run(sized).config.model
    sizes = {"model__hidden": kept.hidden, "model__embedding": kept.embedding, "model__params": 0.0}
    api.train(config(text_file, **sizes), tmp_path / "run", show=False)
    assert rows(tmp_path / "run") == rows(sized)
    same_bits(leaves(tmp_path / "run", 4), leaves(sized, 4))


def test_it_is_resumed_by_the_command_that_began_it_and_by_its_folder(sized, tmp_path, text_file):
    for name, given in {"command": config(text_file), "folder": None}.items():
        run = shutil.copytree(sized, tmp_path / name)
        shutil.rmtree(run / "checkpoints" / "4")
        api.train(given, run, show=False)
        same_bits(leaves(run, 4), leaves(sized, 4))
        assert load_run(run).config == load_run(sized).config


def test_another_budget_is_another_run(sized, text_file):
    with pytest.raises(UserError, match="model.params: 4000.0 there, 9000.0 here"):
        api.train(config(text_file, model__params=9e3), sized, show=False)
    with pytest.raises(UserError, match="model.params: 4000.0 there, 0.0 here"):
        api.train(config(text_file, model__params=0.0, model__embedding=12), sized, show=False)


def test_what_the_budget_came_to_is_printed(tmp_path, text_file, capsys):
    values = overrides.read_config("tests/tiny.py", ["--config.model.params=10_000", "--config.train.steps=1"])
    values["data"]["files"] = str(text_file)
    api.train(values, tmp_path / "run")
    run = load_run(tmp_path / "run")
    line = f"model.params=10,000: hidden {run.config.model.hidden}, {run.parameters:,} parameters\n"
    assert line in capsys.readouterr().out


def test_an_embedding_that_follows_the_width_can_be_frozen(text_file):
    assert config(text_file, model__embedding=0, train__freeze=("embedding",)).model.modules[0] == "embedding"


def test_a_width_beside_a_budget_is_refused_where_it_is_an_override():
    for beside in ("hidden=7", "embedding=7"):
        given = [f"--config.model.{beside}", "--config.model.params=1e6", "--config.model.tied=True"]
        with pytest.raises(UserError, match=f"{beside} has no effect beside model.params=1e\\+06.*or add --config"):
            overrides.read_config("tests/tiny.py", given)
    given = ["--config.model.embedding=7", "--config.model.params=1e6"]
    assert overrides.read_config("tests/tiny.py", given)["model"]["embedding"] == 7


def test_an_impossible_budget_writes_nothing(tmp_path, text_file):
    with pytest.raises(UserError, match="model.params=5 is too small: with 22 symbols"):
        api.train(config(text_file, model__params=5.0), tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()
