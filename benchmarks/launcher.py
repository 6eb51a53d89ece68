"""Measure what launch/sweep.py itself costs a trial: 200 trials that sleep for a second in place of training.

    python benchmarks/launcher.py [--jobs=2] [--trials=200]

Prints the seconds of a trial under the launcher and of the same process alone, and appends a line of JSON to
benchmarks/results/launcher.jsonl.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.contest import ROOT
from launch import local
from launch.folder import SweepDir
from launch.sweep import Source
from launch.table import Table
from launch.trials import Trial

ALONE = 20
"""Processes that are timed alone."""


class SleepingSweep(SweepDir):
    """Let each trial sleep and write its result."""

    def commands(self, trial: Trial, evaluated: str | None = None) -> list[list[str]]:
        """Return a command that takes a second."""
        result = '{"best_valid_bpc": 1.0}'
        return [["sh", "-c", f"sleep 1; echo '{result}' > \"$0\"/result.json", str(self.run_dir(trial))]]


def main() -> None:
    """Run the trials, and print the overhead."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--trials", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweep = SleepingSweep(Path(folder) / "sweep")
        source = Source(str(ROOT / "configs" / "base.py"), [], False)
        begin = time.perf_counter()
        trials = sweep.write(source.base, source.resolve({"seed": i} for i in range(arguments.trials)), "")
        listing = time.perf_counter() - begin
        sweep.run_dir(trials[0]).mkdir()
        alone = time.perf_counter()
        for _ in range(ALONE):
            subprocess.run(sweep.commands(trials[0])[0], check=True)
        alone = (time.perf_counter() - alone) / ALONE
        (sweep.run_dir(trials[0]) / "result.json").unlink()
        begin = time.perf_counter()
        assert local.run(sweep, trials, arguments.jobs, Table(sweep, trials))
        each = (time.perf_counter() - begin) * arguments.jobs / arguments.trials
    row = {
        "date": datetime.date.today().isoformat(),
        "trials": arguments.trials,
        "jobs": arguments.jobs,
        "listing_ms": round(1000 * listing / arguments.trials, 2),
        "alone_s": round(alone, 4),
        "trial_s": round(each, 4),
        "overhead_ms": round(1000 * (each - alone + listing / arguments.trials), 2),
    }
    sys.stdout.write(json.dumps(row) + "\n")
    with (ROOT / "benchmarks" / "results" / "launcher.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
