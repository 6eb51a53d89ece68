"""The config schema agrees with configs/base.py, and refuses impossible values in one sentence."""

import dataclasses
import json

import pytest

from configs import base
from rnnlm import api
from rnnlm.commands import overrides
from rnnlm.commands.overrides import apply_overrides
from rnnlm.config import Config, default_values, describe_keys
from rnnlm.errors import UserError
from rnnlm.schema import differences, fields
from tests.conftest import ROOT, tiny


def values():
    return base.get_config().to_dict()


def test_base_holds_every_key_and_survives_json():
    config = Config.from_dict(values())
    assert Config.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    names = {f"{s}.{k}" for s, v in config.as_dict().items() if isinstance(v, dict) for k in v}
    assert {
        "data.corpus", "data.files", "data.split", "data.symbols", "model.cell", "model.layers", "model.hidden",
        "model.embedding", "model.dropout", "train.batch", "train.window", "train.steps", "optim.name",
        "optim.learning_rate", "optim.clip_norm", "eval.every", "checkpoint.every", "sample.every",
    } <= names  # fmt: skip


def test_each_key_states_its_reason_and_the_value_of_older_configs():
    """Keys of version 1 have no `before`, since every saved config has them; later ones must."""
    first = set(json.loads((ROOT / "tests/fixtures/config_keys_version_1.json").read_text()))
    for name, field, _ in fields(Config):
        assert field.metadata["about"]
        assert (field.metadata["before"] is dataclasses.MISSING) == (name in first), name


def test_a_missing_key_of_a_config_file_has_its_default():
    assert Config.from_dict({}) == Config() == Config.from_dict(values())
    assert Config.from_dict({"model": {"dropout": 0.5}}).model.dropout_output == 0.5


def test_saved_configs_of_each_version_are_read():
    config = tiny(model__lstm__forget_bias=2.0, model__lstm__biases=2, sample__prompt="a")
    saved = json.loads(json.dumps(config.as_saved()))
    assert Config.from_saved(saved) == config
    first = json.loads((ROOT / "tests/fixtures/lstm_4_layers/config.json").read_text())
    read = Config.from_saved(first)
    assert (read.model.lstm.forget_bias, read.model.lstm.biases, read.model.options) == (1.5, 1, {})
    with pytest.raises(UserError, match="of version 99, but this rnnlm knows versions up to 2"):
        Config.from_saved(saved | {"version": 99})
    del saved["train"]["batch"]
    with pytest.raises(UserError, match="The saved config has no train.batch"):
        Config.from_saved(saved)


def test_old_names_are_mapped_and_both_are_an_error():
    assert Config.from_dict({"model": {"forget_bias": 3.0}}).model.lstm.forget_bias == 3.0
    config = base.get_config()
    config.model.forget_bias, config.sample.prime = 3.0, "x"  # as config files of version 1 do
    read = api.as_config(config)
    assert (read.model.lstm.forget_bias, read.sample.prompt) == (3.0, "x")
    both = {"model": {"forget_bias": 3.0, "lstm": {"forget_bias": 1.0}}}
    with pytest.raises(UserError, match="model.forget_bias is the old name of model.lstm.forget_bias, and both"):
        Config.from_dict(both)
    config.model.lstm.forget_bias = 2.0
    with pytest.raises(UserError, match="model.forget_bias is the old name of model.lstm.forget_bias, and both"):
        api.as_config(config)


def test_an_override_wins_over_an_old_name_in_the_file():
    config = base.get_config()
    config.model.forget_bias = 3.0
    values = apply_overrides(config, ["--config.model.lstm.forget_bias=1.0"])
    assert Config.from_dict(values).model.lstm.forget_bias == 1.0


def test_an_option_of_another_cell_is_refused_where_it_is_an_override():
    given = ["--config.model.cell=gru", "--config.model.lstm.peepholes=True"]
    with pytest.raises(UserError, match=r"lstm.peepholes=True has no effect .*=gru.*or add --config.model.cell=lstm"):
        apply_overrides(base.get_config(), given)
    assert apply_overrides(base.get_config(), given[1:])["model"]["lstm"]["peepholes"]


