"""The benchmark of the cells has a reference for each of them, and that reference computes what rnnlm does."""

import json
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import benchmarks.linear
from benchmarks import cells, references
from benchmarks.peers import ours, torch_shapes
from benchmarks.versus import train_task
from rnnlm.cells import CELLS, cell_of
from rnnlm.nn import scan, size
from tests.conftest import ROOT, environment

TASK = train_task((2, 16, 4, 6), "float32") | {"devices": 1, "threads": 1}
T, B, H = 6, 3, 16


def test_every_cell_has_a_reference():
    assert {entry.cell or name for name, entry in references.ENTRIES.items()} == set(CELLS)
    assert torch_shapes.PARAMS.keys() == torch_shapes.CARRY.keys() <= references.ENTRIES.keys()


def split_gru(params):
    w_h = params.pop("W_h")
    return params | {"W_rz": w_h[:, : 2 * H], "W_n": w_h[:, 2 * H :]}


def pad_mlstm(params):
    return params | {"b": np.concatenate([np.zeros(H), params.pop("bias")])}


def split_hyperlstm(params):
    w_h, w_z, s, bias_z = (params.pop(name) for name in ("W_h", "W_z", "S", "bias_z"))
    params |= {"W_h": w_h[:, : 4 * H], "hyper_W": np.concatenate([w_h[:, 4 * H :], params.pop("hyper_W_h")])}
    for name, parts in (("W_z", np.split(w_z, 12, 1)), ("S", s), ("bias_z", np.split(bias_z, 8))):
        params |= {f"{name}_{j}": part for j, part in enumerate(parts)}
    return params


def clip_indrnn(params):
    return params | {"v": np.clip(params["v"], -1, 1)}


def sort_slstm(params):
    """Order the columns of W_x and b by gate and then by head, as the reference has them."""

    def by_gate(p):
        return p.reshape(*p.shape[:-1], torch_shapes.HEADS, 4, -1).swapaxes(-3, -2).reshape(p.shape)

    return {"W_x": by_gate(params["W_x"]), "b": by_gate(params["b"]), "R": params["W_h"]}


CONVERT = {
    "gru_before": split_gru,
    "mlstm": pad_mlstm,
    "hyperlstm": split_hyperlstm,
    "indrnn": clip_indrnn,
    "slstm": sort_slstm,
}


def run_ours(name, start):
    """Run a layer of rnnlm in float64 on random params: -> (params, carry before, x, carry after, h)."""
    cell = cell_of(ours.config(references.our_task(name, TASK | {"hidden": H})).model)
    rng = np.random.default_rng(0)
    params = {name: 0.5 * rng.normal(size=p.shape) for name, p in cell.params(H, H).items()}
    states = [np.full((B, *s.shape), s.start, np.result_type(s.dtype, np.float64)) for s in cell.carry(H).values()]
    carry = tuple(states if start else [np.abs(rng.normal(size=s.shape)).astype(s.dtype) for s in states])
    x, reset = rng.normal(size=(T, B, H)), np.zeros((T, B), bool)
    with jax.enable_x64(True):
        u = scan.project(params, jnp.asarray(x), jnp.float64)
        after, h = scan.scan(cell, H, params, carry, u, reset, jnp.float64)
    return params, carry, x, after, h


@pytest.mark.slow
@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("name", torch_shapes.PARAMS)
def test_a_reference_in_torch_computes_what_rnnlm_does(name, start):
    torch = pytest.importorskip("torch")
    from benchmarks.peers import torch_cells

    params, carry, x, after, h = run_ours(name, start)
    params = CONVERT.get(name, dict)(dict(params))
    assert {key: p.shape for key, p in params.items()} == torch_shapes.PARAMS[name](H, H)
    assert tuple(s.shape[1:] for s in carry) == torch_shapes.CARRY[name](H)
    tensors = {key: torch.tensor(p, dtype=torch.float64) for key, p in params.items()}
    state = tuple(torch.tensor(s, dtype=torch.float64) for s in carry)
    got, got_after = torch_cells.window_of(TASK | {"cell": name})(tensors, state, torch.tensor(x))
    for theirs, expected in zip((got, *got_after), (h, *after), strict=True):
        np.testing.assert_allclose(theirs, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scan_name", ["associative", "unrolled"])
@pytest.mark.parametrize("name", ["lru", "rglru"])
def test_a_reference_in_flax_computes_what_rnnlm_does(name, scan_name):
    from benchmarks.peers import flax_cells

    params, carry, x, after, h = run_ours(name, start=False)
    w_x = params.pop("W_x")
    if name == "lru":
        params |= dict(zip(("B_re", "B_im", "D"), np.split(w_x, 3, 1), strict=True))
        params["log_gamma"] = params["log_gamma"] + 0.5 * np.log(1 - np.exp(-2 * np.exp(params["nu"])))
    else:
        params["Dense_0"] = {"kernel": w_x, "bias": params.pop("b")}
    layer = {"lru": flax_cells.LRU, "rglru": flax_cells.RGLRU}[name](H, scan_name)
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        got_after, got = layer.apply({"params": params}, carry[0], x)
    np.testing.assert_allclose(got, h, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got_after, after[0], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", references.ENTRIES)
def test_a_reference_trains_with_as_many_params(name):
    for peer in references.ENTRIES[name].peers:
        module = pytest.importorskip(f"benchmarks.peers.{peer}")
        task = TASK | {"cell": name, "compile": "", "scan": "unrolled"} | references.options_of(name, TASK)
        with jax.numpy_rank_promotion("allow"):
            work, facts = module.train(task)
            work(2)
        count = size.count_params(ours.config(references.our_task(name, TASK)).model, TASK["vocab"])
        assert facts["params"] == pytest.approx(count, rel=0.05)


def test_the_form_in_log_space_equals_steps_from_any_positive_carry():
    rng = np.random.default_rng(0)
    a, b, h, weights = (rng.uniform(0.1, 1, shape) for shape in ((T, B, H), (T, B, H), (B, H), (T, B, H)))
    with jax.enable_x64(True):
        gradients = [
            jax.jit(jax.value_and_grad(partial(benchmarks.linear.loss, form), (0, 1, 2)))(a, b, h, weights)
            for form in benchmarks.linear.FORMS.values()
        ]
    for other in gradients[1:]:
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), other, gradients[0])


@pytest.mark.slow
def test_each_cell_gets_a_row(tmp_path):
    results = tmp_path / "cells.jsonl"
    command = [sys.executable, "benchmarks/cells.py", "--cells=lru", "--shape=2x8x2x4", f"--results={results}"]
    command += ["--rounds=2", "--seconds=0.02"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [row["cell"] for row in rows] == ["lru"] and "flax, as minimal-LRU" in done.stdout
    assert all(row["ms"]["reference"] > 0 and row["ratio"] > 0 and len(row["tried_ms"]) > 1 for row in rows)
    assert cells.measured(results, "2x8 B=2 T=4", rows[0]["commit"]) == {"lru"}
    again = subprocess.run([*command, "--continue"], cwd=ROOT, env=environment(), check=True, capture_output=True)
    assert b"Left out because measured: lru" in again.stdout and len(results.read_text().splitlines()) == 1


def test_an_unknown_cell_is_refused():
    command = [sys.executable, str(ROOT / "benchmarks" / "cells.py"), "--cells=lstn"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 2 and "lstn: choose of rnn" in done.stderr
