"""Append the trials of a stage that are done to results.jsonl, a line each.

    python experiments/004_which_recurrence/collect.py STAGE runs/which_STAGE

A model of the stage `clock` that may be among the best five is also adapted to the test split, and its line has the
cost as `dynamic`. Lines keep the costs of blocks, from which intervals of differences are made.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

import contest

import rnnlm
from launch.folder import SweepDir
from rnnlm.config import ModelConfig
from rnnlm.files import append_line, read_lines
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=contest.STAGES)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    sweep, done = SweepDir(args.folder), [row for row in read_lines(RESULTS) if row["stage"] == args.stage]
    for trial in sweep.trials():
        state = sweep.state(trial)
        if state not in ("done", "failed") or trial.id in {row["trial"] for row in done}:
            continue
        config = trial.config
        row: dict[str, Any] = {
            "stage": args.stage,
            "entry": entry_of(config.model),
            "trial": trial.id,
            "init_gain": config.model.init_gain,
            "learning_rate": config.optim.learning_rate,
            "steps": config.train.steps,
            "best_valid_bpc": None,  # of a run whose cost became infinite
        }
        if state == "done":
            row |= results_of(sweep.run_dir(trial), args.stage)
            if args.stage == "clock" and among_best(done, row["bpc"]):
                row |= dynamic(sweep.run_dir(trial))
        done.append(row)
        append_line(RESULTS, json.dumps(row).encode())
        sys.stdout.write(f"{trial.id}\n")


def results_of(folder: Path, stage: str) -> dict[str, Any]:
    """Return the results of a run, with its cost on the test split but for those that choose settings."""
    run, result = load_run(folder), json.loads(RunDir(folder).result.read_text())
    row = {"hidden": run.config.model.hidden, "parameters": run.parameters}
    row |= {name: result[name] for name in ("symbols", "best_valid_bpc", "warning")}
    if stage in ("gains", "rates"):
        return row
    test = next(found for found in reversed(read_results(run)) if found["split"] == "test")
    return row | {name: test[name] for name in ("count", "nats", "bpc", "interval", "protocol", "block", "blocks")}


def among_best(done: list[dict[str, Any]], bpc: float) -> bool:
    """Return whether a bpc may be among the best in the end: those not done will be better than after shorter runs."""
    bounds = {entry: min(found.values(), default=math.inf) for entry, found in contest.tried().items()}
    bounds |= {row["entry"]: row.get("bpc", math.inf) for row in done}
    return sum(bound < bpc for bound in bounds.values()) < BEST


def dynamic(trial: Path) -> dict[str, Any]:
    """Adapt a model to the test split in one stream: -> its cost."""
    score = rnnlm.load(trial).score("test", dynamic=DYNAMIC)
    low, high = score.blocks.interval()
    return {"dynamic": {"bpc": score.tally.bpc, "interval": [low, high], "protocol": score.protocol}}


if __name__ == "__main__":
    main()
