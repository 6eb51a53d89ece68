"""Laws that every cell satisfies, for any params, carry and form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rnnlm.cells import CELLS
from rnnlm.config import ModelConfig
from rnnlm.nn import model, scan, size
from tests.conftest import slow
from tests.plain import scan_steps

T, B, D, H = 6, 3, 4, 4
QUICK = ("lstm", "gru")
EVERY_CELL = [cell if cell in QUICK else slow(cell) for cell in CELLS]
"""The cells, of which the slow tests alone try the others than QUICK."""


def normal(shape, dtype, rng):
    """Draw normal numbers, complex for a complex dtype."""
    real = rng.normal(size=shape)
    return real + 1j * rng.normal(size=shape) if np.issubdtype(dtype, np.complexfloating) else real


def check_scan(cell, numpy_step):
    """Check the scan against numpy with resets, its gradient against autodiff, and a window against its halves."""
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=p.shape) * 0.5 for name, p in cell.params(D, H).items()}
    carry = tuple(normal((B, *s.shape), s.dtype, rng) for s in cell.carry(H).values())
    x, reset = rng.normal(size=(T, B, D)), rng.random((T, B)) < 0.2
    start = [np.asarray(s.start) for s in cell.carry(H).values()]

    def loss(run, params, carry, x):
        after, h = run(cell, H, params, carry, scan.project(params, x, jnp.float64), reset, jnp.float64)
        return jnp.sum(jnp.sin(h)) + sum(jnp.sum(jnp.abs(s) ** 2) for s in after), (after, h)

    def compiled(run, differentiate=lambda loss: loss):
        return jax.jit(partial(differentiate(loss), run))

    with jax.enable_x64(True):
        gradient = partial(jax.value_and_grad, argnums=(1, 2, 3), has_aux=True)
        (_, (after, h)), ours = compiled(scan.scan, gradient)(params, carry, x)
        _, theirs = compiled(scan_steps, gradient)(params, carry, x)
        _, (middle, head) = compiled(lambda *a: scan.scan(*a[:4], a[4][:2], a[5][:2], a[6]))(params, carry, x)
        _, (end, tail) = compiled(lambda *a: scan.scan(*a[:4], a[4][2:], a[5][2:], a[6]))(params, middle, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), ours, theirs)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), (end, np.concatenate([head, tail])), (after, h)
    )
    for t in range(T):
        carry = tuple(
            np.where(reset[t].reshape(-1, *[1] * (s.ndim - 1)), at, s) for s, at in zip(carry, start, strict=True)
        )
        carry, out = numpy_step(params, carry, x[t])
        np.testing.assert_allclose(h[t], out, rtol=1e-9, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), after, carry)


def check_model(name, **options):
    """Check the count of params, and that looped layers and single steps with folded params give equal logits."""
    config, V = ModelConfig(cell=name, options=options, hidden=H, layers=4, embedding=D), 5
    params = model.init_params(config, V, jax.random.PRNGKey(0))
    assert size.count_params(config, V) == sum(p.size for p in jax.tree.leaves(params))
    assert size.flops_per_symbol(config, V) > 0
    x = np.random.default_rng(0).integers(0, V, (B, T)).astype(np.int32)
    carry, reset = model.initial_carry(config, B), np.zeros((B, T), bool)
    after, logits = jax.jit(model.apply(config, V))(params, carry, x, reset)
    step = jax.jit(model.apply(model.inference_config(config), V, step_by_step=True))
    folded = model.inference_params(config, params)
    for t in range(T):
        carry, one = step(folded, carry, x[:, t : t + 1], reset[:, :1])
        np.testing.assert_allclose(one[:, 0], logits[:, t], rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), carry, after)
