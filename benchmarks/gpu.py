"""What one NVIDIA GPU makes of rnnlm, part by part; `benchmarks/gpu.sh` runs them all.

    python benchmarks/gpu.py PART --out=DIR [--cpu]

Each part appends lines of JSON to DIR/gpu.jsonl as its figures come, so that they stay if it is cut off; the part
`table` makes DIR/gpu.md from them. --cpu puts the CPU in the GPU's place, with tiny models, to try the script itself.
"""

import argparse
import contextlib
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import profiles
from benchmarks.contest import ROOT, contest, median_interval, ratio
from benchmarks.gpu_runs import resume, train
from benchmarks.gpu_scale import Row, Run
from benchmarks.peers import torch_lstm
from benchmarks.versus import shape_name, train_task


def machine(run: Run) -> int:
    """Say what this machine is and what it lacks: -> exit code, 2 where nothing can be measured."""
    lacks = []
    if sys.version_info < (3, 12):
        lacks.append(f"Python 3.12: this is {platform.python_version()}")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name in [requirement.split(">")[0].split("~")[0] for requirement in wanted]:
        if not installed(name):
            lacks.append(f"the package {name}")
    torch = importlib.util.find_spec("torch") is not None
    if not torch:
        lacks.append("the package torch, so cuDNN is no peer")
    elif not run.cpu and not __import__("torch").cuda.is_available():
        lacks.append("a PyTorch that sees the GPU, so cuDNN is no peer")
    if not shutil.which("nvidia-smi"):
        lacks.append("nvidia-smi")
    if not installed("jax"):
        sys.stderr.write("There is no JAX here: install what requirements-cuda.lock names.\n")
        return 2
    import jax

    backend, device = jax.default_backend(), jax.devices()[0].device_kind
    if tuple(map(int, metadata.version("jax").split(".")[:2])) < (0, 11):
        lacks.append(f"JAX 0.11: this is {metadata.version('jax')}")
    versions = {name: installed(name) for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "torch")}
    smi = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem", "--format=csv,noheader"]
    card = subprocess.run(smi, capture_output=True, text=True).stdout.strip() if shutil.which("nvidia-smi") else ""
    git = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    run.add(
        "machine",
        device=device,
        backend=backend,
        card=card,
        cores=os.cpu_count(),
        commit=git,
        python=platform.python_version(),
        versions=versions,
        lacks=lacks,
    )
    for what in lacks:
        sys.stdout.write(f"This machine lacks {what}.\n")
    if backend != "gpu" and not run.cpu:
        sys.stderr.write(
            f"JAX sees no GPU here, only {device}: install jax[cuda13] where there is one, or try the script itself "
            "with --cpu.\n"
        )
        return 2
    return 0


def installed(name: str) -> str | None:
    """The version of an installed package."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def contestants(task: Row, run: Run) -> dict[str, Row]:
    """rnnlm and its peers, float32 (TF32 in products) and bfloat16, PyTorch compiled and not."""
    found = {}
    for variant in torch_lstm.variants("gpu", task) if importlib.util.find_spec("torch") else ():
        name = f"torch {variant['dtype']}" + (" compiled" if variant["compile"] else "")
        found[name] = task | {"peer": "torch_lstm", "crowd": True} | variant
    for dtype in ("float32", "bfloat16"):
        found[f"rnnlm {dtype}"] = task | {"peer": "ours", "dtype": dtype}
        found[f"flax {dtype}"] = task | {"peer": "flax_rnn", "dtype": dtype, "devices": 1}
    product = {"peer": "ours", "what": "ceiling", "size": run.scale.square, "dtype": "bfloat16"}
    return found | {"product": product}


def beside_peers(run: Run) -> int:
    """Contest each GPU shape, one row a shape."""
    for shape in run.scale.shapes:
        failed: dict[str, str] = {}
        tasks = contestants(train_task(shape, "float32"), run)
        times = contest(tasks, run.scale.rounds, run.scale.turn, failed)
        ms = {name: 1e3 * statistics.median(t) for name, t in times.items()}
        ratios = {
            name: ratio(t, times[f"rnnlm {name.split()[1]}"])
            for name, t in times.items()
            if not name.startswith(("rnnlm", "product")) and f"rnnlm {name.split()[1]}" in times
        }
        symbols = {name: 1e3 * shape[2] * shape[3] / t for name, t in ms.items() if name != "product"}
        tflops = 2e-9 * run.scale.square**3 / ms["product"] if "product" in ms else None
        run.add("contest", shape=shape_name(shape), ms=ms, ratio=ratios, symbols_per_second=symbols, failed=failed,
                product_tflops=tflops)  # fmt: skip
    return 0


def best_dtype(run: Run) -> str:
    """The dtype in which rnnlm was quickest in the contest of the first shape."""
    rows = run.rows("contest")
    ours = {n: t for n, t in rows[0]["ms"].items() if n.startswith("rnnlm")} if rows else {}
    return min(ours, key=lambda name: ours[name]).split()[1] if ours else "bfloat16"


def flags(run: Run) -> int:
    """Contest rnnlm with each flag against rnnlm without, at every shape in turn."""
    dtype = best_dtype(run)
    for shape in run.scale.shapes[:2]:
        task = train_task(shape, dtype) | {"peer": "ours"}
        tasks = {"no flag": task}
        tasks |= {name: task | {"env": {"XLA_FLAGS": flag}} for name, flag in run.scale.flags.items()}
        failed: dict[str, str] = {}
        times = contest(tasks, run.scale.rounds, run.scale.turn, failed)
        for name, seconds in times.items():
            ratios = [a / b for a, b in zip(times["no flag"], seconds, strict=True)]
            run.add("flags", shape=shape_name(shape), dtype=dtype, name=name, flag=run.scale.flags.get(name, ""),
                    ms=1e3 * statistics.median(seconds), ratio=statistics.median(ratios),
                    interval=median_interval(ratios))  # fmt: skip
        for name in failed:
            run.add("flags", shape=shape_name(shape), name=name, flag=run.scale.flags[name], failed=failed[name])
    return 0


def profile(run: Run) -> int:
    """Trace some steps of the first shape with the flags that were quickest, and sum up their kernels."""
    rows = [row for row in run.rows("flags") if "ms" in row and row["shape"] == shape_name(run.scale.shapes[0])]
    best = min(rows, key=lambda row: row["ms"], default={"flag": "", "name": "no flag"})
    os.environ["XLA_FLAGS"] = best["flag"]
    from benchmarks.peers import ours

    work, _ = ours.train(train_task(run.scale.shapes[0], best_dtype(run)))
    work(3)
    import jax

    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        with jax.profiler.trace(folder):
            work(5)
        seconds = time.perf_counter() - begun
        trace = next(Path(folder).rglob("*.trace.json.gz"))
        kernels = profiles.kernels(trace)
        shutil.copy(trace, run.out / "gpu-profile.trace.json.gz")
    run.add("profile", shape=shape_name(run.scale.shapes[0]), flags=best["name"], steps=5, seconds=seconds,
            kernels=kernels[:25], kernel_seconds=sum(k["seconds"] for k in kernels))  # fmt: skip
    return 0


def table(run: Run) -> int:
    """Make gpu.md from what there is."""
    (run.out / "gpu.md").write_text(profiles.page(run.rows))
    return 0


PARTS: dict[str, Callable[[Run], int]] = {
    "machine": machine,
    "contest": beside_peers,
    "flags": flags,
    "train": train,
    "resume": resume,
    "profile": profile,
    "table": table,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    if args.cpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        return PARTS[args.part](Run(args.out, args.cpu))
    except RuntimeError as error:  # of a process that was started
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
