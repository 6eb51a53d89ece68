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
from benchmarks.gpu_resume import resume
from benchmarks.gpu_runs import plan, quickstart, train
from benchmarks.gpu_scale import Row, Run
from benchmarks.peers import torch_lstm
from benchmarks.versus import STREAMS, VOCAB, shape_name, train_task
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


def together(task: Row, run: Run) -> Row:
    """Have a contestant get ready at the same time as the others, and leave it out if it hangs."""
    return task | {"start_together": True, "seconds_to_answer": run.scale.patience}


def contestants(task: Row, run: Run, thorough: bool) -> dict[str, Row]:
    """Return the tasks of rnnlm and its peers in float32 (TF32 in products) and bfloat16.

    With `thorough` also PyTorch compiled, and flax with its loop unrolled. All get ready at the same time to save time,
    which may change what autotuners choose.
    """
    task = together(task, run)
    tasks = {}
    for dtype in ("float32", "bfloat16"):
        tasks[f"rnnlm {dtype}"] = task | {"peer": "ours", "dtype": dtype}
        tasks[f"flax {dtype}"] = task | {"peer": "flax_rnn", "dtype": dtype, "devices": 1}
        if thorough:
            tasks[f"flax {dtype} unrolled"] = tasks[f"flax {dtype}"] | {"unroll": 5}
    for variant in torch_lstm.variants("gpu", task) if importlib.util.find_spec("torch") else ():
        name = f"torch {variant['dtype']}" + (" compiled" if variant["compile"] else "")
        if thorough or not variant["compile"]:
            tasks[name] = task | {"peer": "torch_lstm"} | variant
    product = {"peer": "ours", "what": "ceiling", "size": run.scale.square, "dtype": "bfloat16"}
    return tasks | {"product": task | product}


def beside_peers(run: Run) -> int:
    """Time rnnlm and its peers at each shape, and record a row for each shape."""
    for shape in run.scale.shapes:
        failed: dict[str, str] = {}
        facts: dict[str, Row] = {}
        tasks = contestants(train_task(shape, "float32"), run, shape == run.scale.thorough)
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


def few(run: Run, part: str, what: str, tasks: dict[str, Row]) -> None:
    """Time a few tasks against each other, and record a row."""
    failed: dict[str, str] = {}
    facts: dict[str, Row] = {}
    tasks = {name: together(task, run) for name, task in tasks.items()}
    times = contest(tasks, run.scale.rounds, run.scale.turn, failed, facts)
    ms = {name: 1e3 * statistics.median(t) for name, t in times.items()}
    run.add(part, what=what, ms=ms, facts=facts, failed=failed)


def memory(run: Run) -> int:
    """Compare a step through a long window with one that recomputes chunks of it, in time and memory."""
    shape = run.scale.chunked
    task = train_task(shape, "float32") | {"peer": "ours"}
    few(run, "memory", shape_name(shape), {"whole": task, "in chunks": task | {"remat": shape[3] // 8}})
    return 0


def sample(run: Run) -> int:
    """Time sampling beside PyTorch; a unit is 64 symbols in each stream."""
    layers, hidden, *_ = run.scale.thorough
    for streams in STREAMS:
        task = {"what": "sample", "layers": layers, "hidden": hidden, "vocab": VOCAB, "streams": streams}
        tasks = {"rnnlm": task | {"peer": "ours"}}
        if importlib.util.find_spec("torch"):
            tasks["torch"] = task | {"peer": "torch_lstm", "compile": False}
        few(run, "sample", f"{layers}x{hidden}, {streams} streams of 64 symbols", tasks)
    return 0


def best_dtype(run: Run) -> str:
    """Return the dtype in which rnnlm was quickest in the contest of the first shape; bfloat16 without a contest."""
    rows = run.rows("contest")
    ours = {n: t for n, t in rows[0]["ms"].items() if n.startswith("rnnlm")} if rows else {}
    if not ours:
        sys.stdout.write("No contest is on record here, so bfloat16 is used.\n")
    return min(ours, key=lambda name: ours[name]).split()[1] if ours else "bfloat16"


def flags(run: Run) -> int:
    """Time rnnlm with each flag against rnnlm without flags, three at a time, and record a row for each flag.

    The first three flags are tried at each of the first two shapes before the next three are.
    """
    dtype, names = best_dtype(run), list(run.scale.flags)
    for i in range(0, len(names), 3):
        for shape in run.scale.shapes[:2]:
            task = together(train_task(shape, dtype) | {"peer": "ours"}, run)
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
    """Time steps of the first two shapes alone, then profile some, with the first one's fastest flag, by kernel."""
    shapes = run.scale.shapes[:2]
    gained = [row for row in run.rows("flags") if row.get("ratio", 0) > 1 and row["shape"] == shape_name(shapes[0])]
    best = max(gained, key=lambda row: row["ratio"], default={"flag": "", "name": "no flag"})
    os.environ["XLA_FLAGS"] = best["flag"]
    for shape in shapes:
        run.add("profile", shape=shape_name(shape), name=best["name"], flag=best["flag"], **trace(run, shape))
    return 0


def trace(run: Run, shape: tuple[int, int, int, int], steps: int = 5) -> Row:
    """Time steps of a shape without and with a trace, which is kept: -> the time of both, and that by kernel."""
    from benchmarks.peers import ours

    dtype = best_dtype(run)
    work, _ = ours.train(train_task(shape, dtype))
    work(3)

    def timed() -> float:
        begin = time.perf_counter()
        work(steps)
        return time.perf_counter() - begin

    alone = statistics.median(timed() for _ in range(6))
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            seconds = timed()
        path = next(Path(folder).rglob("*.trace.json.gz"))
        kernels = profiles.kernels(path)
        shutil.copy(path, run.out / f"gpu-profile-{'x'.join(map(str, shape))}.trace.json.gz")
    row = {"dtype": dtype, "steps": steps, "alone_ms": 1e3 * alone / steps, "seconds": seconds}
    return row | {"kernels": kernels[:25], "kernel_seconds": sum(k["seconds"] for k in kernels)}


def table(run: Run) -> int:
    """Make gpu.md from the recorded rows."""
    (run.out / "gpu.md").write_text(profiles.page(run.rows))
    return 0


PARTS: dict[str, Callable[[Run], int]] = {
    "machine": machine,
    "contest": beside_peers,
    "quickstart": quickstart,
    "resume": resume,
    "memory": memory,
    "profile": profile,
    "train": train,
    "plan": plan,
    "sample": sample,
    "flags": flags,
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
