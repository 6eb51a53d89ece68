"""Print when data parallelism of an LSTM of 50 million params stops paying: a table for docs/distributed.md.

    python benchmarks/data_parallel.py

Times of a step are those of `rnnlm plan`'s roofline for a device with so many lanes. A ring all-reduce sends
2 (n - 1) / n of the gradient's bytes through the slowest link, in 2 (n - 1) steps that each have a latency, after the
backward pass. Nothing here is measured.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rnnlm.config import Config, ModelConfig, OptimConfig, TrainConfig
from rnnlm.nn import size, width
from rnnlm.planning import roofline
from rnnlm.planning.accelerators import Accelerator, find
from rnnlm.training import optim

VOCAB, PARAMS, WINDOW = 256, 50e6, 128
LANES = (64, 256)
"""Lanes of each device, where the batch grows with their number."""
ALL_LANES = 2048
"""Lanes of all devices, where the batch stays as it is."""
DEVICES = (8, 16, 32, 64, 128, 256)
# A hop of a ring by NCCL's own model (src/graph/tuning.cc, hwLat, ring, simple protocol); a hop on a TPU is assumed.
NVLINK_HOP, NETWORK_HOP, ICI_HOP = 3.4e-6, 14e-6, 1e-6


def latency(accelerator: Accelerator, devices: int) -> float:
    """Return the seconds that the 2 (n - 1) steps of a ring take beside their bytes."""
    steps, nodes = 2 * (devices - 1), -(-devices // accelerator.node)
    between = 2 * nodes if nodes > 1 else 0  # NCCL counts so many of the steps as steps between nodes
    inside = ICI_HOP if accelerator.name.startswith("TPU") else NVLINK_HOP
    return (steps - between) * inside + between * NETWORK_HOP


def all_reduce(accelerator: Accelerator, devices: int, gradient_bytes: int) -> float:
    """Return the seconds of an all-reduce."""
    link = accelerator.link_of(devices)
    return roofline.all_reduce_seconds(gradient_bytes, devices, link) + latency(accelerator, devices)


def table() -> list[list[str]]:
    """Return the rows of the table, with its header."""
    lstm = ModelConfig(layers=2, params=PARAMS, dtype="bfloat16")
    config = Config(model=width.solve(lstm, VOCAB), train=TrainConfig(window=WINDOW), optim=OptimConfig())
    gradient_bytes = 4 * size.count_params(config.model, VOCAB)
    optimizer = optim.make_optimizer(config.optim, optim.make_schedule(config.optim, 1, 1.0))
    h100, v5p = find("H100"), find("TPUv5p")
    links = {
        "H100, 8 NDR adapters a node": h100,
        "H100, 1 NDR adapter a node": replace(h100, network=h100.network / 8),
        "TPU v5p, ICI": v5p,
    }
    rows = [["", *(f"n={n}" for n in DEVICES)]]
    for name, device in links.items():

        def step(lanes: int, device: Accelerator = device) -> float:
            return sum(roofline.step_seconds(config, VOCAB, optimizer, device, lanes).values())

        sums = [all_reduce(device, n, gradient_bytes) for n in DEVICES]
        rows.append([f"**{name}**: all-reduce, ms", *(f"{1e3 * t:.1f}" for t in sums)])
        for lanes in LANES:
            title = f"{lanes} lanes a device, {1e3 * step(lanes):.1f} ms a step: efficiency"
            rows.append([title, *(f"{step(lanes) / (step(lanes) + t):.0%}" for t in sums)])
        whole = [step(ALL_LANES // n) + t for n, t in zip(DEVICES, sums, strict=True)]
        rows.append([f"{ALL_LANES:,} lanes in all: speed", *(f"{whole[0] / t:.2f}" for t in whole)])
    return rows


def main() -> None:
    """Print the table in Markdown."""
    header, *rows = table()
    for row in (header, ["---"] * len(header), *rows):
        sys.stdout.write(f"| {' | '.join(row)} |\n")


if __name__ == "__main__":
    main()
