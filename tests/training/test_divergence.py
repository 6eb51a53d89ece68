"""A training that is worse than the uniform distribution says so."""

import json
import math

import pytest

import rnnlm
from rnnlm.training.divergence import LASTING, DivergenceWatch
from tests.conftest import start


def warned(bpcs, warmup=0):
    watch = DivergenceWatch(64, warmup)
    return [step for step, bpc in enumerate(bpcs, 1) if watch.read(step, bpc)]


def test_it_warns_once_and_again_when_it_has_lasted():
    assert warned([7.0] * 1_000) == list(LASTING)
    assert warned([7.0] * 1_000, warmup=100) == [100 + n for n in LASTING]
    assert warned([5.0] * 50 + [7.0] * 30) == [50 + LASTING[0]]
    assert warned(([7.0] * (LASTING[0] - 1) + [5.9]) * 20) == []
    assert warned([6.0] * 1_000) == []  # uniform itself


@pytest.mark.parametrize(
    "step, train_bpc, valid_bpc, expected",
    [
        (100, 27.0, 27.0, "worse than uniform (6.00 bpc): the run has probably diverged; lower optim.learning_rate"),
        (100, 27.0, None, "worse than uniform (6.00 bpc): the run has probably diverged; lower optim.learning_rate"),
        (100, 2.0, 37.9, "though not in training"),
        (100, 7.0, 2.0, None),
        (100, 2.0, None, None),
        (100, None, None, None),
        (29, 27.0, 27.0, None),
    ],
)
def test_the_verdict_of_the_last_step(step, train_bpc, valid_bpc, expected):
    verdict = DivergenceWatch(64, 10).verdict(step, train_bpc, valid_bpc)
    assert verdict is None if expected is None else expected in verdict


def test_a_diverged_run_ends_with_a_warning(tmp_path, text_file):
    """The code stays 0, and a run that is started again has the same result."""
    workdir = tmp_path / "run"
    flags = [f"--workdir={workdir}", f"--config.data.files={text_file}", "--config.sample.every=0"]
    flags += ["--config.optim.learning_rate=100.0", "--config.optim.clip_norm=0.0", "--config.eval.every=0"]
    process = start("train", "--config=tests/tiny.py", *flags)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    symbols = json.loads((workdir / "run.json").read_text())["vocabulary"]["symbols"]
    uniform = f"worse than uniform ({math.log2(symbols):.2f} bpc): the run has probably diverged"
    assert [uniform in line for line in out.splitlines()[-1:]] == [True] and out.splitlines()[-1].startswith("done:")
    [warning] = [line for line in err.splitlines() if "uniform" in line]
    assert warning.startswith("step ") and f"for {LASTING[0]} steps {uniform}" in warning
    result = json.loads((workdir / "result.json").read_text())
    assert uniform in result["warning"] == rnnlm.train(None, workdir, show=False)["warning"]
