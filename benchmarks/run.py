"""rnnlm beside its peers, in alternation in one run: times, and their ratios pair by pair.

    python benchmarks/run.py --what=train,sample,compile,memory,quality [--json]

Each contestant is a process of its own that works only when it is its turn. A peer is first tried with each of its
settings, and the best goes into the contest. Prints tables, and appends a line of JSON for each to
benchmarks/results/bench.jsonl. On a machine with a GPU, the shapes are a GPU's.
"""

import argparse
import contextlib
import datetime
import importlib
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.contest import SECONDS, Contestant, best, contest, geometric_mean, ratio, say, settings, table  # noqa: E402

SHAPES = {
    "cpu": [
        (1, 128, 50, 50),
        (2, 128, 50, 50),
        (2, 256, 50, 50),
        (2, 512, 50, 50),
        (3, 512, 50, 50),
        (2, 512, 100, 100),
    ],
    "gpu": [(2, 512, 100, 100), (3, 512, 128, 200), (3, 1840, 128, 200)],
}
PEERS = {"rnnlm": "ours", "torch": "torch_lstm", "flax": "flax_rnn"}
STREAMS = (1, 64)
SQUARE = {"cpu": 2048, "gpu": 8192}  # rows and columns of the product that is the ceiling
VOCAB = 65


def flops(layers: int, hidden: int, batch: int, window: int, whole: bool) -> float:
    """Of the products of one training step. Not `whole`: without the first layer's input product, which rnnlm makes
    once for each symbol of the vocabulary rather than once for each position."""
    rows = batch * window
    products = rows * 4 * hidden * hidden * (2 * layers - (0 if whole else 1)) + rows * hidden * VOCAB
    return 3 * 2 * (products + (0 if whole else VOCAB * 4 * hidden * hidden))


def measure_ceiling() -> tuple[float, dict[str, Any]]:
    """FLOP/s of a large float32 product, and where it ran."""
    with contextlib.closing(Contestant({"peer": "ours", "what": "ceiling", "size": 2048})) as player:
        return 2 * 2048**3 / player.quickest(SECONDS, turns=5), player.facts


