"""Tuned options are stored by the digest of the params, in files of the format of older versions."""

import json

import numpy as np
import pytest

from rnnlm.errors import UserError
from rnnlm.evaluation.dynamic import Adaptation
from rnnlm.runs import checkpoint
from rnnlm.runs.adaptation import load_tuned, save_tuned
from rnnlm.runs.layout import RunDir
from tests.conftest import ROOT

PARAMS = {"layer_0": {"W_h": np.ones((2, 8), np.float32)}}


def test_tuned_options_come_back(tmp_path):
    assert load_tuned(tmp_path, PARAMS, "rms") is None
    options = Adaptation("rms", 40, 2e-5, 1e-3, "global")
    save_tuned(tmp_path, PARAMS, 1.75, options)
    assert load_tuned(tmp_path, PARAMS, "rms", "global") == options
    for other in ((PARAMS, "rms", "tensor"), (PARAMS, "sgd", "global"), ({"a": np.ones(3)}, "rms", "global")):
        assert load_tuned(tmp_path, *other) is None


def test_the_file_has_the_format_of_older_versions(tmp_path):
    fixture = ROOT / "tests" / "fixtures" / "lstm_4_layers" / "dynamic" / "tuned-25cdab6db4e65421-rms-tensor.json"
    saved = json.loads(fixture.read_text())
    path = RunDir(tmp_path).tuned(checkpoint.digest(PARAMS), "rms", "tensor")
    path.parent.mkdir()
    path.write_bytes(fixture.read_bytes())
    options = load_tuned(tmp_path, PARAMS, "rms")
    assert [options.segment, options.learning_rate, options.decay] == saved["settings"]
    save_tuned(tmp_path, PARAMS, saved["bpc"], options)
    assert json.loads(path.read_text()).keys() == saved.keys() and json.loads(path.read_text()) == saved


def test_a_damaged_file_is_named(tmp_path):
    save_tuned(tmp_path, PARAMS, 1.75, Adaptation("sgd", 20, 0.1, 0.0))
    path = RunDir(tmp_path).tuned(checkpoint.digest(PARAMS), "sgd", "tensor")
    path.write_text('{"settings": [1, 2]}')
    with pytest.raises(UserError, match="is damaged .*: delete it and tune again"):
        load_tuned(tmp_path, PARAMS, "sgd")
