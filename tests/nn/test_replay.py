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
from rnnlm.product import multiply, product
from tests.conftest import slow
from tests.plain import scan_steps

D = H = 6


@jax.custom_jvp
def squared_product(h, w):
    return product(h, w, jnp.float64) ** 2


@squared_product.defjvp
def _(primals, tangents):
    return squared_product(*primals), 2 * (primals[0] @ primals[1]) * (
        tangents[0] @ primals[1] + primals[0] @ tangents[1]
    )


def in_parts(params, carry, u_BG, dtype):
    """Multiply by a param, blocks, parts of matrices, a product of two, and in whatever hides a product."""
    (h,) = carry
    whole = product(h, params["W_7"], dtype)
    blocks = product(h, params["W_0"].reshape(2, 3, H)[:, :, :3], dtype)
    sliced = product(h[:, :2], params["W_1"][:2], dtype)
    low_rank = product(h, product(params["W_2"][:, :3], params["W_3"][:3], dtype), dtype)
    mapped = jax.vmap(lambda row: product(row, params["W_4"], dtype))(h[:, None])[:, 0]
    jitted = jax.jit(lambda h: product(h, params["W_5"], dtype))(h)
    other_side = product(params["W_6"].T, h.T, dtype).T
    hidden = squared_product(h, params["W_8"])
    return (
        jnp.tanh(u_BG + whole + blocks + sliced + low_rank + mapped * jitted + other_side + hidden + h @ params["W_9"]),
    )


def problem(cell, time=5, lanes=3):
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=param.shape) / 2 for name, param in cell.params(D, H).items()}
    carry = tuple(rng.normal(size=(lanes, *state.shape)) for state in cell.carry(H).values())
    width = params["W_x"].shape[1] if "W_x" in params else D
    return params, carry, rng.normal(size=(time, lanes, width)), rng.random((time, lanes)) < 0.2


@pytest.mark.parametrize("time", [1, 5])
@pytest.mark.parametrize("lanes", [1, slow(3), H])
@pytest.mark.parametrize("compiled", [slow(False), True])
def test_gradients_are_those_of_autodiff_however_a_step_multiplies(time, lanes, compiled):
    """With as many lanes as a matrix has rows, or one time step, products of matrices look like products of rows."""
    params = {f"W_{i}": Param((H, H), normal) for i in range(10)}
    cell = Cell(lambda D, H: params, vector_carry("h"), step=in_parts, recurrent=())
    params, carry, u, reset = problem(cell, time, lanes)

    def loss(run, params, carry, u):
        after, h = run(cell, H, params, carry, u, reset, jnp.float64)
        return jnp.sum(jnp.sin(h)) + jnp.sum(after[0] ** 2)

    with jax.enable_x64(True):
        gradient = jax.grad(loss, (1, 2, 3))
        ours = (jax.jit(gradient, static_argnums=0) if compiled else gradient)(scan.scan, params, carry, u)
        theirs = gradient(scan_steps, params, carry, u)
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
    _, products, _ = record(lambda: cell.step(args[0], args[1], args[2][0], jnp.float32))

    def loss(params, carry, u):
        return jnp.sum(scan.scan(cell, H, params, carry, u, reset, jnp.float32)[1])

    jaxpr = jax.make_jaxpr(jax.grad(loss))(*args)
    loops = [eqn.params["jaxpr"].jaxpr for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    assert [count_products(loop) for loop in loops] == [len(products)] * 2


@pytest.mark.parametrize("shapes", [((4, 6), (3, 2)), ((4, 6), (2, 6, 1))])
def test_a_product_of_shapes_that_do_not_fit_is_refused(shapes):
    x, w = map(jnp.ones, shapes)
    with pytest.raises(TypeError, match="reshape"):
        multiply(x, w, jnp.float32)


def test_a_product_of_no_rows_is_empty():
    assert multiply(jnp.ones((0, 6)), jnp.ones((6, 2)), jnp.float32).shape == (0, 2)
