"""Cells from outside: a `Cell` of one's own, or a flax RNN cell behind an adapter, by import path."""

import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Cell, Param, Params, State
from rnnlm.cells.check import name_cell_in_errors
from rnnlm.errors import UserError


def load_cell(name: str, options: dict[str, Any]) -> Cell:
    """Import the cell named package.module:Name.

    Name is a `Cell`, a function of `model.options` that makes one, or a subclass of flax's nn.RNNCellBase. Raises
    UserError where it is none of these.
    """
    return _load_cell(name, json.dumps(options, sort_keys=True))


@lru_cache
def _load_cell(name: str, options_json: str) -> Cell:
    options, found = json.loads(options_json), import_name(name)
    is_flax = inspect.isclass(found) and issubclass(found, nn.RNNCellBase)
    if callable(found) and not is_flax and not isinstance(found, type):
        with name_cell_in_errors(name):
            found = found(options)
    elif options:
        raise UserError(f"model.cell={name} takes no model.options: leave them out.")
    if is_flax:
        with name_cell_in_errors(name):
            return FlaxAdapter(name, cast(Any, found)).to_cell()
    if not isinstance(found, Cell):
        what = found.__name__ if isinstance(found, type) else type(found).__name__
        raise UserError(
            f"model.cell={name} gives {what}: expected a Cell, a function of model.options that returns one, or a "
            "subclass of flax.linen.RNNCellBase (not of flax.nnx)."
        )
    return found


def import_name(name: str) -> Any:
    """Import package.module:Name. Raises UserError where that fails."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module is a program, so it can fail in any way
        raise UserError(
            f"model.cell={name} cannot be imported ({type(error).__name__}: {error}): give package.module:Name of a "
            "module in the working directory or on PYTHONPATH."
        ) from error


@dataclass(frozen=True)
class FlaxAdapter:
    """Adapt a flax cell to a `Cell`: built as Name(features=H), one feature axis, no mutable collections.

    Its carry is (output, *the cell's own carry). A cell that draws random numbers gets a key only while training: in
    evaluation `self.has_rng` is false. Each method raises UserError for a cell that does not fit.
    """

    name: str
    module_type: Callable[..., nn.RNNCellBase]

    def to_cell(self) -> Cell:
        """Make the `Cell` of the flax cell."""
        return Cell(self.params, self.carry, step=self.step, recurrent=(), random=self.is_random())

    def build(self, hidden: int) -> nn.RNNCellBase:
        """Build the flax module at a width."""
        try:
            module = self.module_type(features=hidden, parent=None)
        except TypeError as error:
            raise UserError(f"model.cell={self.name} cannot be built as Name(features=H): {error}.") from None
        if module.num_feature_axes != 1:
            raise UserError(
                f"model.cell={self.name} has {module.num_feature_axes} feature axes, but the cell of a language model "
                "has one."
            )
        return module

    def own_carry(self, hidden: int, inputs: int) -> Any:
        """Return the flax cell's own carry at the start of a text, without lanes."""
        return self.build(hidden).initialize_carry(jax.random.PRNGKey(0), (inputs,))

    def init(self, inputs: int, hidden: int, key: jax.Array) -> dict[str, jax.Array]:
        """Draw the params as flax does, by name such as "hf.kernel"."""
        variables = self.build(hidden).init(key, self.own_carry(hidden, inputs), jnp.zeros((inputs,)))
        mutable = sorted(variables.keys() - {"params"})
        if mutable:
            raise UserError(
                f"model.cell={self.name} keeps mutable collections ({', '.join(mutable)}), which a scan over time "
                "cannot hand on: use a cell whose variables are params only."
            )
        return flatten_dict(variables.get("params", {}), sep=".")

    def params(self, inputs: int, hidden: int) -> dict[str, Param]:
        """Declare the params; each is drawn by initializing the whole cell with its key."""
        shapes = jax.eval_shape(partial(self.init, inputs, hidden), jax.random.PRNGKey(0))
        return {
            leaf: Param(shape.shape, lambda key, _, leaf=leaf: self.init(inputs, hidden, key)[leaf])  # type: ignore[misc]
            for leaf, shape in shapes.items()
        }

    def carry(self, hidden: int) -> dict[str, State]:
        """Declare the carry: the output, then the arrays of the cell's own carry."""
        with jax.ensure_compile_time_eval():
            leaves = jax.device_get(jax.tree.leaves(self.own_carry(hidden, hidden)))
        own = {f"carry_{i}": State(leaf.shape, leaf.dtype, leaf) for i, leaf in enumerate(leaves)}
        return {"output": State((hidden,))} | own

    def step(
        self, params: Params, before: Carry, x_BD: jax.Array, dtype: DTypeLike, keys_B: jax.Array | None = None
    ) -> Carry:
        """Take one step; with keys each lane draws from its own."""
        if keys_B is None:
            return self.apply(params, before, x_BD, None)
        return jax.vmap(self.apply, (None, 0, 0, 0))(params, before, x_BD, keys_B)

    def apply(self, params: Params, before: Carry, x: jax.Array, key: jax.Array | None) -> Carry:
        """Apply the flax cell to inputs [..., D] and a carry [..., ...]."""
        hidden = before[0].shape[-1]
        structure = jax.tree.structure(self.own_carry(hidden, x.shape[-1]))
        own_carry = jax.tree.unflatten(structure, before[1:])
        rngs = None if key is None else {"params": key, "dropout": key}
        try:
            own_carry, output = self.build(hidden).apply(
                {"params": unflatten_dict(dict(params), sep=".")}, own_carry, x, rngs=rngs
            )
        except flax.errors.InvalidRngError:
            raise UserError(
                f"model.cell={self.name} draws random numbers in evaluation, too: let it draw only where "
                'self.has_rng("dropout"), which holds while training.'
            ) from None
        return (output, *jax.tree.leaves(own_carry))

    def is_random(self, inputs: int = 2, hidden: int = 2) -> bool:
        """Return whether the program of a step differs where there is a key."""
        zeros = {leaf: jnp.zeros(param.shape) for leaf, param in self.params(inputs, hidden).items()}
        before = tuple(jnp.zeros((1, *s.shape), s.dtype) for s in self.carry(hidden).values())
        programs = []
        for key in (None, jax.random.PRNGKey(0)):
            step = partial(self.apply, zeros, before, key=key)
            program, (output, *_) = jax.make_jaxpr(step, return_shape=True)(jnp.zeros((1, inputs)))
            programs.append(str(program))
        if output.shape != (1, hidden):
            raise UserError(
                f"model.cell={self.name} gives an output of shape {output.shape[1:]}, but features={hidden}."
            )
        return programs[0] != programs[1]
