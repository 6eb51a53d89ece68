"""How large each part of `benchmarks/gpu.sh` is, and where it writes."""

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
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "command buffers, loops too": "--xla_gpu_enable_command_buffer=+WHILE",
    "command buffers of one kernel": "--xla_gpu_graph_min_graph_size=1",
    "latency hiding": "--xla_gpu_enable_latency_hiding_scheduler=true",
    "autotuning level 0": "--xla_gpu_autotune_level=0",
    "autotuning level 1": "--xla_gpu_autotune_level=1",
    "Triton for any product": "--xla_gpu_triton_gemm_any=true",
    "no Triton products": "--xla_gpu_enable_triton_gemm=false",
    "double-buffered loops": "--xla_gpu_enable_while_loop_double_buffering=true",
}
"""What the documentation of JAX (GPU performance tips) and of NVIDIA's JAX-Toolbox name, tried one by one."""

REPEATABLE = {
    "no flag": "",
    "deterministic kernels only": "--xla_gpu_exclude_nondeterministic_ops=true",
    "deterministic kernels, no autotuning": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0",
}
"""What makes a run repeatable, the cheapest first."""


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    shapes: list[tuple[int, int, int, int]]
    square: int
    train: list[str]
    train_seconds: float
    resume: list[str]
    resume_steps: int
    flags: dict[str, str] = field(default_factory=lambda: FLAGS)
    turn: float = 0.4
    rounds: int = 6


def overrides(**values: Any) -> list[str]:
    return [f"--config.{name.replace('__', '.')}={value}" for name, value in values.items()]


LARGE = {"model__layers": 3, "model__hidden": 1024, "model__embedding": 1024, "train__batch": 128, "train__window": 128}
TINY = {"model__hidden": 16, "model__embedding": 16, "train__batch": 4, "train__window": 8}
EVERY = {"eval__every": 500, "checkpoint__every": 500, "sample__every": 500}
RESUME = {"model__dropout": 0.1, "log__every": 1, "eval__every": 0, "sample__every": 0}
GPU = Scale(
    shapes=SHAPES["gpu"],
    square=SQUARE["gpu"],
    train=overrides(**LARGE, **EVERY, model__dtype="bfloat16", train__steps=20_000, optim__learning_rate=2e-3),
    train_seconds=120,
    resume=overrides(**RESUME, model__layers=2, model__hidden=512, model__dtype="bfloat16", checkpoint__every=40),
    resume_steps=200,
)
TRIAL = Scale(
    shapes=[(1, 16, 4, 8)],
    square=64,
    train=overrides(**TINY, log__every=10, eval__every=0, checkpoint__every=500, sample__every=0, train__steps=10**7),
    train_seconds=6,
    resume=overrides(**RESUME, **TINY, checkpoint__every=10),
    resume_steps=60,
    flags=dict(list(FLAGS.items())[:1]),
    turn=0.02,
    rounds=6,
)


@dataclass(frozen=True)
class Run:
    """Where one part works and writes."""

    out: Path
    cpu: bool

    @property
    def scale(self) -> Scale:
        return TRIAL if self.cpu else GPU

    def add(self, part: str, **values: Any) -> None:
        """Append a row, and show it."""
        row = {"part": part, "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")} | values
        append_line(self.out / "gpu.jsonl", json.dumps(row).encode())
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()

    def rows(self, part: str) -> list[Row]:
        """The rows of a part; a line that was cut off does not count."""
        path, found = self.out / "gpu.jsonl", []
        for line in path.read_text().splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [row for row in found if row["part"] == part]
