"""Measure rnnlm on one NVIDIA GPU, part by part; `benchmarks/gpu.sh` runs all parts.

    python benchmarks/gpu.py PART --out=DIR [--cpu]

Each part appends lines of JSON to DIR/gpu.jsonl as soon as it has them, so that they remain if it is cut off; the part
`table` makes DIR/gpu.md from them. --cpu tries the script itself on the CPU, with tiny models.
"""

import argparse
import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import profiles
from benchmarks.contest import ROOT, contest, paired_ratio, ratio
from benchmarks.gpu_runs import resume, train
from benchmarks.gpu_scale import Row, Run
from benchmarks.peers import torch_lstm
from benchmarks.versus import shape_name, train_task
from rnnlm.runs.provenance import version as version_of


def machine(run: Run) -> int:
    """Record the machine, its GPU and what it lacks: -> exit code, 2 if nothing can be measured."""
    lacks = missing_packages() + ([] if shutil.which("nvidia-smi") else ["nvidia-smi"])
    if sys.version_info < (3, 12):
        lacks.append(f"Python 3.12: this is {platform.python_version()}")
    query = ["--query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem", "--format=csv,noheader"]
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "torch")
    run.add(
        "machine",
        card=output_of("nvidia-smi", *query),
        cores=os.cpu_count(),
        commit=os.environ.get("COMMIT") or output_of("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        python=platform.python_version(),
        versions={name: version_of(name) for name in names},
        lacks=lacks,
    )
    for what in lacks:
        sys.stdout.write(f"This machine lacks {what}.\n")
    if not version_of("jax"):
        sys.stderr.write("There is no JAX here: install what requirements-cuda.lock names.\n")
        return 2
    import jax

    try:
        backend, device = jax.default_backend(), jax.devices()[0].device_kind
    except RuntimeError as error:
        backend, device = "none", str(error)
    run.add("device", backend=backend, device=device, torch_sees_gpu=torch_sees_gpu())
    if backend != "gpu" and not run.cpu:
        sys.stderr.write(
            f"JAX sees no GPU here, only {device}: install jax[cuda13] on a machine with a GPU, or try the script "
            "itself with --cpu.\n"
        )
        return 2
    return 0


def missing_packages() -> list[str]:
    """Return the packages of pyproject.toml that are missing or of a wrong version; JAX must be 0.11 or newer."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lacks = []
    for requirement in map(Requirement, [*wanted, "jax>=0.11", "torch"]):
        version = version_of(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            lacks.append(f"the package {requirement}" + (f": this is {version}" if version else ""))
    return lacks


def torch_sees_gpu() -> bool:
    """Return whether PyTorch is installed and sees a GPU."""
    with contextlib.suppress(ImportError):
        import torch

        return bool(torch.cuda.is_available())
    return False


def output_of(*command: str) -> str:
    """Return the standard output of a command, or "" if there is no such command."""
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return ""


def contestants(task: Row, run: Run) -> dict[str, Row]:
    """Return the tasks of rnnlm and its peers in float32 (TF32 in products) and bfloat16, PyTorch compiled and not.

    All get ready at the same time to save time, which may change what autotuners choose.
    """
    task = task | {"start_together": True, "seconds_to_answer": 90}
    tasks = {}
    for dtype in ("float32", "bfloat16"):
        tasks[f"rnnlm {dtype}"] = task | {"peer": "ours", "dtype": dtype}
        tasks[f"flax {dtype}"] = task | {"peer": "flax_rnn", "dtype": dtype, "devices": 1}
    for variant in torch_lstm.variants("gpu", task) if importlib.util.find_spec("torch") else ():
        name = f"torch {variant['dtype']}" + (" compiled" if variant["compile"] else "")
        tasks[name] = task | {"peer": "torch_lstm"} | variant
    product = {"peer": "ours", "what": "ceiling", "size": run.scale.square, "dtype": "bfloat16"}
    return tasks | {"product": task | product}


def beside_peers(run: Run) -> int:
    """Time rnnlm and its peers at each shape, and record a row for each shape."""
    for shape in run.scale.shapes:
        failed: dict[str, str] = {}
        facts: dict[str, Row] = {}
        tasks = contestants(train_task(shape, "float32"), run)
        times = contest(tasks, run.scale.rounds, run.scale.turn, failed, facts)
        ms = {name: 1e3 * statistics.median(t) for name, t in times.items()}
        ours = {name: times.get(f"rnnlm {name.split()[1]}") for name in times if name.startswith(("torch", "flax"))}
        run.add(
            "contest",
            shape=shape_name(shape),
            ms=ms,
            ratio={name: ratio(times[name], rnnlm_times) for name, rnnlm_times in ours.items() if rnnlm_times},
            symbols_per_second={name: 1e3 * shape[2] * shape[3] / t for name, t in ms.items() if name != "product"},
            product_tflops=2e-9 * run.scale.square**3 / ms["product"] if "product" in ms else None,
            facts=facts,
            failed=failed,
        )
    return 0


def best_dtype(run: Run) -> str:
    """Return the dtype in which rnnlm was quickest in the contest of the first shape; bfloat16 without a contest."""
    rows = run.rows("contest")
    ours = {n: t for n, t in rows[0]["ms"].items() if n.startswith("rnnlm")} if rows else {}
    if not ours:
        sys.stdout.write("No contest is on record here, so bfloat16 is used.\n")
    return min(ours, key=lambda name: ours[name]).split()[1] if ours else "bfloat16"


def flags(run: Run) -> int:
    """Time rnnlm with each flag against rnnlm without flags, three at a time, and record a row for each flag."""
    dtype, names = best_dtype(run), list(run.scale.flags)
    for shape in run.scale.shapes:
        task = train_task(shape, dtype) | {"peer": "ours", "start_together": True, "seconds_to_answer": 60}
        for i in range(0, len(names), 3):
            flagged = {name: task | {"env": {"XLA_FLAGS": run.scale.flags[name]}} for name in names[i : i + 3]}
            failed: dict[str, str] = {}
            times = contest({"no flag": task} | flagged, run.scale.rounds, run.scale.turn, failed)
            about = {"shape": shape_name(shape), "dtype": dtype}
            for name in flagged:
                row = about | {"name": name, "flag": run.scale.flags[name]}
                if name in failed or "no flag" in failed:
                    run.add("flags", **row, failed=failed.get(name) or failed["no flag"])
                    continue
                ms = {who: 1e3 * statistics.median(times[who]) for who in ("no flag", name)}
                ratios = paired_ratio(times["no flag"], times[name])
                run.add("flags", **row, ms=ms[name], ms_without=ms["no flag"], **ratios)
    return 0


def profile(run: Run) -> int:
    """Profile some steps of the first shape with the fastest flag, and record their time by kernel."""
    shape = run.scale.shapes[0]
    gained = [row for row in run.rows("flags") if row.get("ratio", 0) > 1 and row["shape"] == shape_name(shape)]
    best = max(gained, key=lambda row: row["ratio"], default={"flag": "", "name": "no flag"})
    os.environ["XLA_FLAGS"] = best["flag"]
    from benchmarks.peers import ours

    work, _ = ours.train(train_task(shape, best_dtype(run)))
    work(3)
    import jax

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        with jax.profiler.trace(folder):
            work(5)
        seconds = time.perf_counter() - begin
        trace = next(Path(folder).rglob("*.trace.json.gz"))
        kernels = profiles.kernels(trace)
        shutil.copy(trace, run.out / "gpu-profile.trace.json.gz")
    run.add("profile", shape=shape_name(shape), name=best["name"], flag=best["flag"], steps=5, seconds=seconds,
            kernels=kernels[:25], kernel_seconds=sum(k["seconds"] for k in kernels))  # fmt: skip
    return 0


def table(run: Run) -> int:
    """Make gpu.md from the recorded rows."""
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
    """Run the part of the command line: -> exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    if args.cpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
    args.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are ended, too
    try:
        return PARTS[args.part](Run(args.out, args.cpu))
    except (OSError, RuntimeError, ValueError) as error:  # from a started process or from its output
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
