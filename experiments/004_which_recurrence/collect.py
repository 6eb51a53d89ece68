"""Append the trials of a stage that are done to results.jsonl, a line each.

    python experiments/004_which_recurrence/collect.py STAGE runs/which_STAGE
    python experiments/004_which_recurrence/collect.py dynamic runs/which_clock

The second command adapts the best five models of the stage `clock` to the test split, once all of that stage are
collected. Lines keep the costs of blocks, from which intervals of differences are made. A trial that has diverged has
no bpc in its line; one that has failed otherwise gets no line, so that the sweep runs it again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

import contest

import rnnlm
from launch.command import run_command
from launch.folder import SweepDir
from rnnlm.config import ModelConfig
from rnnlm.files import append_line, read_lines
from rnnlm.runs.layout import RunDir, load_run
from rnnlm.runs.results import block_fields, read_results

RESULTS = contest.FOLDER / "results.jsonl"
BEST = 5
SCORE = ("count", "nats", "bpc", "interval", "protocol", "block", "blocks")
"""What is kept of a score on the test split, of the fields of a result."""


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


def main(argv: list[str]) -> int:
    """Collect what is missing: -> exit code. Raises UserError where the folder has no sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=(*contest.STAGES, "dynamic"))
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    if args.stage == "dynamic":
        adapt_best(args.folder)
        return 0
    sweep, done = SweepDir(args.folder), {row["trial"] for row in read_lines(RESULTS) if row["stage"] == args.stage}
    for trial in sweep.trials():
        state = sweep.state(trial)
        if state not in ("done", "failed") or trial.id in done:
            continue
        if state == "failed" and "the run has diverged" not in sweep.last_lines(trial):
            sys.stderr.write(f"{trial.id} has failed: run the sweep again with --retry_failed.\n")
            continue
        config = trial.config
        row: dict[str, Any] = {
            "stage": args.stage,
            "entry": entry_of(config.model),
            "trial": trial.id,
            "init_gain": config.model.init_gain,
            "learning_rate": config.optim.learning_rate,
            "steps": config.train.steps,
            "best_valid_bpc": None,  # of a run that has diverged
        }
        if state == "done":
            row |= results_of(sweep.run_dir(trial), args.stage)
        append_line(RESULTS, json.dumps(row).encode())
        sys.stdout.write(f"{trial.id}\n")
    return 0


def results_of(folder: Path, stage: str) -> dict[str, Any]:
    """Return the results of a run, with its cost on the test split but for those that choose settings."""
    run, result = load_run(folder), json.loads(RunDir(folder).result.read_text())
    row = {"hidden": run.config.model.hidden, "parameters": run.parameters}
    row |= {name: result[name] for name in ("symbols", "best_valid_bpc", "warning")}
    if stage in ("gains", "rates"):
        return row
    test = next(found for found in reversed(read_results(run)) if found["split"] == "test")
    return row | {name: test[name] for name in SCORE}


def adapt_best(folder: Path) -> None:
    """Adapt each of the best models to the test split in one stream. Raises SystemExit if results are missing."""
    if any(True for _ in contest.sweep("clock")):
        sys.exit("results.jsonl lacks trials of the stage clock: run and collect them first.")
    rows = read_lines(RESULTS)
    adapted = {row["trial"] for row in rows if row["stage"] == "dynamic"}
    scored = [row for row in rows if row["stage"] == "clock" and "bpc" in row]
    for row in sorted(scored, key=lambda row: row["bpc"])[:BEST]:
        if row["trial"] not in adapted:
            line = {"stage": "dynamic", "entry": row["entry"], "trial": row["trial"]} | adapt(folder / row["trial"])
            append_line(RESULTS, json.dumps(line).encode())
            sys.stdout.write(f"{row['trial']}\n")


def adapt(run: Path) -> dict[str, Any]:
    """Return the cost of the test split in one stream, adapted by settings that are tuned on the validation split."""
    lm = rnnlm.load(run)
    score = lm.score("test", dynamic=lm.tune_dynamic("rms"))
    found = score.as_dict() | block_fields(score.blocks)
    return {name: found[name] for name in SCORE}


if __name__ == "__main__":
    sys.exit(run_command("collect", main, sys.argv[1:]))
