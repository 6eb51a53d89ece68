"""Benchmarks time the work that they name, and compute ratios, FLOPs and intervals correctly."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import contest, data_parallel, scale, versus
from benchmarks.peers import ours
from rnnlm.nn import model, size
from rnnlm.nn.embed import embed
from rnnlm.product import product
from tests.conftest import ROOT, environment

TASK = {"what": "train", "layers": 2, "hidden": 16, "batch": 4, "window": 6, "vocab": versus.VOCAB}


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["ours", "flax_rnn", "torch_lstm"])
def test_a_worker_runs_its_task(peer):
    if peer == "torch_lstm":
        pytest.importorskip("torch")
    task = TASK | {"peer": peer, "threads": 1, "devices": 1, "compile": False}
    command = [sys.executable, str(ROOT / "benchmarks" / "worker.py"), json.dumps(task)]
    done = subprocess.run(command, input="1\n3\n", capture_output=True, text=True, env=environment(), check=True)
    facts, *turns = (json.loads(line) for line in done.stdout.splitlines())
    assert isinstance(facts, dict) and len(turns) == 2
    assert all(turn["seconds"] > 0 and turn["peak_bytes"] > 2**20 for turn in turns)


def test_ratios_are_paired_times_of_the_peer_over_ours():
    assert contest.ratio([3.0, 8.0, 100.0], [1.0, 2.0, 10.0]) == 4.0
    assert contest.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_flops_are_those_of_the_compiled_products():
    """XLA counts a third of the step's FLOPs in the forward pass."""
    batch, window, hidden = 16, 20, 64
    task = TASK | {"hidden": hidden, "batch": batch, "window": window}
    config = ours.config(task).model
    params = model.init_params(config, versus.VOCAB, jax.random.PRNGKey(0))
    x = np.zeros((batch, window), np.int32)

    def forward(params):
        u = embed(model.scan.project(params["layer_0"], params["embedding"]["table"], "float32"), x.T)
        h = u[..., :hidden]
        out = model.scan.project(params["layer_1"], h, "float32")
        for name in ("layer_0", "layer_1"):  # the recurrent products of all steps, as one
            out += product(h, params[name]["W_h"], "float32")
        return out, product(h, params["output"]["W"], "float32")

    counted = jax.jit(forward).lower(params).compile().cost_analysis()["flops"]
    assert versus.flops(task, whole=False) / 3 == pytest.approx(counted, rel=0.03)


@pytest.mark.parametrize("n", [1, 5, 6, 9, 15])
def test_the_interval_of_a_median_covers_95_percent(n):
    """The interval covers the median in 95 % of all ways to lie below or above it; the next narrower one does not."""
    low, high = contest.median_interval([float(x) for x in range(n, 0, -1)])
    assert low + high == n + 1
    below = np.array([i.bit_count() for i in range(2**n)])  # how many lie below the median

    def coverage(k):
        return np.mean((below >= k) & (below <= n - k))

    assert coverage(low + 1) < 0.95 and (coverage(low) >= 0.95 or low == 1)


def other_checkout(tmp_path):
    """Copy the packages that a benchmark runs: -> the folder of the copy."""
    for name in ("rnnlm", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, tmp_path / "other" / name, ignore=ignored)
    return tmp_path / "other"