def train(args: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for layers, hidden, batch, window in args.shapes:
        dtype = "bfloat16" if args.device == "gpu" else "float32"
        task = {"what": "train", "layers": layers, "hidden": hidden, "batch": batch, "window": window}
        task |= {"vocab": VOCAB, "dtype": dtype}
        tasks = {name: best(PEERS[name], task, args.device) for name in args.peers}
        # A peer as its users get it, beside the peer at its best.
        for name in args.peers[1:]:
            plain = tasks[name] | {"env": {}} | ({"devices": 1} if "devices" in tasks[name] else {})
            if plain != tasks[name] | {"env": tasks[name].get("env", {})}:
                tasks[f"{name}_plain"] = plain
        against = [name for name in tasks if name != "rnnlm"]
        size = SQUARE[args.device]
        product = {"peer": "ours", "what": "ceiling", "size": size, "dtype": dtype}
        times = contest(tasks | {"ceiling": product}, args.rounds)
        ours, ceiling = statistics.median(times["rnnlm"]), 2 * size**3 / statistics.median(times.pop("ceiling"))
        rows.append(
            {
                "shape": f"{layers}x{hidden} B={batch} T={window}",
                "ms": {name: 1e3 * statistics.median(t) for name, t in times.items()},
                "ratio": {name: ratio(times[name], times["rnnlm"]) for name in against},
                "ceiling_gflops": ceiling / 1e9,
                "share": flops(layers, hidden, batch, window, whole=False) / ours / ceiling,
                "share_of_whole": flops(layers, hidden, batch, window, whole=True) / ours / ceiling,
                "settings": {name: settings(chosen) for name, chosen in tasks.items()},
            }
        )
        say(rows[-1])
    means = {
        name: geometric_mean([row["ratio"].get(name, row["ratio"][name.removesuffix("_plain")]) for row in rows])
        for name in sorted({name for row in rows for name in row["ratio"]})
    }
    ratios = [f"{name}/rnnlm" for name in means]
    table(
        ["shape", *(f"{name} ms" for name in args.peers), *ratios, "GFLOP/s", "share", "of whole"],
        [
            [row["shape"], *(f"{row['ms'][name]:.1f}" for name in args.peers)]
            + [f"{row['ratio'][name]:.2f}" if name in row["ratio"] else "" for name in means]
            + [f"{row['ceiling_gflops']:.0f}", f"{row['share']:.2f}", f"{row['share_of_whole']:.2f}"]
            for row in rows
        ]
        + [["geometric mean", *("" for _ in args.peers), *(f"{r:.2f}" for r in means.values()), "", "", ""]],
    )
    return {"what": "train", "ratio": means, "rows": rows}


def sample(args: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for hidden in (128, 512):
        for streams in STREAMS:
            task = {"what": "sample", "layers": 2, "hidden": hidden, "vocab": VOCAB, "streams": streams}
            tasks = {name: best(PEERS[name], task, args.device) for name in args.peers if name != "flax"}
            times = contest(tasks, args.rounds)
            rows.append(
                {
                    "shape": f"2x{hidden}, {streams} streams",
                    "symbols_per_second": {name: 64 * streams / statistics.median(t) for name, t in times.items()},
                    "ratio": {name: ratio(times[name], times["rnnlm"]) for name in tasks if name != "rnnlm"},
                    "settings": {name: settings(chosen) for name, chosen in tasks.items()},
                }
            )
            say(rows[-1])
    names = list(rows[0]["symbols_per_second"])
    table(
        ["shape", *(f"{name} symbols/s" for name in names), *(f"rnnlm/{name}" for name in names[1:])],
        [
            [row["shape"], *(f"{v:,.0f}" for v in row["symbols_per_second"].values())]
            + [f"{r:.1f}" for r in row["ratio"].values()]
            for row in rows
        ],
    )
    means = {name: geometric_mean([row["ratio"][name] for row in rows]) for name in names[1:]}
    return {"what": "sample", "ratio": means, "rows": rows}


def compile_times(args: argparse.Namespace) -> dict[str, Any]:
    """Trace, compile and first step, by T and by depth; and a whole start of `rnnlm train`, cold and warm."""
    base = {"peer": "ours", "what": "compile", "layers": 2, "hidden": 128, "batch": 8, "window": 50, "vocab": VOCAB}
    tasks = {
        "2 layers, T=50": base,
        "2 layers, T=2000": base | {"window": 2000},
        "8 layers, T=50": base | {"layers": 8},
    }
    times = contest(tasks, args.rounds)
    # The step itself, which each unit runs once, is taken off.
    steps = contest({name: task | {"what": "train"} for name, task in tasks.items()}, 3)
    seconds = {name: statistics.median(times[name]) - statistics.median(steps[name]) for name in tasks}
    starts: dict[str, list[float]] = {"cold": [], "warm": []}
    missing = [name for name in ("ml_collections", "orbax", "tensorboardX") if not importlib.util.find_spec(name)]
    if missing:
        sys.stdout.write(f"No start of `rnnlm train` is measured here, for want of {', '.join(missing)}.\n\n")
    for _ in range(0 if missing else args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for kind in starts:
                starts[kind].append(start_up(Path(folder), kind))
    first, longer, deeper = seconds.values()
    ratios = {"T=2000/T=50": longer / first, "8 layers/2": deeper / first}
    medians = {kind: statistics.median(t) for kind, t in starts.items() if t}
    table(["what", "seconds"], [[name, f"{s:.2f}"] for name, s in seconds.items()])
    table(["compile time", "ratio"], [[name, f"{r:.2f}"] for name, r in ratios.items()])
    table(["process start to first step, 2x512", "seconds"], [[kind, f"{s:.2f}"] for kind, s in medians.items()])
    return {"what": "compile", "ratio": ratios, "rows": [{"seconds": seconds, "first_step_seconds": medians}]}


def start_up(folder: Path, kind: str) -> float:
    """Seconds from the start of `rnnlm train` to its first row in metrics.jsonl."""
    text, workdir = folder / "text.txt", folder / kind
    text.write_bytes(bytes(range(32, 97)) * 2000)
    command = [sys.executable, "-m", "rnnlm.cli", "train", "--config=configs/base.py", f"--workdir={workdir}"]
    overrides = {"data.files": text, "model.hidden": 512, "model.embedding": 512, "log.every": 1}
    overrides |= {"eval.every": 0, "sample.every": 0}
    command += [f"--config.{name}={value}" for name, value in overrides.items()]
    env = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "JAX_COMPILATION_CACHE_DIR": ""}
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    rows = workdir / "metrics.jsonl"
    while not (rows.exists() and rows.stat().st_size):
        if process.poll() is not None:
            raise RuntimeError(f"{command} ended with code {process.returncode}.")
        time.sleep(0.002)
    seconds = time.perf_counter() - begin
    process.send_signal(signal.SIGKILL)
    process.wait()
    return seconds


def memory(args: argparse.Namespace) -> dict[str, Any]:
    if args.device == "gpu":
        sys.stdout.write("The memory of a step is measured on a CPU only.\n\n")
        return {"what": "memory", "ratio": {}, "rows": []}
    task = {"peer": "ours", "what": "memory", "layers": 1, "hidden": 512, "batch": 16, "window": 4096, "vocab": VOCAB}
    tasks = {"none": task, "remat": task | {"remat": 512}}
    players = {name: Contestant(each) for name, each in tasks.items()}
    step: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(args.rounds):
        for name, player in players.items():
            step[name].append(player.turn(1))
    used = {name: player.peak - player.facts["before_bytes"] for name, player in players.items()}
    for player in players.values():
        player.close()
    ratios = {"memory": used["remat"] / used["none"], "time": ratio(step["remat"], step["none"])}
    table(
        ["1x512 B=16 T=4096", "step, MiB", "seconds"],
        [[name, f"{used[name] / 2**20:.0f}", f"{statistics.median(step[name]):.2f}"] for name in tasks]
        + [["remat / none", f"{ratios['memory']:.2f}", f"{ratios['time']:.2f}"]],
    )
    return {"what": "memory", "ratio": ratios, "rows": [{"bytes": used, "seconds": step}]}


def quality(args: argparse.Namespace) -> dict[str, Any]:
    """The tiny-shakespeare configs from process start, and the halves of their validation split."""
    rows = []
    for name in args.quality:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            rnnlm("train", f"--config=configs/{name}.py", f"--workdir={folder}/run")
            seconds = time.perf_counter() - begin
            found = [score(folder, n) for n in (55_770, 0)]
        first, whole = found
        second = {"nats": whole["nats"] - first["nats"], "count": whole["count"] - first["count"]}
        nats = {n: s["nats"] / s["count"] for n, s in (("first", first), ("second", second), ("whole", whole))}
        rows.append({"config": name, "seconds": seconds, "nats": nats})
        say(rows[-1])
    table(
        ["config", "seconds", "first half", "second half", "whole (nats)"],
        [[r["config"], f"{r['seconds']:.1f}", *(f"{v:.4f}" for v in r["nats"].values())] for r in rows],
    )
    return {"what": "quality", "ratio": {}, "rows": rows}


def rnnlm(*args: str) -> str:
    command = [sys.executable, "-m", "rnnlm.cli", *args]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def score(folder: str, symbols: int) -> dict[str, Any]:
    """The validation split's first symbols, or all, read end to end with one carry."""
    options = ("--split=valid", "--lanes=1", f"--symbols_to={symbols}", "--json")
    return json.loads(rnnlm("eval", f"--workdir={folder}/run", *options))


def machine() -> dict[str, Any]:
    """What was measured on, and which code."""

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return done.stdout.strip()

    def version(name: str) -> str | None:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
        return None

    cpu = ""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--", "rnnlm", "benchmarks/peers")),
        "python": platform.python_version(),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "torch")},
    }


