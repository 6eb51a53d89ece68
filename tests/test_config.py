"""The schema agrees with configs/base.py, and refuses what is impossible in one sentence."""

import dataclasses
import json

import pytest

from configs import base
from rnnlm.config import Config, differences
from rnnlm.errors import UserError
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


def test_no_key_has_a_default():
    for section in [Config, *(f.type for f in dataclasses.fields(Config) if isinstance(f.type, type))]:
        if dataclasses.is_dataclass(section):
            assert all(f.default is dataclasses.MISSING for f in dataclasses.fields(section))
    for section in ("data", "model", "optim"):
        config = values()
        del config[section][next(iter(config[section]))]
        with pytest.raises(UserError, match=f"The config has no {section}"):
            Config.from_dict(config)


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
        ("model.cell", "lstn", "model.cell is 'lstn': expected one of rnn, lstm, gru"),
        ("model.tied", True, "model.embedding=0 differs from the last layer's width 128"),
        ("model.dtype", "float16", "expected one of float32, bfloat16"),
        ("train.remat", 20, "train.window=50 cannot be cut into chunks of train.remat=20 steps"),
        ("train.accumulate", 3, "train.batch=50 cannot be cut into train.accumulate=3"),
        ("train.steps", 0, "train.steps=0"),
        ("optim.learning_rate", -1.0, "not a positive number"),
        ("optim.learning_rate", float("inf"), "not a positive number"),
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
    section, _, key = name.rpartition(".")
    (config[section] if section else config)[key] = value
    with pytest.raises(UserError, match=complaint):
        Config.from_dict(config)


def test_differences_name_the_keys():
    a, b = tiny().as_dict(), tiny(model__hidden=5, seed=3).as_dict()
    assert differences(a, b) == [("model.hidden", 12, 5), ("seed", 0, 3)]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_is_whole(path):
    import importlib

    module = importlib.import_module(f"configs.{path.stem}")
    Config.from_dict(module.get_config().to_dict())
    assert module.__doc__
    source = path.read_text()
    assert "import rnnlm" not in source and "from rnnlm" not in source
