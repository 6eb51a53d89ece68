"""Load a cell by its import path: a `Cell`, or a flax RNN cell behind an adapter."""

import importlib
import inspect
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Cell, Param, Params, State
from rnnlm.errors import UserError


def load_cell(name: str, options: dict[str, Any]) -> Cell:
    """Import the cell named package.module:Name.

    Name is a `Cell`, a function of `model.options` that returns one, or a subclass of flax's nn.RNNCellBase. Raises
    UserError if it is none of these.
    """
    return _load_cell(name, json.dumps(options, sort_keys=True))


@lru_cache
def _load_cell(name: str, options_json: str) -> Cell:
    options, cell = json.loads(options_json), import_name(name)
    is_flax = inspect.isclass(cell) and issubclass(cell, nn.RNNCellBase)
    if callable(cell) and not is_flax:
        cell = cell(options)
    elif options:
        raise UserError(f"model.cell={name} takes no model.options: leave them out.")
    if is_flax:
        return adapt_flax(name, cast(Any, cell))
    if not isinstance(cell, Cell):
        raise UserError(
            f"model.cell={name} is a {type(cell).__name__}: expected a Cell, a function of model.options that makes "
            "one, or a subclass of flax.linen.RNNCellBase."
        )
    return cell


def import_name(name: str) -> Any:
    """Import package.module:Name. Raises UserError if that fails."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing a module runs its code, which can raise anything
        raise UserError(
            f"model.cell={name} cannot be imported ({type(error).__name__}: {error}): give package.module:Name of a "
            "module on Python's path."
        ) from error


def adapt_flax(name: str, module_type: Callable[..., nn.RNNCellBase]) -> Cell:
    """Adapt a flax cell, built as Name(features=H), to a `Cell`.

    The carry is (output, *the flax cell's carry). A cell that draws random numbers gets a key only while training: in
    evaluation `self.has_rng` is false. Raises UserError for a cell with more than one feature axis or with mutable
    collections.
    """

    def build(hidden: int) -> nn.RNNCellBase:
        try:
            module = module_type(features=hidden, parent=None)
        except TypeError as error:
            raise UserError(f"model.cell={name} cannot be built as Name(features=H): {error}.") from None
        if module.num_feature_axes != 1:
            raise UserError(
                f"model.cell={name} has {module.num_feature_axes} feature axes, but a language model's cell has one."
            )
        return module

    def own_carry(hidden: int, inputs: int) -> Any:
        return build(hidden).initialize_carry(jax.random.PRNGKey(0), (inputs,))

    def init(key: jax.Array, inputs: int, hidden: int) -> dict[str, jax.Array]:
        variables = build(hidden).init(key, own_carry(hidden, inputs), jnp.zeros((inputs,)))
        if variables.keys() - {"params"}:
            raise UserError(
                f"model.cell={name} keeps mutable collections ({', '.join(sorted(variables.keys() - {'params'}))}), "
                "which a scan over time cannot carry: use a cell whose variables are params only."
            )
        return flatten_dict(variables.get("params", {}), sep=".")

    @lru_cache
    def params(inputs: int, hidden: int) -> dict[str, Param]:
        shapes = jax.eval_shape(lambda key: init(key, inputs, hidden), jax.random.PRNGKey(0))
        return {
            leaf: Param(shape.shape, lambda key, _, leaf=leaf: init(key, inputs, hidden)[leaf])  # type: ignore[misc]
            for leaf, shape in shapes.items()
        }

    @lru_cache
    def carry(hidden: int) -> dict[str, State]:
        with jax.ensure_compile_time_eval():
            leaves = jax.tree.leaves(own_carry(hidden, hidden))
            return {"output": State((hidden,))} | {
                f"carry_{i}": State(leaf.shape, leaf.dtype, jax.device_get(leaf)) for i, leaf in enumerate(leaves)
            }

    def apply(params: Params, before: Carry, x: jax.Array, key: jax.Array | None) -> Carry:
        hidden = before[0].shape[-1]
        structure = jax.tree.structure(own_carry(hidden, x.shape[-1]))
        rngs = None if key is None else {"params": key, "dropout": key}
        variables = {"params": unflatten_dict(params, sep=".")}
        try:
            after, output = build(hidden).apply(variables, jax.tree.unflatten(structure, before[1:]), x, rngs=rngs)
        except flax.errors.InvalidRngError:
            raise UserError(
                f"model.cell={name} draws random numbers in evaluation, too: let it draw only where "
                'self.has_rng("dropout"), which holds while training.'
            ) from None
        return (output, *jax.tree.leaves(after))

    def step(
        params: Params, before: Carry, x_BD: jax.Array, dtype: DTypeLike, keys_B: jax.Array | None = None
    ) -> Carry:
        if keys_B is None:
            return apply(params, before, x_BD, None)
        return jax.vmap(apply, (None, 0, 0, 0))(params, before, x_BD, keys_B)

    def draws(inputs: int = 2, hidden: int = 2) -> bool:
        zeros = {leaf: jnp.zeros(param.shape) for leaf, param in params(inputs, hidden).items()}
        before = tuple(jnp.zeros((1, *s.shape), s.dtype) for s in carry(hidden).values())
        programs = []
        for key in (None, jax.random.PRNGKey(0)):
            program, (output, *_) = jax.make_jaxpr(lambda x, key=key: apply(zeros, before, x, key), return_shape=True)(
                jnp.zeros((1, inputs))
            )
            programs.append(str(program))
        if output.shape != (1, hidden):
            raise UserError(f"model.cell={name} gives an output of shape {output.shape[1:]}, but features={hidden}.")
        return programs[0] != programs[1]

    return Cell(params, carry, step=step, recurrent=(), random=draws())
