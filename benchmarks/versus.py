"""Compare the speed of training and sampling with the peers."""

import argparse
import statistics
from typing import Any

from benchmarks.contest import best, contest, geometric_mean, log_row, ratio, settings, table

SHAPES = {
    "cpu": [
        (1, 128, 50, 50),
        (2, 128, 50, 50),
        (2, 256, 50, 50),
        (2, 512, 50, 50),
        (3, 512, 50, 50),
        (4, 512, 50, 50),  # the first depth whose layers run in a loop
        (2, 512, 100, 100),
    ],
    "gpu": [(2, 512, 100, 100), (3, 512, 128, 200), (3, 1840, 128, 200)],
}
PEERS = {"rnnlm": "ours", "torch": "torch_lstm", "flax": "flax_rnn"}
STREAMS = (1, 64)
SQUARE = {"cpu": 2048, "gpu": 8192}  # rows and columns of the product that gives the peak speed
VOCAB = 65


def flops(task: dict[str, Any], whole: bool) -> float:
    """Return the FLOPs of the matrix products of one training step.

    With `whole` the first layer's input product counts once for each position, else once for each symbol of the
    vocabulary, as rnnlm computes it.
    """
    layers, hidden, rows = task["layers"], task["hidden"], task["batch"] * task["window"]
    products = rows * 4 * hidden * hidden * (2 * layers - (0 if whole else 1)) + rows * hidden * VOCAB
    return 3 * 2 * (products + (0 if whole else VOCAB * 4 * hidden * hidden))


def train_tasks(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the training task of each shape, by the name of the shape."""
    dtype = "bfloat16" if args.device == "gpu" else "float32"
    return {shape_name(shape): train_task(shape, dtype) for shape in args.shapes}


def train_task(shape: tuple[int, int, int, int], dtype: str) -> dict[str, Any]:
    """Return the task of a training step of a shape (layers, hidden, batch, window)."""
    layers, hidden, batch, window = shape
    task = {"what": "train", "layers": layers, "hidden": hidden, "batch": batch, "window": window}
    return task | {"vocab": VOCAB, "dtype": dtype}


def shape_name(shape: tuple[int, int, int, int]) -> str:
    """Format a shape (layers, hidden, batch, window), such as 2x512 B=50 T=100."""
    layers, hidden, batch, window = shape
    return f"{layers}x{hidden} B={batch} T={window}"


def sample_tasks(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the sampling tasks of models of two layers, by hidden size and streams."""
    return {
        f"2x{hidden}, {n} streams": {
            "what": "sample",
            "layers": 2,
            "hidden": hidden,
            "vocab": VOCAB,
            "streams": n,
        }
        for hidden in (128, 512)
        for n in STREAMS
    }


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Compare training steps with the peers at each shape, and with the peak speed of a matrix product."""
    rows = []
    for shape, task in train_tasks(args).items():
        tasks = {name: best(PEERS[name], task, args.device) for name in args.peers}
        # Also measure a peer with its default environment.
        for name in args.peers[1:]:
            plain = tasks[name] | {"env": {}} | ({"devices": 1} if "devices" in tasks[name] else {})
            if plain != tasks[name] | {"env": tasks[name].get("env", {})}:
                tasks[f"{name}_plain"] = plain
        against = [name for name in tasks if name != "rnnlm"]
        size = SQUARE[args.device]
        product = {"peer": "ours", "what": "ceiling", "size": size, "dtype": task["dtype"]}
        times = contest(tasks | {"ceiling": product}, args.rounds)
        ours, ceiling = statistics.median(times["rnnlm"]), 2 * size**3 / statistics.median(times.pop("ceiling"))
        rows.append(
            {
                "shape": shape,
                "ms": {name: 1e3 * statistics.median(t) for name, t in times.items()},
                "ratio": {name: ratio(times[name], times["rnnlm"]) for name in against},
                "ceiling_gflops": ceiling / 1e9,
                "share": flops(task, whole=False) / ours / ceiling,
                "share_of_whole": flops(task, whole=True) / ours / ceiling,
                "settings": {name: settings(chosen) for name, chosen in tasks.items()},
            }
        )
        log_row(rows[-1])
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
    """Compare sampling with the peers, in symbols per second."""
    rows = []
    for shape, task in sample_tasks(args).items():
        tasks = {name: best(PEERS[name], task, args.device) for name in args.peers if name != "flax"}
        times = contest(tasks, args.rounds)
        symbols = 64 * task["streams"]
        rows.append(
            {
                "shape": shape,
                "symbols_per_second": {name: symbols / statistics.median(t) for name, t in times.items()},
                "ratio": {name: ratio(times[name], times["rnnlm"]) for name in tasks if name != "rnnlm"},
                "settings": {name: settings(chosen) for name, chosen in tasks.items()},
            }
        )
        log_row(rows[-1])
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