WHAT = {"train": train, "sample": sample, "compile": compile_times, "memory": memory, "quality": quality}


def shapes(text: str) -> Iterator[tuple[int, int, int, int]]:
    for each in text.split(","):
        layers, hidden, batch, window = (int(n) for n in each.split("x"))
        yield layers, hidden, batch, window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default="train,sample,compile,memory", help=f"of {', '.join(WHAT)}")
    parser.add_argument("--shapes", help="LAYERSxHIDDENxBATCHxWINDOW,... in place of the usual ones")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--quality", nargs="*", default=["tinyshakespeare"], help="configs for --what=quality")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON for each of --what")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "bench.jsonl")
    args = parser.parse_args()
    unknown = set(args.what.split(",")) - WHAT.keys()
    if unknown:
        parser.error(f"--what={','.join(sorted(unknown))}: choose of {', '.join(WHAT)}")
    args.peers = [name for name in PEERS if importlib.util.find_spec(name)]
    if len(args.peers) < len(PEERS):
        sys.stdout.write(f"Left out, not being installed: {', '.join(PEERS.keys() - set(args.peers))}.\n")
    ceiling, facts = measure_ceiling()
    sys.stdout.write(f"matmul ceiling, float32 2048^3 on {facts['device']}: {ceiling / 1e9:.0f} GFLOP/s\n\n")
    args.device = "cpu" if facts["backend"] == "cpu" else "gpu"
    args.shapes = list(shapes(args.shapes)) if args.shapes else SHAPES[args.device]
    args.results.parent.mkdir(parents=True, exist_ok=True)
    about = machine() | facts | {"float32_2048_gflops": ceiling / 1e9}
    for what in args.what.split(","):
        found = WHAT[what](args)
        with args.results.open("a") as file:
            file.write(json.dumps(found | about) + "\n")
        if args.json:
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
