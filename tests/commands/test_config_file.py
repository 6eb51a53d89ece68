"""What --config names is read, or what is wrong with it is said with file and line."""

import json
import re

import pytest

from rnnlm import config as keys
from rnnlm.commands import main, overrides
from rnnlm.commands.config_file import load_config
from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.schema import fields
from tests.conftest import ROOT

FIXTURES = ROOT / "tests" / "fixtures"
HEAD = "from configs import base\n\n\ndef get_config():\n    config = base.get_config()\n"


@pytest.mark.parametrize(
    "source, complaint",
    [
        (HEAD + "    config.model.hidden = 1 / 0\n", "(CONFIG:6: ZeroDivisionError: division by zero): fix it"),
        (HEAD + "    config.model.hidden = = 1\n", "(CONFIG:6: SyntaxError: invalid syntax)"),
        (HEAD + "    config.modle.hidden = 1\n", "(CONFIG:6: AttributeError: "),
        (HEAD + "    config.model.hidden = 'wide'\n", "(CONFIG:6: TypeError: "),
        (HEAD + "    open('/no/such')\n", "(CONFIG:6: FileNotFoundError: "),
        ("import json\n\nimport not_there\n", "(CONFIG:3: ModuleNotFoundError: No module named 'not_there')"),
        ("import sys\nsys.exit(3)\n", "(CONFIG:2: it ends the program by sys.exit)"),
        ("def get_config():\n    raise ValueError\n", "(CONFIG:2: ValueError: without a message)"),
        ("from helper_of_a_config import third\n\nthird()\n", "helper_of_a_config.py:2: KeyError: 'third')"),
        ("import helper_that_is_none\n", "helper_that_is_none.py:1: SyntaxError: "),
        ("lr = 1\n", "has no function get_config: define one that returns a ConfigDict."),
        (HEAD, "(get_config returns NoneType): return a ConfigDict"),
        ("def get_config():\n    return {'seed': 1}\n", "(get_config returns dict): return a ConfigDict"),
        ("def get_config(a):\n    return a\n", "(TypeError: get_config() missing 1 required positional argument: 'a')"),
        ("\0", "is no sound config file"),
        ("\xff", "is no sound config file"),
    ],
)
def test_a_config_file_that_fails_is_named_with_its_line(tmp_path, monkeypatch, source, complaint):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "helper_of_a_config.py").write_text("def third():\n    return {}['third']\n")
    (tmp_path / "helper_that_is_none.py").write_text("def :\n")
    path = tmp_path / "mine.py"
    path.write_bytes(source.encode("latin-1"))
    with pytest.raises(UserError) as refused:
        load_config(str(path))
    assert complaint.replace("CONFIG", str(path)) in str(refused.value)
    assert str(refused.value).startswith(f"--config={path} ")


def test_a_line_is_named_by_a_path_as_short_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("1 / 0\n")
    for file in ("mine.py", "mine.py:argument"):
        with pytest.raises(UserError, match=rf"--config={file} is no sound config file \(mine.py:1: ZeroDivision"):
            load_config(file)
    with pytest.raises(UserError, match=r"--config=yours.py cannot be read \(No such file or directory\): name a"):
        load_config("yours.py")


def test_an_argument_reaches_the_config_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        HEAD.replace("get_config():", "get_config(name='a'):") + "    config.data.files = name\n    return config\n"
    )
    for argument, files in (("", "a"), (":b:c", "b:c")):
        assert load_config(f"{path}{argument}").data.files == files


def test_a_saved_config_is_read_whatever_its_version_and_overridden():
    for name in ("lstm_4_layers", "gru_one_hot"):
        saved = Config.from_saved(json.loads((FIXTURES / name / "config.json").read_text()))
        for file in (FIXTURES / name / "config.json", FIXTURES / name):
            found = Config.from_dict(overrides.read_config(str(file), ["--config.train.steps=77"]))
            assert found.train.steps == 77 and found.data == saved.data and found.model == saved.model


def test_a_saved_config_that_is_none_is_refused(tmp_path):
    path = tmp_path / "config.json"
    for text, complaint in (
        ("{", "cannot be read"),
        ("{}", f"--config={path} is no config of a run: The saved config has no "),
        (json.dumps({"version": 99}), "use a newer rnnlm"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=re.escape(complaint)):
            load_config(str(path))
    saved = Config().as_saved()
    saved["model"]["cell"] = "somebody.cells:Cell"
    path.write_text(json.dumps(saved))
    with pytest.raises(UserError, match="has the cell Cell of the module somebody.cells, which would be imported"):
        load_config(str(path))
    assert load_config(str(path), trust_code=True).model.cell == "somebody.cells:Cell"


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["model.hidden=1x", "model.hidden=64"], "--config.model.hidden=1x and --config.model.hidden=64 set one key"),
        (["seed=1", "model.hidden=64", "seed=1"], "--config.seed=1 and --config.seed=1 set one key: leave out one"),
        (["model.forget_bias=1.0", "model.forget_bias=2.0"], "set one key"),
        (["model.dropout_input=0.1", "model.dropout=much"], "--config.model.dropout=much does not fit: it takes float"),
    ],
)
def test_the_override_at_fault_is_named(words, complaint):
    with pytest.raises(UserError, match=re.escape(complaint)):
        overrides.read_config("tests/tiny.py", [f"--config.{word}" for word in words])


@pytest.mark.parametrize(
    "given, key",
    [
        ("optim.lr", "optim.learning_rate"),
        ("lr", "optim.learning_rate"),
        ("train.learning_rate", "optim.learning_rate"),
        ("model.hidden_size", "model.hidden"),
        ("model.num_layers", "model.layers"),
        ("train.batch_size", "train.batch"),
        ("seq_length", "train.window"),
        ("train.max_iters", "train.steps"),
        ("model.dropout_rate", "model.dropout"),
        ("grad_clip", "optim.clip_norm"),
        ("model.hiden", "model.hidden"),
    ],
)
def test_the_usual_name_of_a_key_suggests_ours_and_is_not_accepted(given, key):
    wanted = f"There is no config key {given}; did you mean {key}?"
    with pytest.raises(UserError, match=re.escape(wanted)):
        overrides.read_config("tests/tiny.py", [f"--config.{given}=1"])
    nested: dict[str, object] = {}
    section, _, name = given.rpartition(".")
    (nested.setdefault(section, {}) if section else nested)[name] = 1
    with pytest.raises(UserError, match=re.escape(wanted)):
        Config.from_dict(nested)


def test_epochs_are_explained(capsys):
    assert main.main(["train", "--config=tests/tiny.py", "--workdir=x", "--config.train.epochs=3"]) == 2
    assert (
        "did you mean train.steps? It counts windows of train.batch x train.window symbols" in capsys.readouterr().err
    )


def test_each_alias_stands_for_one_key_and_is_none_itself():
    known = {name for name, _, _ in fields(Config)}
    words = [word for line in keys.ALIASES.values() for word in line.split()]
    assert set(keys.ALIASES) <= known and len(words) == len(set(words))
    assert not set(words) & {name.rpartition(".")[2] for name in known}
