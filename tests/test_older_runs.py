"""Run folders that version 1 wrote are evaluated to the same nats, sampled, resumed and compared."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm import language_model
from rnnlm.compression import codec
from rnnlm.compression.container import CompressedFile
from rnnlm.errors import UserError
from rnnlm.nn.leaves import from_version_1, named_leaves, to_version_1
from rnnlm.runs import checkpoint
from tests.conftest import ROOT, rnnlm, rows

FIXTURES = ROOT / "tests" / "fixtures"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


@pytest.fixture
def run(tmp_path, request):
    shutil.copytree(FIXTURES / request.param, tmp_path / request.param)
    return tmp_path / request.param, EXPECTED[request.param]


@pytest.mark.parametrize("run", EXPECTED, indirect=True)
def test_an_older_run_is_evaluated_sampled_and_resumed(run):
    folder, expected = run
    for split, lanes in (("test", ["--lanes=1"]), ("valid", [])):
        found = json.loads(rnnlm("eval", f"--workdir={folder}", f"--split={split}", *lanes, "--json"))
        assert found["nats"] == pytest.approx(expected["nats"][split], rel=1e-5)
    if "dynamic" in expected:  # tuned settings and statistics are found by the digest of the params
        found = json.loads(rnnlm("eval", f"--workdir={folder}", "--dynamic=rms", "--json"))
        assert found["nats"] == pytest.approx(expected["dynamic"], rel=1e-5)
    drawn = rnnlm("sample", f"--workdir={folder}", "--temperature=0", "--length=60", "--prime=the ")
    assert drawn == expected["sample"] + "\n"
    steps = expected["resumed"]["steps"]
    rnnlm("train", f"--workdir={folder}", "--cpu_devices=1", f"--config.train.steps={steps}")
    last, valid = rows(folder)[-2:]
    assert last["loss"] == pytest.approx(expected["resumed"]["loss"], rel=1e-5)
    assert valid["valid_nats"] == pytest.approx(expected["resumed"]["valid_nats"], rel=1e-5)


def test_older_compressed_files_name_the_params_that_they_were_made_with():
    """Their digests are those of the present layout's params; where probabilities are the machine's, they decode."""
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


@given(layers=st.integers(1, 6), embedding=st.booleans())
def test_the_layout_of_version_1_and_the_present_one_are_told_from_each_other(layers, embedding):
    rng = np.random.default_rng(layers)
    params = {f"layer_{i}": {"W_h": rng.normal(size=(3, 6)), "W_x": rng.normal(size=(3, 6))} for i in range(layers)}
    params |= {"output": {"b": rng.normal(size=2)}} | (
        {"embedding": {"table": rng.normal(size=(2, 3))}} if embedding else {}
    )
    now = named_leaves(params)
    old = to_version_1(now)
    assert ("upper.W_h" in old) == (layers > 3) and list(old) == sorted(old)
    again = from_version_1(old)
    assert again.keys() == now.keys() and all((again[name] == now[name]).all() for name in now)
    state = from_version_1({f"opt_state.1.mu.{name}": leaf for name, leaf in old.items()})
    assert state.keys() == {f"opt_state.1.mu.{name}" for name in now}
