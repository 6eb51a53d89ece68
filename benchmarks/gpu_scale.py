"""Define the sizes of the parts of `benchmarks/gpu.sh`, and the file that they write."""

import contextlib
import datetime
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.versus import SHAPES, SQUARE
from rnnlm.files import append_line

Row = dict[str, Any]

FLAGS = {
    "command buffers, loops too": "--xla_gpu_enable_command_buffer=+WHILE",
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "command buffers of one kernel": "--xla_gpu_graph_min_graph_size=1",
    "latency hiding": "--xla_gpu_enable_latency_hiding_scheduler=true",
    "autotuning level 0": "--xla_gpu_autotune_level=0",
    "autotuning level 1": "--xla_gpu_autotune_level=1",
    "Triton for any product": "--xla_gpu_triton_gemm_any=true",
    "no Triton products": "--xla_gpu_enable_triton_gemm=false",
    "double-buffered loops": "--xla_gpu_enable_while_loop_double_buffering=true",
}
"""Flags of XLA that JAX's GPU performance tips and NVIDIA's JAX-Toolbox recommend, tried one by one."""

KEPT = "no flag, compiled programs kept"
REPEATABLE = {
    KEPT: "",
    "no flag": "",
    "deterministic kernels only": "--xla_gpu_exclude_nondeterministic_ops=true",
    "deterministic kernels, no autotuning": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0",
}
"""Flags that may make a run repeatable, from the least to the most costly; but for the first each run compiles anew."""


@dataclass(frozen=True)
class Scale:
    """Set the shapes, configs and times of all parts.

    Peers are tried with further settings at the shape `thorough`, whose model is also sampled. The part `memory` takes
    the shape `chunked`, in chunks of an eighth of its window. `train_seconds` are from the first row of metrics on. A
    contestant that is not ready after `patience` seconds is left out.
    """

    shapes: list[tuple[int, int, int, int]]
    thorough: tuple[int, int, int, int]
    chunked: tuple[int, int, int, int]
    square: int
    quickstart: list[str]
    dynamic_symbols: int
    train: list[str]
    train_seconds: float
    resume: list[str]
    resume_steps: int
    patience: float
    turn: float
    rounds: int
    flags: dict[str, str] = field(default_factory=lambda: FLAGS)


def overrides(**values: Any) -> list[str]:
    """Format config overrides: model__hidden=8 as --config.model.hidden=8."""
    return [f"--config.{name.replace('__', '.')}={value}" for name, value in values.items()]


LARGE = {"model__layers": 3, "model__hidden": 1024, "model__embedding": 1024, "train__batch": 128, "train__window": 128}
TINY = {
    "model__hidden": 16,
    "model__embedding": 16,
    "train__batch": 4,
    "train__window": 8,
    "data__files": "rnnlm/*/*.py",
    "data__split": "0.6/0.1/0.3",
}
RARELY = {"eval__every": 1000, "checkpoint__every": 5000, "sample__every": 0}
RESUME = {"model__dropout": 0.1, "log__every": 1, "eval__every": 0, "sample__every": 0}
GPU = Scale(
    shapes=[SHAPES["gpu"][i] for i in (2, 0, 1)],  # the largest and the smallest first
    thorough=SHAPES["gpu"][0],
    chunked=(1, 512, 16, 4096),
    square=SQUARE["gpu"],
    quickstart=[],
    dynamic_symbols=100_000,
    train=overrides(**LARGE, **RARELY, model__dtype="bfloat16", train__steps=20_000, optim__learning_rate=2e-3),
    train_seconds=25,
    resume=overrides(**RESUME, model__layers=2, model__hidden=512, model__dtype="bfloat16", checkpoint__every=80),
    resume_steps=400,
    patience=90,
    turn=0.2,
    rounds=6,
)
TRIAL = Scale(
    shapes=[(1, 16, 4, 8)],
    thorough=(2, 16, 4, 8),
    chunked=(1, 16, 4, 64),
    square=64,
    quickstart=overrides(**TINY, log__every=5, train__steps=30),
    dynamic_symbols=2000,
    train=overrides(**TINY, log__every=10, eval__every=0, checkpoint__every=500, sample__every=0, train__steps=10**7),
    train_seconds=9,
    resume=overrides(**RESUME, **TINY, checkpoint__every=10),
    resume_steps=60,
    patience=200,
    turn=0.02,
    rounds=6,
    flags=dict(list(FLAGS.items())[:1]),
)


@dataclass(frozen=True)
class Run:
    """Append and read the rows of one run of the script: those in OUT/gpu.jsonl from the last row `machine` on."""

    out: Path
    cpu: bool

    @property
    def scale(self) -> Scale:
        """Return the sizes for the device."""
        return TRIAL if self.cpu else GPU

    def add(self, part: str, **values: Any) -> None:
        """Append a row to gpu.jsonl, and print it."""
        row = {"part": part, "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")} | values
        append_line(self.out / "gpu.jsonl", json.dumps(row).encode())
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()

    def rows(self, part: str) -> list[Row]:
        """Return the rows of a part; an incomplete line is skipped."""
        path, rows = self.out / "gpu.jsonl", []
        for line in path.read_text().splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                rows = [row] if row["part"] == "machine" else [*rows, row]
        return [row for row in rows if row["part"] == part]
