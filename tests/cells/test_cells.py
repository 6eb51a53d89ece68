"""The recurrences against plain numpy in float64, and their gradients against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.cells import CELLS
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
    """PyTorch's documentation of nn.GRU, letter for letter."""
    (h,) = carry
    W_ir, W_iz, W_in = np.split(p["W_x"], 3, axis=1)
    W_hr, W_hz, W_hn = np.split(p["W_h"], 3, axis=1)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = np.split(p["b"], 3), np.split(p["b_h"], 3)
    r = sigmoid(x @ W_ir + b_ir + h @ W_hr + b_hr)
    z = sigmoid(x @ W_iz + b_iz + h @ W_hz + b_hz)
    n = np.tanh(x @ W_in + b_in + r * (h @ W_hn + b_hn))
    return ((1 - z) * n + z * h,)


def gru_before(p, carry, x):
    """Chung et al. 2014, with z for the share that is kept."""
    (h,) = carry
    u = np.split(x @ p["W_x"] + p["b"], 3, axis=-1)
    W = np.split(p["W_h"], 3, axis=1)
    r, z = sigmoid(u[0] + h @ W[0]), sigmoid(u[1] + h @ W[1])
    return ((1 - z) * np.tanh(u[2] + (r * h) @ W[2]) + z * h,)


PLAIN = {"rnn": rnn, "lstm": lstm, "gru": gru, "gru_before": gru_before}


def problem(name, seed=0):
    """Params, carry, inputs and fresh flags in float64, with a restart in the middle of the window."""
    draw = np.random.default_rng(seed)
    cell = CELLS[name]
    G = cell.gates * H
    params = {"W_x": draw.normal(size=(D, G)), "W_h": draw.normal(size=(H, G)), "b": draw.normal(size=G)}
    if cell.biases == 2:
        params["b_h"] = draw.normal(size=G)
    carry = tuple(draw.normal(size=(B, H)) for _ in range(cell.states))
    fresh = np.zeros((T, B), bool)
    fresh[3, 1] = fresh[5, 2] = fresh[0, 0] = True
    return cell, params, carry, draw.normal(size=(T, B, D)), fresh


def by_hand(name, params, carry, x, fresh):
    out = []
    for t in range(T):
        carry = tuple(np.where(fresh[t][:, None], 0, s) for s in carry)
        carry = PLAIN[name](params, carry, x[t])
        out.append(carry[0])
    return carry, np.stack(out)


def run(cell, params, carry, x, fresh, dtype):
    return scan.scan(cell, params, carry, scan.project(params, x, dtype), fresh, dtype)


@pytest.mark.parametrize("name", CELLS)
def test_equals_numpy(name):
    cell, params, carry, x, fresh = problem(name)
    wanted, wanted_h = by_hand(name, params, carry, x, fresh)
    with jax.enable_x64(True):
        got, got_h = run(cell, params, carry, x, fresh, jnp.float64)
    np.testing.assert_allclose(got_h, wanted_h, rtol=1e-12)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    narrow = jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == np.float64 else a, (params, carry, x))
    _, got_h = run(cell, *narrow, fresh, jnp.float32)
    np.testing.assert_allclose(got_h, wanted_h, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_gradient_equals_finite_differences(name):
    cell, params, carry, x, fresh = problem(name)
    draw = np.random.default_rng(1)
    weights = draw.normal(size=(T, B, H))

    def loss(params, carry, x):
        carry, h = run(cell, params, carry, x, fresh, jnp.float64)
        return jnp.sum(h * weights) + sum(jnp.sum(jnp.sin(s)) for s in carry)

    with jax.enable_x64(True):
        grads = jax.grad(loss, (0, 1, 2))(params, carry, x)
        flat, tree = jax.tree.flatten((params, carry, x))
        for i, grad in enumerate(jax.tree.leaves(grads)):
            way = draw.normal(size=flat[i].shape)

            def along(e, i=i, way=way):
                moved = [leaf + e * way if j == i else leaf for j, leaf in enumerate(flat)]
                return float(loss(*jax.tree.unflatten(tree, moved)))

            slope = (along(1e-5) - along(-1e-5)) / 2e-5
            assert np.sum(np.asarray(grad) * way) == pytest.approx(slope, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("name", CELLS)
def test_written_backward_equals_jax(name):
    cell, params, carry, x, fresh = problem(name, seed=2)

    def loss(scanned, params, carry, x):
        carry, h = scanned(cell, params, carry, scan.project(params, x, jnp.float64), fresh, jnp.float64)
        return jnp.sum(jnp.cos(h)) + sum(jnp.sum(s**2) for s in carry)

    with jax.enable_x64(True):
        ours = jax.grad(loss, (1, 2, 3))(scan.scan, params, carry, x)
        theirs = jax.grad(loss, (1, 2, 3))(scan_steps, params, carry, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours, theirs)


@pytest.mark.parametrize("name", CELLS)
def test_bfloat16_products_keep_a_float32_carry(name):
    cell, params, carry, x, fresh = jax.tree.map(
        lambda a: a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a, problem(name)
    )
    _, exact = run(cell, params, carry, x, fresh, jnp.float32)
    after, rough = run(cell, params, carry, x, fresh, jnp.bfloat16)
    assert all(s.dtype == jnp.float32 for s in (*after, rough))
    error = float(jnp.max(jnp.abs(exact - rough)))
    assert 0 < error < 0.1


def test_rows_and_both_forms_of_their_gradient_are_the_one_hot_product():
    draw = np.random.default_rng(0)
    x, table = draw.integers(0, 5, (T, B)), jnp.asarray(draw.normal(size=(5, 4)), jnp.float32)
    out, pull = jax.vjp(lambda t: scan.embed(t, x), table)
    one_hot = np.eye(5, dtype=np.float32)[x]
    np.testing.assert_array_equal(out, one_hot @ table)
    d = draw.normal(size=(T, B, 4)).astype(np.float32)
    wanted = np.einsum("tbv,tbg->vg", one_hot, d)
    np.testing.assert_allclose(pull(d)[0], wanted, rtol=1e-5, atol=1e-6)
    for form in (scan.segment_sum, scan.one_hot_matmul):
        np.testing.assert_allclose(form(5, x.reshape(-1), d.reshape(-1, 4)), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_the_backward_loop_holds_no_gradient_of_the_weights(name):
    """What the reverse scan carries and stacks is of lanes and time: weights' gradients are made after it, at once."""
    cell, params, carry, x, fresh = problem(name)

    def loss(params):
        return jnp.sum(run(cell, params, carry, x, fresh, jnp.float32)[1])

    jaxpr = jax.make_jaxpr(jax.grad(loss))(jax.tree.map(jnp.float32, params))
    loops = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    assert any(eqn.params["reverse"] for eqn in loops)
    for eqn in loops:
        assert params["W_h"].shape not in [out.aval.shape[-2:] for out in eqn.outvars]
