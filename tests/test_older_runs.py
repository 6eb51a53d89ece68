"""Run folders of version 1 are evaluated to the recorded nats, sampled and resumed, and its compressed files decode."""

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


@given(layers=st.integers(1, 6), embedding=st.booleans())
def test_the_layout_of_version_1_is_converted_to_the_present_one_and_back(layers, embedding):
    rng = np.random.default_rng(layers)
    params = {f"layer_{i}": {"W_h": rng.normal(size=(3, 6)), "W_x": rng.normal(size=(3, 6))} for i in range(layers)}
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
