"""The cells equal numpy in float64, and their gradients equal finite differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.cells import CELLS, cell_of, linear
from rnnlm.config import ModelConfig
from rnnlm.nn import scan
from rnnlm.options import (
    FSRNNOptions,
    HyperLSTMOptions,
    LSTMOptions,
    MatrixLSTMOptions,
    MogrifierOptions,
    QRNNOptions,
    RHNOptions,
    SLSTMOptions,
    SRUOptions,
)
from tests.cells import laws, twins
from tests.conftest import slow
from tests.plain import scan_steps

T, B, D, H = 7, 3, 5, 12


VARIANTS = {
    "lstm_two_biases": {"lstm": LSTMOptions(biases=2)},
    "lstm_coupled": {"lstm": LSTMOptions(input_gate="coupled")},
    "lstm_capped": {"lstm": LSTMOptions(input_gate="capped")},
    "lstm_peepholes": {"lstm": LSTMOptions(peepholes=True)},
    "lstm_layer_norm": {"lstm": LSTMOptions(layer_norm=True)},
    "lstm_projection": {"lstm": LSTMOptions(projection=4)},
    "lstm_coupled_peepholes": {"lstm": LSTMOptions(input_gate="coupled", peepholes=True)},
    "lstm_capped_all": {
        "lstm": LSTMOptions(input_gate="capped", peepholes=True, layer_norm=True, projection=4),
    },
    "mogrifier_low_rank": {"mogrifier": MogrifierOptions(rounds=3, rank=2, input_gate="capped")},
    "hyperlstm_plain": {"hyperlstm": HyperLSTMOptions(hyper_units=5, embedding=2, layer_norm=False)},
    "slstm_exp": {"slstm": SLSTMOptions(heads=2, forget_gate="exp")},
    "fsrnn_four": {"fsrnn": FSRNNOptions(fast=4, slow=5)},
    "fsrnn_layer_norm": {"fsrnn": FSRNNOptions(slow=5, layer_norm=True)},
    "rhn_free": {"rhn": RHNOptions(recurrence_depth=2, coupled=False)},
    "qrnn_window_two": {"qrnn": QRNNOptions(window=2)},
    "sru_without_feedback": {"sru": SRUOptions(feedback=False)},
    "matrix_lstm_in_chunks": {"matrix_lstm": MatrixLSTMOptions(chunk=3)},
}
"""Cells with options, each named after its cell."""
NAMES = [*CELLS, *map(slow, VARIANTS)]
ALL = [name if name in laws.QUICK else slow(name) for name in (*CELLS, *VARIANTS)]
WITHOUT_GATES = ("rnn", "irnn", "indrnn", "fsrnn", "fsrnn_four", "fsrnn_layer_norm", "lru")


def cell_named(name):
    if name not in VARIANTS:
        return cell_of(ModelConfig(cell=name))
    return cell_of(ModelConfig(cell=next(iter(VARIANTS[name])), **VARIANTS[name]))


def test_every_cell_has_its_equations_in_numpy():
    assert all(callable(getattr(twins, name)) for name in (*CELLS, *VARIANTS))


def problem(name, seed=0):
    """Make a cell, params, carry, inputs and resets in float64, some within the window."""
    rng = np.random.default_rng(seed)
    cell = cell_named(name)
    params = {name: rng.normal(size=param.shape) / 2 for name, param in cell.params(D, H).items()}
    if "v" in params:
        params["v"] = np.tanh(
            params["v"]
        )  # within the bound, beyond which the gradient is not that of the forward pass
    carry = tuple(laws.normal((B, *state.shape), state.dtype, rng) for state in cell.carry(H).values())
    if name.startswith("slstm"):
        carry = (*carry[:2], 1 + np.abs(carry[2]), carry[3])  # its normalizer is at least 1
    reset = np.zeros((T, B), bool)
    reset[3, 1] = reset[5, 2] = reset[0, 0] = True
    return cell, params, carry, rng.normal(size=(T, B, D)), reset


def by_hand(name, params, carry, x, reset):
    out = []
    for t in range(T):
        carry = tuple(np.where(reset[t].reshape(-1, *[1] * (s.ndim - 1)), 0, s) for s in carry)
        carry = getattr(twins, name)(params, carry, x[t])
        output = getattr(twins, f"{name}_output", lambda params, carry, x: carry[0])
        out.append(output(params, carry, x[t]))
    return carry, np.stack(out)


def run(cell, params, carry, x, reset, dtype):
    return scan.scan(cell, H, params, carry, scan.project(params, x, dtype), reset, dtype)


def compiled(cell, params, carry, x, reset, dtype):
    return jax.jit(partial(run, cell, dtype=dtype))(params, carry, x, reset)


@pytest.mark.parametrize("name", NAMES)
def test_equals_numpy(name):
    cell, params, carry, x, reset = problem(name)
    wanted, wanted_h = by_hand(name, params, carry, x, reset)
    with jax.enable_x64(True):
        got, got_h = compiled(cell, params, carry, x, reset, jnp.float64)
    np.testing.assert_allclose(got_h, wanted_h, rtol=1e-12)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    narrow = jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == np.float64 else a, (params, carry, x))
    _, got_h = compiled(cell, *narrow, reset, jnp.float32)
    np.testing.assert_allclose(got_h, wanted_h, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_gradient_equals_finite_differences(name):
    cell, params, carry, x, reset = problem(name)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(T, B, cell.count_outputs(H)))

    @jax.jit
    def loss(params, carry, x):
        carry, h = run(cell, params, carry, x, reset, jnp.float64)
        return jnp.sum(h * weights) + sum(jnp.sum(jnp.sin(jnp.real(s))) for s in carry)

    with jax.enable_x64(True):
        grads = jax.jit(jax.grad(loss, (0, 1, 2)))(params, carry, x)
        flat, tree = jax.tree.flatten((params, carry, x))
        for i, grad in enumerate(jax.tree.leaves(grads)):
            direction = rng.normal(size=flat[i].shape)

            def along(e, i=i, direction=direction):
                shifted = [leaf + e * direction if j == i else leaf for j, leaf in enumerate(flat)]
                return float(loss(*jax.tree.unflatten(tree, shifted)))

            slope = (along(2e-6) - along(-2e-6)) / 4e-6
            assert np.sum(np.asarray(grad) * direction).real == pytest.approx(slope, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("name", [slow(name) if name == "hyperlstm" else name for name in NAMES])
def test_custom_backward_equals_autodiff(name):
    cell, params, carry, x, reset = problem(name, seed=2)

    def loss(scanned, params, carry, x):
        carry, h = scanned(cell, H, params, carry, scan.project(params, x, jnp.float64), reset, jnp.float64)
        return jnp.sum(jnp.cos(h)) + sum(jnp.sum(jnp.abs(s) ** 2) for s in carry)

    with jax.enable_x64(True):
        ours, theirs = (
            jax.jit(jax.grad(partial(loss, run), (0, 1, 2)))(params, carry, x) for run in (scan.scan, scan_steps)
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours, theirs)


@pytest.mark.parametrize("name", ["mingru", *map(slow, ("minlstm", "qrnn", "sru_without_feedback", "lru", "rglru"))])
@pytest.mark.parametrize("time", [1, T])
def test_windows_by_the_associative_scan_of_accelerators_equal_steps(name, time, monkeypatch):
    monkeypatch.setattr(linear, "fastest_scan", lambda: linear.associative)
    cell, params, carry, x, reset = problem(name, seed=3)

    def loss(scanned, params, carry, x):
        u = scan.project(params, x, jnp.float64)
        carry, h = scanned(cell, H, params, carry, u, reset[-time:], jnp.float64)
        return jnp.sum(jnp.cos(h)) + sum(jnp.sum(jnp.abs(s) ** 2) for s in carry), (carry, h)

    with jax.enable_x64(True):
        ours, theirs = (
            jax.jit(jax.grad(partial(loss, run), (0, 1, 2), has_aux=True))(params, carry, x[-time:])
            for run in (scan.scan, scan_steps)
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours, theirs)


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_products_keep_a_float32_carry(name):
    cell, params, carry, x, reset = jax.tree.map(
        lambda a: a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a, problem(name)
    )
    _, exact = compiled(cell, params, carry, x, reset, jnp.float32)
    after, rough = compiled(cell, params, carry, x, reset, jnp.bfloat16)
    assert rough.dtype == jnp.float32 and [s.dtype for s in after] == [s.dtype for s in cell.carry(H).values()]
    error = float(jnp.max(jnp.abs(exact - rough)))
    assert 0 < error < 0.1 * max(1.0, float(jnp.max(jnp.abs(exact))))


@pytest.mark.parametrize("name", ALL)
def test_the_backward_loop_holds_no_gradient_of_the_weights(name):
    """No output of the reverse scan has the shape of a recurrent matrix, whose gradient is computed after it."""
    cell, params, carry, x, reset = problem(name)

    def loss(params):
        return jnp.sum(run(cell, params, carry, x, reset, jnp.float32)[1])

    jaxpr = jax.make_jaxpr(jax.grad(loss))(jax.tree.map(jnp.float32, params))
    loops = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    assert any(eqn.params["reverse"] for eqn in loops) or cell.window
    for eqn in loops:
        for matrix in cell.recurrent:
            shape = params[matrix].shape
            assert shape not in [out.aval.shape[-len(shape) :] for out in eqn.outvars]


@pytest.mark.parametrize("name", ALL)
def test_trace_returns_the_gates_and_carries_of_scan(name):
    """The carries of `trace` equal those of `scan`, and follow from the gates of the LSTM."""
    cell, params, carry, x, reset = problem(name)
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, params)
        u = scan.project(params, x, jnp.float64)
        after, h = scan.scan(cell, H, params, carry, u, reset, jnp.float64)
        traced, traced_h, carries, gates = jax.device_get(scan.trace(cell, H, params, carry, u, reset, jnp.float64))
    for a, b in zip((*after, h), (*traced, traced_h), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    if cell.output is None:
        np.testing.assert_allclose(carries[0], h, rtol=1e-12)
    assert bool(gates) == (name not in WITHOUT_GATES) and all(g.shape == (T, B, H) for g in gates.values())
    if name == "lstm":
        i, f, g = (gates[gate] for gate in "ifg")
        before = np.where(reset[1:, :, None], 0, carries[1][:-1])
        np.testing.assert_allclose(carries[1][1:], f[1:] * before + (i * g)[1:], rtol=1e-9)
