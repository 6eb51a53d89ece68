"""The results that the README states, on real text."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT, SHARED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.exists(), reason="the shared texts are not beside this checkout"),
]


def test_tinyshakespeare(tmp_path):
    """The config reaches at most 2.30 bpc (1.595 nats) on the validation split, in a minute on 2 cores."""
    command = [
        sys.executable,
        "-m",
        "rnnlm",
        "train",
        "--config=configs/tinyshakespeare.py",
        f"--workdir={tmp_path}",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    assert json.loads((tmp_path / "result.json").read_text())["valid_bpc"] <= 2.30
    command[3:] = ["eval", f"--workdir={tmp_path}", "--split=valid", "--lanes=1", "--json", "--step=latest"]
    half, whole = (
        json.loads(subprocess.run([*command, *more], cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        for more in (["--symbols_to=55770"], [])
    )
    assert whole["count"] == 111_540 and whole["bpc"] <= 2.30
    assert half["bpc"] == pytest.approx(json.loads((tmp_path / "result.json").read_text())["valid_bpc"], abs=1e-3)