def run_against(other, shapes):
    """Compare this checkout with another: -> the line of results."""
    results = other / "results.jsonl"
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), f"--against={other}", "--what=train"]
    command += [f"--shapes={shapes}", "--rounds=6", "--seconds=0.02", f"--results={results}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0 and "other / this" in done.stdout, done.stderr
    [line] = [json.loads(line) for line in results.read_text().splitlines()]
    return line


@pytest.mark.slow
def test_another_checkout_runs_its_own_code(tmp_path):
    other, mark = other_checkout(tmp_path), tmp_path / "mark"
    step = other / "rnnlm" / "training" / "step.py"
    step.write_text(step.read_text() + f"\nimport pathlib\n\npathlib.Path({str(mark)!r}).touch()\n")
    line = run_against(other, "1x8x2x4")
    assert mark.exists()
    [row] = line["rows"]
    assert row["interval"] == [min(row["ratios"]), max(row["ratios"])] and len(row["ratios"]) == 6
    assert line["this"]["versions"]["jax"] == line["other"]["versions"]["jax"] == jax.__version__


@pytest.mark.slow
def test_a_task_that_another_checkout_cannot_run_is_left_out(tmp_path):
    other = other_checkout(tmp_path)
    worker = other / "benchmarks" / "worker.py"
    worker.write_text(worker.read_text().replace("    work(2)", '    assert task["hidden"] != 9\n    work(2)'))
    line = run_against(other, "1x8x2x4,1x9x2x4")
    assert line["left_out"] == {"1x9 B=2 T=4": ["other"]} and [r["shape"] for r in line["rows"]] == ["1x8 B=2 T=4"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["evaluate", "adapt", "code"])
def test_a_reading_task_runs(what):
    task = TASK | {"peer": "ours_reading", "what": what, "symbols": 64, "lanes": 2, "segment": 8}
    assert contest.contest({what: task}, rounds=1, seconds=0.01)[what][0] > 0


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py")]
    for folder, complaint in ((tmp_path, "has no benchmarks/worker.py"), (ROOT, "is this checkout itself")):
        done = subprocess.run([*command, f"--against={folder}"], capture_output=True, text=True, env=environment())
        assert done.returncode == 2 and complaint in done.stderr, done.stderr
    done = subprocess.run([*command, "--what=reed"], capture_output=True, text=True, env=environment())
    assert done.returncode == 2 and "--what=reed: choose of train" in done.stderr
    for wrong in ("--shapes=2x512", "--rounds=0", "--seconds=0", "--results=/no/such/folder/x.jsonl"):
        done = subprocess.run([*command, wrong], capture_output=True, text=True, env=environment())
        assert done.returncode == 2 and wrong.partition("=")[2] in done.stderr and "Traceback" not in done.stderr


def test_weak_scaling_compares_steps_turn_by_turn():
    times = {"1 device": [2.0, 2.0, 8.0]} | {
        f"2 {what}{end}": [4.0 if end else 5.0] * 3 for what in ("devices", "processes") for end in ("", scale.ALONE)
    }
    row = scale.describe((2, 16, 4, 6), times)
    assert row["bytes"] == 4 * size.count_params(ours.config(TASK).model, versus.VOCAB)
    assert row["efficiency"]["2 devices"]["ratio"] == 0.4 and row["all_reduce"]["2 processes"]["ratio"] == 1.25


@pytest.mark.slow
def test_weak_scaling_runs(tmp_path):
    command = [sys.executable, "benchmarks/scale.py", "--shapes=1x8x2x4", "--rounds=1", "--seconds=0.05"]
    results = tmp_path / "scale.jsonl"
    subprocess.run([*command, f"--results={results}"], cwd=ROOT, env=environment(), check=True, capture_output=True)
    (row,) = json.loads(results.read_text())["rows"]
    assert len(row["ms"]) == 5 and all(ms > 0 for ms in row["ms"].values())


def test_a_ring_takes_its_bytes_and_its_steps():
    h100 = data_parallel.find("H100")
    assert data_parallel.latency(h100, 8) == pytest.approx(14 * 3.4e-6)
    assert data_parallel.latency(h100, 16) == pytest.approx(26 * 3.4e-6 + 4 * 14e-6)
    assert data_parallel.all_reduce(h100, 8, 450_000_000) == pytest.approx(1.75 / 700 + 14 * 3.4e-6)


def test_the_page_shows_the_table_of_data_parallelism():
    page = (ROOT / "docs" / "distributed.md").read_text()
    assert all(f"| {' | '.join(row)} |" in page for row in data_parallel.table())


def test_the_page_shows_the_last_result_of_weak_scaling():
    result = json.loads((ROOT / "benchmarks" / "results" / "scale.jsonl").read_text().splitlines()[-1])
    page = (ROOT / "docs" / "distributed.md").read_text()
    assert all(f"| {' | '.join(row)} |" in page for row in scale.page_table(result))
