"""Run folders that version 1 wrote are evaluated to the same nats, sampled, resumed and compared."""

import json
import shutil

import pytest

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
