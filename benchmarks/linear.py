"""Time the forms of the recurrences that are linear in their carry, forward and backward, on this process's devices.

    python benchmarks/linear.py [--rounds=15]

Prints milliseconds for each shape T x B x H, and appends a line of JSON to benchmarks/results/linear.jsonl: for
h' = a h + b, of which `log space` is the form of Heinsen 2023 that the references of minGRU and minLSTM use, for
positive numbers alone; and for `matrix_lstm`, step by step and by chunks of a number of steps.
"""

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp

from benchmarks.contest import ROOT, table
from rnnlm.cells import Cell, Params, linear, matrix_lstm
from rnnlm.files import append_line
from rnnlm.nn import scan
from rnnlm.nn.block import Block
from rnnlm.options import MatrixLSTMOptions

CPU_SHAPES = [(50, 50, 256), (500, 50, 256), (5000, 4, 256)]
MATRIX_SHAPES = [(50, 50, 256), (500, 8, 256), (5000, 1, 256)]
CHUNKS = (16, 32, 64, 128)
"""Values of model.matrix_lstm.chunk."""
GPU_SHAPES = [(50, 50, 256), (50, 128, 1024), (500, 50, 256), (500, 128, 1024), (5000, 4, 256), (5000, 16, 1024)]


def log_space(a_TBH: jax.Array, b_TBH: jax.Array, h_BH: jax.Array) -> jax.Array:
    """Compute h_TBH through logarithms of positive a, b and h."""
    decay = jnp.cumsum(jnp.log(a_TBH), 0)
    inputs = jnp.concatenate([jnp.log(h_BH)[None], jnp.log(b_TBH) - decay])
    return jnp.exp(decay + jax.lax.cumlogsumexp(inputs, 0)[1:])


FORMS: dict[str, Callable[..., jax.Array]] = {
    "steps": partial(linear.recur, linear.step_by_step),
    "associative": partial(linear.recur, linear.associative),
    "log space": log_space,
}


def loss(form: Callable[..., jax.Array], a: jax.Array, b: jax.Array, h: jax.Array, weights_TBH: jax.Array) -> jax.Array:
    """Return a weighted sum of the outputs of a form."""
    return jnp.sum(form(a, b, h) * weights_TBH)


def measure(shape: tuple[int, int, int], rounds: int) -> dict[str, float]:
    """Time each form, turn by turn: -> medians in milliseconds."""
    _, lanes, width = shape
    keys = jax.random.split(jax.random.PRNGKey(0), 4)
    a = jax.nn.sigmoid(jax.random.normal(keys[0], shape))
    b, weights = jax.random.uniform(keys[1], shape, minval=0.1), jax.random.normal(keys[2], shape)
    h = jax.random.uniform(keys[3], (lanes, width), minval=0.1)
    programs = {name: jax.jit(jax.grad(partial(loss, form), (0, 1, 2))) for name, form in FORMS.items()}
    return take_turns({name: partial(program, a, b, h, weights) for name, program in programs.items()}, rounds)


def measure_matrix(shape: tuple[int, int, int], rounds: int) -> dict[str, float]:
    """Time `matrix_lstm` step by step and by chunks, turn by turn: -> medians in milliseconds."""
    length, lanes, hidden = shape
    cells = {f"chunk {chunk}": matrix_lstm.make_cell(MatrixLSTMOptions(chunk=chunk)) for chunk in CHUNKS}
    cell = cells[f"chunk {CHUNKS[0]}"]
    cells = {"steps": replace(cell, window=None)} | cells
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    params = {name: param.init(keys[0], param.shape) for name, param in cell.params(hidden, hidden).items()}
    u_TBG = jax.random.normal(keys[1], (length, lanes, params["W_x"].shape[1]))
    weights_TBH = jax.random.normal(keys[2], shape)
    carry, reset_TB = Block(cell, hidden, hidden).start(lanes), jnp.zeros((length, lanes), bool)

    def loss(cell: Cell, params: Params, u_TBG: jax.Array) -> jax.Array:
        return jnp.sum(scan.scan(cell, hidden, params, carry, u_TBG, reset_TB, "float32")[1] * weights_TBH)

    programs = {name: jax.jit(jax.grad(partial(loss, cell), (0, 1))) for name, cell in cells.items()}
    return take_turns({name: partial(program, params, u_TBG) for name, program in programs.items()}, rounds)


def take_turns(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Call compiled programs in turn: -> median milliseconds of a call by name."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        jax.block_until_ready(program())
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program())
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(seen) for name, seen in times.items()}


def main() -> None:
    """Time all shapes, print a table and append a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "linear.jsonl")
    arguments = parser.parse_args()
    shapes = CPU_SHAPES if jax.default_backend() == "cpu" else GPU_SHAPES
    timed = {" x ".join(map(str, shape)): measure(shape, arguments.rounds) for shape in shapes}
    matrix = {" x ".join(map(str, shape)): measure_matrix(shape, arguments.rounds) for shape in MATRIX_SHAPES}
    for rows in (timed, matrix):
        names = next(iter(rows.values()))
        table(["T x B x H", *names], [[shape, *(f"{ms:.2f}" for ms in row.values())] for shape, row in rows.items()])
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    device = jax.devices()[0].device_kind
    row = {"time": now, "device": device, "jax": jax.__version__, "milliseconds": timed, "matrix": matrix}
    append_line(arguments.results, json.dumps(row).encode())


if __name__ == "__main__":
    main()
