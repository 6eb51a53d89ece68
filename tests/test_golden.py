"""Known results: the losses of two tiny runs to the bit, and what the README states of a real text.

A change that is meant to change numbers records them again by `python -m tests.test_golden`.
"""

import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import ROOT, SHARED, configure_jax, slow

RECORDED = ROOT / "tests" / "fixtures" / "golden.json"
TEXT = {
    "data": {"files": str(ROOT / "tests" / "fixtures" / "words.txt"), "split": "0.8/0.1/0.1", "symbols": "byte_seen"}
}
COMMON = {
    "train": {"batch": 4, "window": 8, "steps": 12, "drop_state": 0.02},
    "eval": {"every": 6, "lanes": 2, "warmup": 16, "max_symbols": 0},
    "sample": {"every": 0},
    "log": {"every": 1},
    "seed": 7,
}
RUNS = {
    "lstm": {
        "model": {"cell": "lstm", "layers": 2, "hidden": 12, "init_gain": 1.0},
        "optim": {"name": "adam", "learning_rate": 0.01, "schedule": "cosine", "warmup": 3, "clip_norm": 1.0},
    },
    "gru": {
        "model": {
            "cell": "gru",
            "layers": 4,
            "hidden": 8,
            "embedding": 8,
            "tied": True,
            "init_gain": 1.0,
            "dropout": 0.2,
        },
        "optim": {
            "name": "sgd",
            "learning_rate": 0.5,
            "momentum": 0.9,
            "clip_value": 0.5,
            "clip_norm": 0.0,
            "ema": 0.8,
        },
    },
}
"""Configs that say all that decides a loss, so that new defaults change nothing."""


def machine() -> dict[str, str]:
    """Describe what the bits of a loss depend on besides the code and its config."""
    from rnnlm.runtime import devices

    versions = {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy", "optax")}
    return versions | {"cpu": devices.cpu_kind()}


def losses(name: str, folder: Path) -> dict[str, list[float]]:
    """Train a run: -> its training losses step by step, and the nats of its validations."""
    import rnnlm

    rows: list[dict[str, float]] = []
    rnnlm.train(TEXT | COMMON | RUNS[name], folder, rows.append, show=False)
    return {key: [row[key] for row in rows if key in row] for key in ("loss", "valid_nats")}


@pytest.mark.parametrize("name", [name if name == "lstm" else slow(name) for name in RUNS])
def test_a_tiny_run_has_the_recorded_losses(tmp_path, name):
    """They are equal to the bit on the kind of machine that recorded them, to rounding on others."""
    recorded = json.loads(RECORDED.read_text())
    found, wanted = losses(name, tmp_path / "run"), recorded["runs"][name]
    assert [len(found[key]) for key in ("loss", "valid_nats")] == [12, 2]
    for key in wanted:
        assert found[key] == pytest.approx(wanted[key], rel=1e-5), key
        assert recorded["machine"] != machine() or found[key] == wanted[key], key


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the shared texts are not beside this checkout")
def test_tinyshakespeare(tmp_path):
    """The config reaches at most 2.30 bpc (1.595 nats) on the validation split, even in half of its steps."""
    command = [
        sys.executable,
        "-m",
        "rnnlm",
        "train",
        "--config=configs/tinyshakespeare.py",
        f"--workdir={tmp_path}",
        "--config.train.steps=2000",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    assert json.loads((tmp_path / "result.json").read_text())["valid_bpc"] <= 2.30
    command[3:] = ["eval", f"--workdir={tmp_path}", "--split=valid", "--json", "--step=latest"]
    half, whole = (
        json.loads(subprocess.run([*command, *more], cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        for more in (["--lanes=1", "--symbols_to=55770"], [])
    )
    assert whole["count"] == 111_540 and whole["bpc"] <= 2.30
    assert half["bpc"] == pytest.approx(json.loads((tmp_path / "result.json").read_text())["valid_bpc"], abs=1e-3)


if __name__ == "__main__":
    configure_jax()
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: losses(name, Path(folder) / name) for name in RUNS}
    RECORDED.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")
