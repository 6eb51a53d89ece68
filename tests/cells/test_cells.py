"""The cells equal numpy in float64, and their gradients equal finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.cells import CELLS, cell_of
from rnnlm.config import LSTMOptions, ModelConfig
from rnnlm.nn import scan
from tests.plain import scan_steps

T, B, D, H = 7, 3, 5, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(p, carry, x):
    h, c = carry
    a = x @ p["W_x"] + p["b"] + h @ p["W_h"]
    i, f, g, o = np.split(a, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def rnn(p, carry, x):
    return (np.tanh(x @ p["W_x"] + p["b"] + carry[0] @ p["W_h"]),)


def gru(p, carry, x):
    """Step a GRU as PyTorch's documentation of nn.GRU states it."""
    (h,) = carry
    W_ir, W_iz, W_in = np.split(p["W_x"], 3, axis=1)
    W_hr, W_hz, W_hn = np.split(p["W_h"], 3, axis=1)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = np.split(p["b"], 3), np.split(p["b_h"], 3)
    r = sigmoid(x @ W_ir + b_ir + h @ W_hr + b_hr)
    z = sigmoid(x @ W_iz + b_iz + h @ W_hz + b_hz)
    n = np.tanh(x @ W_in + b_in + r * (h @ W_hn + b_hn))
    return ((1 - z) * n + z * h,)


def gru_before(p, carry, x):
    """Step the GRU of Chung et al. 2014, where z is the share of the old h."""
    (h,) = carry
    u = np.split(x @ p["W_x"] + p["b"], 3, axis=-1)
    W = np.split(p["W_h"], 3, axis=1)
    r, z = sigmoid(u[0] + h @ W[0]), sigmoid(u[1] + h @ W[1])
    return ((1 - z) * np.tanh(u[2] + (r * h) @ W[2]) + z * h,)


def lstm_two_biases(p, carry, x):
    return lstm(p | {"b": p["b"] + p["b_h"]}, carry, x)


PLAIN = {"rnn": rnn, "lstm": lstm, "gru": gru, "gru_before": gru_before, "lstm_two_biases": lstm_two_biases}


def cell_named(name):
    if name == "lstm_two_biases":
        return cell_of(ModelConfig(lstm=LSTMOptions(biases=2)))
    return cell_of(ModelConfig(cell=name))


def problem(name, seed=0):
    """Make a cell, params, carry, inputs and resets in float64, some within the window."""
    rng = np.random.default_rng(seed)
    cell = cell_named(name)
    params = {name: rng.normal(size=param.shape) for name, param in cell.params(D, H).items()}
    carry = tuple(rng.normal(size=(B, H)) for _ in cell.carry(H))
    reset = np.zeros((T, B), bool)
    reset[3, 1] = reset[5, 2] = reset[0, 0] = True
    return cell, params, carry, rng.normal(size=(T, B, D)), reset


def by_hand(name, params, carry, x, reset):
    out = []
    for t in range(T):
        carry = tuple(np.where(reset[t][:, None], 0, s) for s in carry)
        carry = PLAIN[name](params, carry, x[t])
        out.append(carry[0])
    return carry, np.stack(out)


def run(cell, params, carry, x, reset, dtype):
    return scan.scan(cell, H, params, carry, scan.project(params, x, dtype), reset, dtype)


