"""Append the trials of the sweep that are done to results.jsonl, a line each.

python experiments/003_size_ladder/collect.py runs/size_ladder
"""

import json
import sys
from pathlib import Path

import rnnlm
from rnnlm.files import read_lines
from rnnlm.runs.layout import RunDir, load_run
from rnnlm.runs.results import read_results

RESULTS = Path(__file__).parent / "results.jsonl"


def main() -> None:
    """Collect what is missing."""
    done = read_lines(RESULTS)
    known = {row["trial"] for row in done}
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        if not RunDir(folder).results.exists() or folder.name in known:
            continue
        run = load_run(folder)
        test = next(row for row in reversed(read_results(run)) if row["split"] == "test")
        [row] = rnnlm.compare([folder], split="test")
        model, result = run.config.model, json.loads(RunDir(folder).result.read_text())
        start = json.loads(RunDir(folder).run.read_text())["starts"][-1]
        trial = {
            "trial": folder.name,
            "cell": model.cell,
            "layers": model.layers,
            "hidden": model.hidden,
            "seed": run.config.seed,
            "steps": run.config.train.steps,
            "epochs": result["epoch"],
            "best_valid_bpc": result["best_valid_bpc"],
            "devices": start["devices"],
        }
        score = {name: test[name] for name in ("split", "count", "nats", "bpc", "stderr", "protocol", "step")}
        costs = {name: row[name] for name in ("parameters", "symbols", "flops", "seconds")}
        with RESULTS.open("a") as file:
            file.write(json.dumps(trial | score | {"interval": row["bpc_interval"]} | costs) + "\n")
        sys.stdout.write(f"{folder.name}\n")


if __name__ == "__main__":
    main()
