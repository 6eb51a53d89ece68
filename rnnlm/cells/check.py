"""Check a cell from outside before it is used: what it draws and returns has the shapes and dtypes that it declares."""

import contextlib
import traceback
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Cell, Gates, Params, State, one_step, read_gates
from rnnlm.errors import UserError

LANES, STEPS = 2, 3


@contextlib.contextmanager
def name_cell_in_errors(name: str) -> Iterator[None]:
    """Turn any error of the block into a UserError that names the cell and the line of its module."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a cell is a program, so it can fail in any way
        frames = traceback.extract_tb(error.__traceback__)
        module = name.partition(":")[0].replace(".", "/")
        own = [frame for frame in frames if frame.filename.removesuffix(".py").endswith(module)]
        where = f" at line {own[-1].lineno} of {own[-1].filename}" if own else ""
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".removesuffix(": ")
        raise UserError(f"model.cell={name} fails{where} ({reason}).") from error


def check_cell(cell: Cell, name: str, inputs: int, hidden: int, dtype: DTypeLike) -> None:
    """Raise UserError, naming the cell, unless its params, carry, output and gates are what the contract says.

    The functions of the cell are traced at the given widths; nothing is computed.
    """
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    with name_cell_in_errors(name):
        declared, states = cell.params(inputs, hidden), cell.carry(hidden)
        for param, (shape, init) in declared.items():
            drawn = jax.eval_shape(lambda key, init=init, shape=shape: init(key, shape), key)
            expect(name, f"the initial value of {param}", drawn, shape, jnp.float32)
        unknown = set(cell.recurrent) - declared.keys() - {"W_h"}
        if unknown:
            raise UserError(f"model.cell={name} has no param {unknown.pop()!r}, which its field recurrent names.")
        params = {param: jax.ShapeDtypeStruct(p.shape, jnp.float32) for param, p in declared.items()}
        before = tuple(jax.ShapeDtypeStruct((LANES, *s.shape), s.dtype) for s in states.values())
        width = declared["W_x"].shape[-1] if "W_x" in declared else inputs
        u_BG = jax.ShapeDtypeStruct((LANES, width), jnp.float32)
        after, output, gates = jax.eval_shape(partial(run_step, cell, dtype), params, before, u_BG)
        expect_carry(name, "a step", after, states)
        if not jnp.issubdtype(output.dtype, jnp.floating):
            raise UserError(f"model.cell={name} has the output as {describe(output)}: expected a floating-point array.")
        expect(name, "the output", output, (LANES, cell.count_outputs(hidden)), output.dtype)
        if cell.window is not None:
            u_TBG = jax.ShapeDtypeStruct((STEPS, *u_BG.shape), u_BG.dtype)
            reset_TB = jax.ShapeDtypeStruct((STEPS, LANES), bool)
            after, outputs = jax.eval_shape(partial(run_window, cell, dtype), params, before, u_TBG, reset_TB)
            expect_carry(name, "a window", after, states)
            expect(name, "the output of a window", outputs, (STEPS, *output.shape), output.dtype)
        for gate, got in gates.items():
            expect(name, f"the gate {gate}", got, (LANES, hidden), got.dtype)


def run_step(
    cell: Cell, dtype: DTypeLike, params: Params, before: Carry, u_BG: jax.Array
) -> tuple[Carry, jax.Array, Gates]:
    """Run a step without randomness: -> (what the cell returns as its carry, the output, the gates)."""
    after, output, a_BA = one_step(cell, params, before, u_BG, dtype)
    return after, output, read_gates(cell, params, before, u_BG, a_BA, dtype)


def run_window(cell: Cell, dtype: DTypeLike, *arrays: Any) -> tuple[Carry, jax.Array]:
    """Run a window of a cell that has `window`."""
    assert cell.window is not None
    params, before, u_TBG, reset_TB = arrays
    return cell.window(params, before, u_TBG, reset_TB, dtype)


def expect_carry(name: str, what: str, after: Any, states: dict[str, State]) -> None:
    """Raise UserError unless what is returned after `what` are the arrays of the carry."""
    if not isinstance(after, tuple) or len(after) != len(states):
        raise UserError(
            f"model.cell={name} returns {describe(after)} from {what}: expected a tuple of the {len(states)} "
            f"arrays of its carry ({', '.join(states)})."
        )
    for (state, declared), got in zip(states.items(), after, strict=True):
        expect(name, f"{state} after {what}", got, (LANES, *declared.shape), declared.dtype)


def expect(name: str, what: str, got: Any, shape: tuple[int, ...], dtype: DTypeLike) -> None:
    """Raise UserError unless an array has the shape and dtype."""
    if getattr(got, "shape", None) != shape or got.dtype != jnp.dtype(dtype):
        expected = f"{jnp.dtype(dtype)}{list(shape)}"
        raise UserError(f"model.cell={name} has {what} as {describe(got)}: expected {expected}.")


def describe(value: Any) -> str:
    """Describe a value in few words: an array by dtype and shape, a tuple by its length."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"{value.dtype}{list(value.shape)}" if hasattr(value, "shape") else f"a {type(value).__name__}"