@pytest.mark.parametrize("name", PLAIN)
def test_equals_numpy(name):
    cell, params, carry, x, reset = problem(name)
    wanted, wanted_h = by_hand(name, params, carry, x, reset)
    with jax.enable_x64(True):
        got, got_h = run(cell, params, carry, x, reset, jnp.float64)
    np.testing.assert_allclose(got_h, wanted_h, rtol=1e-12)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    narrow = jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == np.float64 else a, (params, carry, x))
    _, got_h = run(cell, *narrow, reset, jnp.float32)
    np.testing.assert_allclose(got_h, wanted_h, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_gradient_equals_finite_differences(name):
    cell, params, carry, x, reset = problem(name)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(T, B, H))

    def loss(params, carry, x):
        carry, h = run(cell, params, carry, x, reset, jnp.float64)
        return jnp.sum(h * weights) + sum(jnp.sum(jnp.sin(s)) for s in carry)

    with jax.enable_x64(True):
        grads = jax.grad(loss, (0, 1, 2))(params, carry, x)
        flat, tree = jax.tree.flatten((params, carry, x))
        for i, grad in enumerate(jax.tree.leaves(grads)):
            direction = rng.normal(size=flat[i].shape)

            def along(e, i=i, direction=direction):
                shifted = [leaf + e * direction if j == i else leaf for j, leaf in enumerate(flat)]
                return float(loss(*jax.tree.unflatten(tree, shifted)))

            slope = (along(1e-5) - along(-1e-5)) / 2e-5
            assert np.sum(np.asarray(grad) * direction) == pytest.approx(slope, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("name", PLAIN)
def test_custom_backward_equals_autodiff(name):
    cell, params, carry, x, reset = problem(name, seed=2)

    def loss(scanned, params, carry, x):
        carry, h = scanned(cell, H, params, carry, scan.project(params, x, jnp.float64), reset, jnp.float64)
        return jnp.sum(jnp.cos(h)) + sum(jnp.sum(s**2) for s in carry)

    with jax.enable_x64(True):
        ours = jax.grad(loss, (1, 2, 3))(scan.scan, params, carry, x)
        theirs = jax.grad(loss, (1, 2, 3))(scan_steps, params, carry, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours, theirs)


@pytest.mark.parametrize("name", PLAIN)
def test_bfloat16_products_keep_a_float32_carry(name):
    cell, params, carry, x, reset = jax.tree.map(
        lambda a: a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a, problem(name)
    )
    _, exact = run(cell, params, carry, x, reset, jnp.float32)
    after, rough = run(cell, params, carry, x, reset, jnp.bfloat16)
    assert all(s.dtype == jnp.float32 for s in (*after, rough))
    error = float(jnp.max(jnp.abs(exact - rough)))
    assert 0 < error < 0.1


@pytest.mark.parametrize("name", PLAIN)
def test_the_backward_loop_holds_no_gradient_of_the_weights(name):
    """No output of the reverse scan has the shape of W_h, whose gradient is computed after it."""
    cell, params, carry, x, reset = problem(name)

    def loss(params):
        return jnp.sum(run(cell, params, carry, x, reset, jnp.float32)[1])

    jaxpr = jax.make_jaxpr(jax.grad(loss))(jax.tree.map(jnp.float32, params))
    loops = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    assert any(eqn.params["reverse"] for eqn in loops)
    for eqn in loops:
        assert params["W_h"].shape not in [out.aval.shape[-2:] for out in eqn.outvars]


def test_every_cell_has_its_equations_here():
    assert PLAIN.keys() >= CELLS.keys()


@pytest.mark.parametrize("name", PLAIN)
def test_trace_returns_the_gates_and_carries_of_scan(name):
    """The carries of `trace` equal those of `scan`, and follow from the gates of the LSTM."""
    cell, params, carry, x, reset = problem(name)
    with jax.enable_x64(True):
        u = scan.project(params, x, jnp.float64)
        after, h = scan.scan(cell, H, params, carry, u, reset, jnp.float64)
        traced, traced_h, carries, gates = jax.device_get(scan.trace(cell, H, params, carry, u, reset, jnp.float64))
    for a, b in zip((*after, h), (*traced, traced_h), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(carries[0], h, rtol=1e-12)
    assert bool(gates) == (name != "rnn") and all(g.shape == (T, B, H) for g in gates.values())
    if name == "lstm":
        i, f, g = (gates[gate] for gate in "ifg")
        before = np.where(reset[1:, :, None], 0, carries[1][:-1])
        np.testing.assert_allclose(carries[1][1:], f[1:] * before + (i * g)[1:], rtol=1e-9)
