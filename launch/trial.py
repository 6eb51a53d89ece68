"""Run one trial of a sweep to its end, as the task of a job array does.

    python -m launch.trial runs/NAME ID
    python -m launch.trial runs/NAME --index=3

SIGTERM and Ctrl-C have it save and end; the same command goes on. The exit code is 0 where the trial is done or was
stopped, 1 where it has failed, and 75 (try again later) where another process is running it.
"""

import os
import sys
import time
from pathlib import Path

from absl import flags

from launch.command import run_command
from launch.folder import SweepDir
from launch.jobs import POLL_SECONDS, Pool
from launch.trials import Trial
from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError
from rnnlm.runtime.signals import Signals

TRY_AGAIN = 75
"""Exit code of a trial that another process is running: EX_TEMPFAIL of sysexits.h."""
USAGE = "SWEEP_DIR [ID | --index=K]"


def main(argv: list[str]) -> int:
    """Run the trial that the arguments name: -> its exit code."""
    values = flags.FlagValues()
    flags.DEFINE_integer("index", None, "which trial of sweep.json, from 0", lower_bound=0, flag_values=values)
    words = parse("launch.trial", values, argv, positional=2, usage=USAGE, program="python -m")
    if not words or (len(words) == 2) == (values.index is not None):
        raise UserError(f"Name a sweep's folder and one of its trials: python -m launch.trial {USAGE}.")
    sweep = SweepDir(Path(words[0]))
    trial = find_trial(sweep, words[1] if len(words) == 2 else values.index)
    if sweep.state(trial) == "done":
        return 0
    pool = Pool(sweep, 1)
    with Signals() as stop:
        job = pool.start(trial)
        if job is None:
            print(f"trial: {sweep.run_dir(trial)} is being run by another process", file=sys.stderr)
            return TRY_AGAIN
        while not (ended := pool.ended()):
            if stop() and not job.stopping:
                # Slurm signals all processes of a step, and a second signal would end the trial before it has saved.
                job.stop(forward="SLURM_STEP_ID" not in os.environ)
            time.sleep(POLL_SECONDS)
    [(_, state)] = ended
    print(f"{trial.id}: {state}")
    if state == "failed":
        print(sweep.last_lines(trial), file=sys.stderr)
    return {"done": 0, "stopped": 0, "elsewhere": TRY_AGAIN}.get(state, 1)


def find_trial(sweep: SweepDir, wanted: str | int) -> Trial:
    """Return the trial of an id or of a place in the list. Raises UserError if there is none."""
    trials = sweep.trials()
    for index, trial in enumerate(trials):
        if wanted in (trial.id, index):
            return trial
    raise UserError(f"{sweep.path} has no trial {wanted}: it has {len(trials)}, the first one is {trials[0].id}.")


if __name__ == "__main__":
    sys.exit(run_command("trial", main, sys.argv[1:]))
