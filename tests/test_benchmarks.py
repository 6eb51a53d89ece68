"""The benchmark's contestants do the work that they are timed at, and its figures mean what they say."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import contest, versus
from benchmarks.peers import ours
from rnnlm import model
from rnnlm.product import product
from tests.conftest import ROOT, environment

TASK = {"what": "train", "layers": 2, "hidden": 16, "batch": 4, "window": 6, "vocab": versus.VOCAB}


@pytest.mark.parametrize("peer", ["ours", "flax_rnn", "torch_lstm"])
def test_a_contestant_works_when_told_to(peer):
    if peer == "torch_lstm":
        pytest.importorskip("torch")
    task = TASK | {"peer": peer, "threads": 1, "devices": 1, "compile": False}
    command = [sys.executable, str(ROOT / "benchmarks" / "worker.py"), json.dumps(task)]
    done = subprocess.run(command, input="1\n3\n", capture_output=True, text=True, env=environment(), check=True)
    facts, *turns = (json.loads(line) for line in done.stdout.splitlines())
    assert isinstance(facts, dict) and len(turns) == 2
    assert all(turn["seconds"] > 0 and turn["peak_bytes"] > 2**20 for turn in turns)


def test_ratios_are_the_peer_s_time_over_ours_pair_by_pair():
    assert contest.ratio([3.0, 8.0, 100.0], [1.0, 2.0, 10.0]) == 4.0
    assert contest.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_flops_are_those_of_the_compiled_products():
    """Against XLA's own count of the forward pass, which must be a third of the step's."""
    layers, hidden, batch, window = 2, 64, 16, 20
    config = ours.config(TASK | {"hidden": hidden}).model
    params = model.init_params(config, versus.VOCAB, jax.random.PRNGKey(0))
    x = np.zeros((batch, window), np.int32)

    def forward(params):
        u = model.scan.rows(model.scan.project(params["layer_0"], params["embedding"], "float32"), x.T)
        h = u[..., :hidden]
        out = model.scan.project(params["layer_1"], h, "float32")
        for name in ("layer_0", "layer_1"):  # the recurrent products of all steps, as one
            out += product(h, params[name]["W_h"], "float32")
        return out, product(h, params["output"]["W"], "float32")

    counted = jax.jit(forward).lower(params).compile().cost_analysis()["flops"]
    assert versus.flops(layers, hidden, batch, window, whole=False) / 3 == pytest.approx(counted, rel=0.03)
