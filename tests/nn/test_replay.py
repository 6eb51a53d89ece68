"""A backward pass that reuses the products of a step gives the gradients of autodiff, and computes none twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlm.cells import cell_of
from rnnlm.cells.cell import Cell, Param, normal, vector_carry
from rnnlm.config import ModelConfig
from rnnlm.nn import scan
from rnnlm.nn.replay import record
from rnnlm.product import product
from tests.plain import scan_steps

T, B, D, H = 5, 3, 4, 6


def matrices(count):
    return {f"W_{i}": Param((H, H), normal) for i in range(count)}


def in_parts(params, carry, u_BG, dtype):
    """Multiply by blocks, by parts of matrices and a product of two, in a `vmap`, in a `jit` and without `product`."""
    (h,) = carry
    blocks = product(h, params["W_0"].reshape(2, 3, H)[:, :, :3], dtype)
    sliced = product(h[:, :2], params["W_1"][:2], dtype)
    low_rank = product(h, product(params["W_2"][:, :3], params["W_3"][:3], dtype), dtype)
    mapped = jax.vmap(lambda row: product(row, params["W_4"], dtype))(h[:, None])[:, 0]
    jitted = jax.jit(lambda h: product(h, params["W_5"], dtype))(h)
    return (jnp.tanh(u_BG + blocks + sliced + low_rank + mapped * jitted + h @ params["W_6"]),)


def problem(cell, seed=0):
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(size=param.shape) / 2 for name, param in cell.params(D, H).items()}
    carry = tuple(rng.normal(size=(B, *state.shape)) for state in cell.carry(H).values())
    reset = np.zeros((T, B), bool)
    reset[2, 1] = True
    width = params["W_x"].shape[1] if "W_x" in params else H
    return params, carry, rng.normal(size=(T, B, width)), reset


@pytest.mark.parametrize("lanes", [B, H])
def test_gradients_are_those_of_autodiff_however_a_step_multiplies(lanes):
    """With as many lanes as a matrix has rows, products of matrices look like products of rows."""
    cell = Cell(lambda D, H: matrices(7), vector_carry("h"), step=in_parts, recurrent=())
    params, carry, u, reset = problem(cell)
    carry, u, reset = (np.repeat(x, lanes // B, axis) for x, axis in ((carry[0], 0), (u, 1), (reset, 1)))

    def loss(run, params, carry, u):
        after, h = run(cell, H, params, (carry,), u, reset, jnp.float64)
        return jnp.sum(jnp.sin(h)) + jnp.sum(after[0] ** 2)

    with jax.enable_x64(True):
        ours = jax.grad(loss, (1, 2, 3))(scan.scan, params, carry, u)
        theirs = jax.grad(loss, (1, 2, 3))(scan_steps, params, carry, u)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), ours, theirs)


def count_products(jaxpr):
    inner = [p for eqn in jaxpr.eqns for p in jax.tree.leaves(eqn.params, is_leaf=lambda p: hasattr(p, "eqns"))]
    own = sum(eqn.primitive.name == "dot_general" for eqn in jaxpr.eqns)
    return own + sum(count_products(getattr(p, "jaxpr", p)) for p in inner if hasattr(p, "eqns"))


@pytest.mark.parametrize("name", ["mogrifier", "fsrnn", "rhn", "mlstm"])
def test_each_loop_over_time_computes_each_product_once(name):
    cell = cell_of(ModelConfig(cell=name))
    params, carry, u, reset = problem(cell)
    recurrent = {name: p for name, p in params.items() if name != "W_x"}
    args = jax.tree.map(jnp.float32, (recurrent, carry, u))
    _, products = record(lambda: cell.step(args[0], args[1], args[2][0], jnp.float32))

    def loss(params, carry, u):
        return jnp.sum(scan.scan(cell, H, params, carry, u, reset, jnp.float32)[1])

    jaxpr = jax.make_jaxpr(jax.grad(loss))(*args)
    loops = [eqn.params["jaxpr"].jaxpr for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    assert [count_products(loop) for loop in loops] == [len(products)] * 2