def test_an_unknown_key_without_a_near_one_names_those_of_its_section():
    with pytest.raises(UserError, match=r"model.minlstm.x; known here: (model\.\w+, )+model\.zoneout_h\.$"):
        apply_overrides(base.get_config(), ["--config.model.minlstm.x=3"])
    with pytest.raises(UserError, match=r"no config key qqq; known here: .*data.corpus, .*optim.name"):
        apply_overrides(base.get_config(), ["--config.qqq=3"])


def test_options_are_what_json_keeps():
    config = Config.from_dict({"model": {"cell": "a:b", "options": {"a": (1, 2), "b": {"c": 1.5}}}})
    assert config.model.options == {"a": [1, 2], "b": {"c": 1.5}}
    assert Config.from_saved(json.loads(json.dumps(config.as_saved()))) == config
    for options, complaint in (({"a": {1, 2}}, "does not hold it"), ({1: 2}, "keys that are no text: 1")):
        with pytest.raises(UserError, match=f"model.options .*{complaint}"):
            Config.from_dict({"model": {"options": options}})


def test_the_config_of_a_run_is_a_config():
    config = Config.from_dict({"model": {"hidden": 7}})
    assert api.as_config(config.as_saved()) == config


def test_base_prints_every_key():
    printed = describe_keys()
    assert all(f"{name} = " in printed for name, _ in default_values())
    assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.parametrize(
    "name, value, complaint",
    [
        ("model.hiden", 3, "no config key model.hiden; did you mean model.hidden"),
        ("model.hidden", 0, "model.hidden=0 is impossible: it must be at least 1"),
        ("model.hidden", "big", "model.hidden is 'big' .str., but it takes int"),
        ("model.hidden", 2.5, "takes int"),
        ("model.hidden", True, "takes int"),
        ("model.sizes", (3, 0), "model.sizes=0 is impossible"),
        ("model.dropout", 1.5, "model.dropout=1.5 is impossible: it must be at least 0 and below 1"),
        ("model.dropout", 1.0, "impossible"),
        ("model.dropout", float("nan"), "impossible"),
        ("model.lstm.biases", 3, "model.lstm.biases is 3: expected one of 1, 2"),
        ("model.lstm.input_gate", "tied", "expected one of free, coupled, capped"),
        ("model.mogrifier.rank", 0, "it must be at least 1, or -1 for whole matrices"),
        ("model.mogrifier.rounds", -1, "model.mogrifier.rounds=-1 is impossible"),
        ("model.mogrifier.input_gate", "coupled", "expected one of free, capped"),
        ("model.hyperlstm.hyper_units", -1, "model.hyperlstm.hyper_units=-1 is impossible: it must be at least 0"),
        ("model.hyperlstm.embedding", 0, "model.hyperlstm.embedding=0 is impossible: it must be at least 1"),
        ("model.hyperlstm.layer_norm", 1, "model.hyperlstm.layer_norm is 1 .int., but it takes bool"),
        ("model.hyperlstm.forget_bias", float("inf"), "model.hyperlstm.forget_bias=inf is not a finite number"),
        ("model.slstm.heads", 0, "model.slstm.heads=0 is impossible: it must be at least 1"),
        ("model.slstm.forget_gate", "tanh", "model.slstm.forget_gate is 'tanh': expected one of sigmoid, exp"),
        ("model.rhn.recurrence_depth", 0, "model.rhn.recurrence_depth=0 is impossible"),
        ("model.fsrnn.fast", 1, "model.fsrnn.fast=1 is impossible: it must be at least 2"),
        ("model.indrnn.bound", 0.0, "model.indrnn.bound=0.0 is impossible"),
        ("model.qrnn.window", 3, "expected one of 1, 2"),
        ("model.lru.r_min", 0.99999999, "r_min 0.99999 at most"),
        ("model.init_gain", 0.0, "model.init_gain=0.0 is impossible"),
        ("model.lru.r_min", 1.0, "0 <= r_min < r_max <= 1"),
        ("model.lru.max_phase", 7.0, "model.lru.max_phase=7.0 is impossible"),
        ("model.rglru.heads", 0, "model.rglru.heads=0"),
        ("model.matrix_lstm.heads", 0, "model.matrix_lstm.heads=0"),
        ("model.matrix_lstm.chunk", 0, "model.matrix_lstm.chunk=0"),
        ("model.irnn.scale", float("nan"), "model.irnn.scale=nan is not a finite number"),
        ("model.tied", True, "model.embedding=0 differs from the 128 outputs"),
        ("model.dtype", "float16", "expected one of float32, bfloat16"),
        ("train.drop_state", 1.5, "train.drop_state=1.5 is impossible: it is a probability"),
        ("train.remat", 20, "train.window=50 cannot be cut into chunks of train.remat=20 steps"),
        ("train.accumulate", 3, "train.batch=50 cannot be cut into train.accumulate=3"),
        ("train.steps", -1, "train.steps=-1"),
        ("optim.learning_rate", -1.0, "not a positive number"),
        ("optim.learning_rate", float("inf"), "not a positive number"),
        ("optim.clip_norm", float("inf"), "must be a finite number from 0 up"),
        ("optim.clip_value", 1.0, "both set"),
        ("optim.ema", 1.0, "impossible"),
        ("optim.eps", 0.0, "optim.eps=0.0 is not a positive"),
        ("checkpoint.keep", 0, "checkpoint.keep=0"),
        ("data.symbols", "word", "expected one of byte, byte_seen, char"),
        ("seed", -1, "seed=-1"),
    ],
)
def test_impossible_values_are_refused(name, value, complaint):
    config = values()
    *sections, key = name.split(".")
    section = config
    for step in sections:
        section = section[step]
    section[key] = value
    with pytest.raises(UserError, match=complaint):
        Config.from_dict(config)


