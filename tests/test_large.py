"""A text of 100,000,000 bytes is split as by Graves, and is not held in memory."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import rnnlm

SIZE, HELD_OUT = 100_000_000, 4_000_000


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Write letters into the first 96 million bytes and digits into the last 4 million, of equal distribution."""
    path = tmp_path_factory.mktemp("large") / "large.bin"
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefgh", np.uint8)[rng.integers(0, 8, 1_000_000)].tobytes()
    digits = np.frombuffer(b"01234567", np.uint8)[rng.integers(0, 8, 1_000_000)].tobytes()
    with path.open("wb") as out:
        for _ in range(96):
            out.write(letters)
        for _ in range(4):
            out.write(digits)
    assert path.stat().st_size == SIZE
    yield path
    path.unlink()


@pytest.mark.slow
def test_it_trains_on_the_first_96_million_and_is_scored_on_the_last_4(large, tmp_path):
    workdir = tmp_path / "run"
    flags = (
        "--config=tests/tiny.py", f"--workdir={workdir}", f"--config.data.files={large}",
        "--config.data.split=graves_96_4", "--config.train.steps=100", "--config.train.batch=96",
        "--config.optim.learning_rate=0.05",
    )  # fmt: skip
    out = rnnlm("train", *flags)
    assert "100,000,000 symbols of 16 kinds" in out
    run = json.loads((workdir / "run.json").read_text())
    assert run["split"]["bytes"] == {"train": [0, SIZE - HELD_OUT], "test": [SIZE - HELD_OUT, SIZE]}
    # The model is trained on letters only, so digits cost it far more than the 3 bits of their entropy.
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["bpc"] < 3.3
    line = json.loads(rnnlm("eval", f"--workdir={workdir}", "--split=test", "--symbols-to=20000", "--json"))
    assert line["count"] == 20_000 and line["bpc"] > 4
    assert "no split 'valid'" in rnnlm("eval", f"--workdir={workdir}", "--split=valid", code=2)


MEASURE = """
import resource, sys
from rnnlm.commands import main
code = main.main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(code)
"""


def peak(*args: object) -> int:
    """Run a command: -> its peak memory in MiB, mapped pages of the text included."""
    import subprocess

    from tests.conftest import ROOT, environment

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, args)],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        check=True,
    )
    return int(done.stdout.split("peak ")[-1])


@pytest.mark.slow
def test_a_large_text_is_not_held_in_memory(large, text_file, tmp_path):
    def train(text: Path, name: str) -> int:
        return peak(
            "train",
            "--config=tests/tiny.py",
            f"--workdir={tmp_path / name}",
            f"--config.data.files={text}",
            "--config.train.steps=60",
            "--config.eval.max_symbols=600",
        )

    assert train(large, "large") - train(text_file, "small") < 40
