"""Recompute the forward pass in the backward pass, to save memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from rnnlm.cells import Params


# Not jax.checkpoint, which would run the scan's forward pass for gradients twice, the first time for nothing.
@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recompute(function: Callable[..., Any], params: Params, carry: Any, *inputs: Any) -> Any:
    """Return function(params, carry, *inputs); the backward pass runs it again, and keeps its arguments only.

    It is differentiated with respect to `params` and `carry`.
    """
    return function(params, carry, *inputs)


def _recompute_fwd(function: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[Any, ...]]:
    return function(*arguments), arguments


def _recompute_bwd(function: Callable[..., Any], arguments: tuple[Any, ...], cotangents: Any) -> tuple[Any, ...]:
    params, carry, *inputs = arguments
    _, backward = jax.vjp(lambda params, carry: function(params, carry, *inputs), params, carry)
    return *backward(cotangents), *(None for _ in inputs)


recompute.defvjp(_recompute_fwd, _recompute_bwd)