def test_differences_name_the_keys():
    a, b = tiny().as_dict(), tiny(model__hidden=5, seed=3).as_dict()
    assert differences(a, b) == [("model.hidden", 12, 5), ("seed", 0, 3)]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_is_valid_and_documented(path):
    import importlib

    module = importlib.import_module(f"configs.{path.stem}")
    Config.from_dict(module.get_config().to_dict())
    assert module.__doc__
    source = path.read_text()
    assert path.stem == "base" or ("import rnnlm" not in source and "from rnnlm" not in source)


def test_a_corpus_beside_files_is_refused_but_in_configs_saved_before():
    for corpus in ("stdlib", "enwik8"):
        with pytest.raises(UserError, match="data.corpus='.*' and data.files='a.txt' are both set: choose one"):
            Config.from_dict({"data": {"files": "a.txt", "corpus": corpus}})
    assert Config.from_dict({"data": {"files": "a.txt"}}).data.corpus == ""
    saved = tiny(data__files="a.txt").as_saved()
    saved["data"]["corpus"] = "stdlib"  # the default of that time, which meant nothing beside files
    assert Config.from_saved(saved) == tiny(data__files="a.txt")
    saved["data"]["files"] = ""
    assert Config.from_saved(saved).data.corpus == "stdlib"


def test_modules_to_freeze_are_named_with_commas():
    for word, frozen in {"layer_0,output": ("layer_0", "output"), "('layer_0',)": ("layer_0",), "": ()}.items():
        values = overrides.read_config("tests/tiny.py", [f"--config.train.freeze={word}"])
        assert Config.from_dict(values).train.freeze == frozen


@pytest.mark.parametrize(
    "keys, complaint",
    [
        (
            {"model__weight_drop": 0.5, "model__weight_norm": True},
            "and model.weight_norm exclude each other",
        ),
        (
            {"data__split": "files", "data__files": "ptb*.txt"},
            "does not name three: separate them by commas",
        ),
        ({"model__input_projection": 4}, "model.input_projection=4 is for model.block=highway, but this is plain"),
        (
            {"model__input_projection": 12, "model__block": "highway", "model__embedding": 12},
            "model.input_projection=12 narrows nothing, since a layer has 12 outputs",
        ),
        ({"optim__schedule": "plateau", "eval__every": 0}, "decide by validations, but eval.every=0 makes none"),
        ({"optim__average": "patience", "eval__every": 0}, "decide by validations, but eval.every=0 makes none"),
    ],
)
def test_values_that_exclude_each_other_are_refused(keys, complaint):
    with pytest.raises(UserError, match=complaint):
        tiny(**keys)
