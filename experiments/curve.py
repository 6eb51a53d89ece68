"""Draw the curve of a training run: bpc of training and validation by step.

python experiments/curve.py runs/quickstart docs/quickstart.png
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

workdir, image = map(Path, sys.argv[1:])
rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
train = np.array([(row["step"], row["bpc"]) for row in rows if "bpc" in row])
valid = np.array([(row["step"], row["valid_bpc"]) for row in rows if "valid_bpc" in row])

figure = Figure(figsize=(6.4, 2.8), dpi=110, layout="constrained")
ax = figure.subplots()
ax.plot(*train.T, color="tab:blue", linewidth=1, label="train, mean of one batch")
ax.plot(*valid.T, "o-", color="tab:orange", label="valid")
for step, bpc in valid:
    ax.annotate(f"{bpc:.3f}", (step, bpc), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9)
ax.set_ylim(min(train[:, 1].min(), valid[:, 1].min()) - 0.1, 3)
ax.set_xlabel("step")
ax.set_ylabel("bits per character")
ax.legend()
ax.spines[["top", "right"]].set_visible(False)
figure.savefig(image)
