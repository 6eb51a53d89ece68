"""Run folders of version 1 are evaluated to the recorded nats, sampled and resumed, and its compressed files decode."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm import api, language_model
from rnnlm.compression import codec
from rnnlm.compression.container import CompressedFile
from rnnlm.config import Config, ModelConfig
from rnnlm.errors import UserError
from rnnlm.evaluation.tally import Tally
from rnnlm.nn import model
from rnnlm.nn.leaves import from_version_1, named_leaves, to_version_1
from rnnlm.runs import checkpoint
from tests.conftest import ROOT, rnnlm, rows, slow

FIXTURES = ROOT / "tests" / "fixtures"
PATH = {"PYTHONPATH": str(ROOT)}
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


@pytest.fixture
def run(tmp_path, request):
    shutil.copytree(FIXTURES / request.param, tmp_path / request.param)
    return tmp_path / request.param, EXPECTED[request.param]


SLOW = ("lstm_4_layers", "gru_one_hot")
LONG = [slow(name) if name in SLOW else name for name in EXPECTED]


@pytest.mark.parametrize("run", LONG, indirect=True)
def test_an_older_run_is_evaluated_sampled_and_resumed(run):
    folder, expected = run
    for split, lanes in (("test", ["--lanes=1"]), ("valid", [])):
        score = json.loads(rnnlm("eval", f"--workdir={folder}", f"--split={split}", *lanes, "--json"))
        assert score["nats"] == pytest.approx(expected["nats"][split], rel=1e-5)
    if "dynamic" in expected:  # tuned settings and statistics are found by the digest of the params
        score = json.loads(rnnlm("eval", f"--workdir={folder}", "--dynamic=rms", "--json"))
        assert score["nats"] == pytest.approx(expected["dynamic"], rel=1e-5)
    drawn = rnnlm("sample", f"--workdir={folder}", "--temperature=0", "--length=60", "--prime=the ")
    assert drawn == expected["sample"] + "\n"
    steps = expected["resumed"]["steps"]
    rnnlm("train", f"--workdir={folder}", "--cpu_devices=1", f"--config.train.steps={steps}")
    last, valid = rows(folder)[-2:]
    assert last["loss"] == pytest.approx(expected["resumed"]["loss"], rel=1e-5)
    assert valid["valid_nats"] == pytest.approx(expected["resumed"]["valid_nats"], rel=1e-5)


def test_older_compressed_files_name_the_digests_of_their_params():
    """Their digests equal those of the params in the present layout; they decode if probabilities are equal here."""
    folder = FIXTURES / "lstm_4_layers"
    lm = language_model.load(folder)
    text = (FIXTURES / "words.txt").read_bytes()[:600]
    for kind, prediction in (("static", {}), ("dynamic", {"dynamic": [40, 2e-5, 1e-3]})):
        coded = (folder / f"head.{kind}.rnz").read_bytes()
        header = CompressedFile.from_bytes(coded, kind).header
        assert header.get("dynamic", []) == pytest.approx(prediction.get("dynamic", []))
        assert checkpoint.digest(lm.params).startswith(header["fingerprint"]["params"])
        try:
            assert lm.decompress(coded) == text
        except UserError as error:  # another CPU, other flags
            assert "cannot be decoded here" in str(error)
            assert "params was" not in str(error) and "statistics was" not in str(error)
    online = CompressedFile.from_bytes((folder / "head.online.rnz").read_bytes(), "online").header["online"]
    model, learning = codec.read_sections(online)
    assert (model.hidden, model.lstm.forget_bias, model.lstm.biases) == (8, 1.0, 1)
    assert learning.schedule == "cosine"


@pytest.mark.parametrize("name", EXPECTED)
def test_an_older_run_is_compared(name):
    [row] = api.compare([FIXTURES / name])
    assert row["bpc"] == Tally(EXPECTED[name]["nats"]["test"], 1200).bpc and row["protocol"] == "carry, 1 lane"


@given(layers=st.integers(1, 6), embedding=st.booleans())
def test_the_layout_of_version_1_is_converted_to_the_present_one_and_back(layers, embedding):
    rng = np.random.default_rng(layers)
    params = {
        f"layer_{i}": {name: rng.normal(size=(3, 6)) for name in ("W_h", "W_x", "upper.bias", "embedding")}
        for i in range(layers)
    }
    params |= {"output": {"b": rng.normal(size=2)}} | (
        {"embedding": {"table": rng.normal(size=(2, 3))}} if embedding else {}
    )
    present = named_leaves(params)
    old = to_version_1(present)
    assert ("upper.W_h" in old) == (layers > 3) and list(old) == sorted(old)
    again = from_version_1(old)
    assert again.keys() == present.keys() and all((again[name] == present[name]).all() for name in present)
    state = from_version_1({f"opt_state.1.mu.{name}": leaf for name, leaf in old.items()})
    assert state.keys() == {f"opt_state.1.mu.{name}" for name in present}


@pytest.mark.parametrize(
    "cell, sizes", [slow("flax.linen:GRUCell", (4, 4, 5, 4)), ("lstm", (4, 4, 5, 4)), ("rnn", (3,) * 4)]
)
def test_params_of_any_shape_have_a_digest(cell, sizes):
    config = ModelConfig(cell=cell, sizes=sizes)
    params = model.init_params(config, 5, jax.random.PRNGKey(0))
    leaves = to_version_1(named_leaves(params))
    assert any(name.startswith("upper.") for name in leaves) == (cell == "rnn")
    assert checkpoint.digest(params) != checkpoint.digest(jax.tree.map(lambda p: p + 1, params))


def test_a_copied_run_is_resumed_where_its_config_names_a_path_that_is_gone(tmp_path, monkeypatch):
    """The text is found by its digest beside the copy, and a config that names another text is refused."""
    folder = shutil.copytree(FIXTURES / "gru_one_hot", tmp_path / "there" / "gru_one_hot")
    shutil.copy(FIXTURES / "words.txt", tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    steps = EXPECTED["gru_one_hot"]["resumed"]["steps"]
    rnnlm("train", f"--workdir={folder}", "--cpu_devices=1", f"--config.train.steps={steps}", cwd=tmp_path, env=PATH)
    assert rows(folder)[-1]["step"] == steps
    (tmp_path / "other.txt").write_text("another text")
    config = Config.from_saved(json.loads((folder / "config.json").read_text()))
    with pytest.raises(UserError, match="is another text than the run's"):
        api.train(replace(config, data=replace(config.data, files=str(tmp_path / "other.txt"))), folder, show=False)
