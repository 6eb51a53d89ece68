"""Time the forms of the linear recurrence h' = a h + b, forward and backward, on this process's devices.

    python benchmarks/linear.py [--rounds=15]

Prints milliseconds for each shape T x B x H, and appends a line of JSON to benchmarks/results/linear.jsonl. `log space`
is the form of Heinsen 2023 that the references of minGRU and minLSTM use; it takes positive numbers alone.
"""

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp

from benchmarks.contest import ROOT, table
from rnnlm.cells import linear
from rnnlm.files import append_line

CPU_SHAPES = [(50, 50, 256), (500, 50, 256), (5000, 4, 256)]
GPU_SHAPES = [(50, 50, 256), (50, 128, 1024), (500, 50, 256), (500, 128, 1024), (5000, 4, 256), (5000, 16, 1024)]


def log_space(a_TBS: jax.Array, b_TBS: jax.Array, h_BS: jax.Array) -> jax.Array:
    """Compute h_TBS through logarithms of positive a, b and h."""
    decay = jnp.cumsum(jnp.log(a_TBS), 0)
    inputs = jnp.concatenate([jnp.log(h_BS)[None], jnp.log(b_TBS) - decay])
    return jnp.exp(decay + jax.lax.cumlogsumexp(inputs, 0)[1:])


FORMS: dict[str, Callable[..., jax.Array]] = {
    "steps": partial(linear.recur, linear.step_by_step),
    "associative": partial(linear.recur, linear.associative),
    "log space": log_space,
}


def loss(form: Callable[..., jax.Array], a: jax.Array, b: jax.Array, h: jax.Array, weights_TBS: jax.Array) -> jax.Array:
    """Return a weighted sum of the outputs of a form."""
    return jnp.sum(form(a, b, h) * weights_TBS)


def measure(shape: tuple[int, int, int], rounds: int) -> dict[str, float]:
    """Time each form, turn by turn: -> medians in milliseconds."""
    _, lanes, width = shape
    keys = jax.random.split(jax.random.PRNGKey(0), 4)
    a = jax.nn.sigmoid(jax.random.normal(keys[0], shape))
    b, weights = jax.random.uniform(keys[1], shape, minval=0.1), jax.random.normal(keys[2], shape)
    h = jax.random.uniform(keys[3], (lanes, width), minval=0.1)
    programs = {name: jax.jit(jax.grad(partial(loss, form), (0, 1, 2))) for name, form in FORMS.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        jax.block_until_ready(program(a, b, h, weights))
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(a, b, h, weights))
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
    table(["T x B x H", *FORMS], [[shape, *(f"{ms:.2f}" for ms in row.values())] for shape, row in timed.items()])
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    device = jax.devices()[0].device_kind
    row = {"time": now, "device": device, "jax": jax.__version__, "milliseconds": timed}
    append_line(arguments.results, json.dumps(row).encode())


if __name__ == "__main__":
    main()
