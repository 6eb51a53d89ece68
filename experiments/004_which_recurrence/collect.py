"""Append the trials of a stage that are done to results.jsonl, a line each.

    python experiments/004_which_recurrence/collect.py STAGE runs/which_STAGE

A model of the stage `clock` that is among the best five so far is also adapted to the test split, and its line has the
cost as `dynamic`. Lines keep the costs of blocks, from which intervals of differences are made.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

import contest

import rnnlm
from rnnlm.config import ModelConfig
from rnnlm.runs.layout import RunDir, load_run
from rnnlm.runs.results import read_results

RESULTS = contest.FOLDER / "results.jsonl"
DYNAMIC = rnnlm.Adaptation("rms", 20, 1e-4, 1e-3)
"""How all models are adapted: one setting, which was tuned for none of them."""
BEST = 5


def entry_of(model: ModelConfig) -> str:
    """Return the contestant that has a model: of those whose overrides fit, the one with most."""

    def fits(overrides: dict[str, Any]) -> bool:
        for key, value in overrides.items():
            at: Any = model
            for name in key.split(".")[1:]:
                at = getattr(at, name)
            if at != value:
                return False
        return True

    return max((entry for entry, o in contest.ENTRIES.items() if fits(o)), key=lambda e: len(contest.ENTRIES[e]))


def main() -> None:
    """Collect what is missing."""
    stage, folder = sys.argv[1], Path(sys.argv[2])
    done = [row for row in contest.read_lines(RESULTS) if row["stage"] == stage]
    known = {row["trial"] for row in done}
    for trial in sorted(folder.iterdir()):
        if trial.name in known or not RunDir(trial).result.exists():
            continue
        if stage != "rates" and not RunDir(trial).results.exists():
            continue
        run, result = load_run(trial), json.loads(RunDir(trial).result.read_text())
        row: dict[str, Any] = {
            "stage": stage,
            "entry": entry_of(run.config.model),
            "trial": trial.name,
            "learning_rate": run.config.optim.learning_rate,
            "hidden": run.config.model.hidden,
            "parameters": run.parameters,
            "steps": run.config.train.steps,
            "symbols": result["symbols"],
            "best_valid_bpc": result["best_valid_bpc"],
            "warning": result["warning"],
        }
        if stage != "rates":
            test = next(found for found in reversed(read_results(run)) if found["split"] == "test")
            row |= {name: test[name] for name in ("count", "nats", "bpc", "interval", "protocol", "block", "blocks")}
            row |= dynamic(trial) if stage == "clock" and among_best(done, row["bpc"]) else {}
        done.append(row)
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        sys.stdout.write(f"{trial.name}\n")


def among_best(done: list[dict[str, Any]], bpc: float) -> bool:
    """Return whether a bpc is among the best of what is done."""
    return len([row for row in done if row["bpc"] < bpc]) < BEST


def dynamic(trial: Path) -> dict[str, Any]:
    """Adapt a model to the test split in one stream: -> its cost."""
    score = rnnlm.load(trial).score("test", dynamic=DYNAMIC)
    low, high = score.blocks.interval()
    return {"dynamic": {"bpc": score.tally.bpc, "interval": [low, high], "protocol": score.protocol}}


if __name__ == "__main__":
    main()
