"""Submit runs to Slurm, and tell of, cancel and resubmit them and the sweeps that launch/sweep.py has submitted.

    python launch/slurm.py run --config=configs/X.py --workdir=runs/X --nodes=2 --gpus=4 --time=12:00:00 --requeue
    python launch/slurm.py status runs/X
    python launch/slurm.py cancel runs/X
    python launch/slurm.py resubmit runs/X

docs/distributed.md explains the flags.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a file: the packages lie beside this one's folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from absl import flags

from launch.command import run_command
from launch.folder import SweepDir
from launch.slurm_jobs import JobDir, cancel, find_jobs
from launch.slurm_script import SlurmOptions, array_script, node_flags, ranges, run_script, slurm_flags, slurm_options
from launch.trials import Trial
from rnnlm.commands.flags import data_flag, run_dir, workdir_flags
from rnnlm.commands.overrides import config_flag, parse, parse_overrides
from rnnlm.commands.train import given_config
from rnnlm.config import Config
from rnnlm.data.corpora import resolve
from rnnlm.errors import UserError
from rnnlm.runs.layout import read_json, write_json
from rnnlm.runs.status import read_status

FROZEN = ".slurm-config.json"
"""Name of the file in a run folder that holds the config which was submitted."""
LOG_LINES = 3
"""Last lines that `status` shows of the log of a job which has ended too early."""


def main(argv: list[str]) -> int:
    """Run one command: -> its exit code, 1 where `status` finds a job that has ended too early."""
    if not argv or argv[0] not in COMMANDS:
        given = f", not {argv[0]!r}" if argv and argv[0] not in ("--help", "-h") else ""
        raise UserError(f"Name what to do: {', '.join(COMMANDS)}{given}. launch/slurm.py run --help lists the flags.")
    return COMMANDS[argv[0]](argv[1:])


def run(argv: list[str]) -> int:
    """Submit a job that trains one run, with as many processes as it has GPUs."""
    values = flags.FlagValues()
    config_flag(values, "the config file, or the config.json of a run; without it that of --workdir")
    workdir_flags(values, "the run folder, new or with a run to continue, on a disk that all nodes share")
    data_flag(values)
    slurm_flags(values)
    node_flags(values)
    flags.DEFINE_bool("dry_run", False, "print the script, and submit nothing", flag_values=values)
    usage = "--config=X.py --workdir=DIR --nodes=2 --gpus=4 ..."
    overrides = parse_overrides("launch/slurm.py run", values, argv, usage, program="python")
    options = slurm_options(values)
    config = given_config(values, overrides)
    config, folder = replace(config, data=resolve(config.data)), run_dir(values)
    lanes = config.train.batch // config.train.accumulate
    if lanes % options.processes:
        raise UserError(
            f"A batch of {lanes} lanes cannot be split evenly over {options.processes} processes: choose a multiple of "
            "their number as train.batch, or fewer processes."
        )

    from rnnlm.training.resume import open_run  # imports jax

    open_run(folder, config, values.data)  # raises what the job would end with, and downloads a published text
    script = run_script(folder, run_arguments(config, folder, values.data, options), options, sys.executable)
    if values.dry_run:
        print(script, end="")
        return 0
    job_dir = JobDir(folder)
    job_dir.refuse_queued()
    before = read_json(folder / FROZEN) if (folder / FROZEN).exists() else None
    write_json(folder / FROZEN, config.as_saved())
    try:
        number = job_dir.submit(script)
    except UserError:
        if before is not None:  # that of the jobs before
            write_json(folder / FROZEN, before)
        raise
    print(f"job {number}; python launch/slurm.py status {shlex.quote(str(folder))}")
    return 0


def run_arguments(config: Config, folder: Path, data: str, options: SlurmOptions) -> list[str]:
    """Return the arguments of python that train the submitted config in a folder."""
    arguments = ["-m", "rnnlm", "train", f"--config={folder.absolute() / FROZEN}", f"--workdir={folder.absolute()}"]
    if data:
        arguments.append(f"--data={data}")
    if ":" in config.model.cell:
        arguments.append("--trust_code")  # of a config file, which is code that was trusted already
    if options.processes > 1:
        arguments.append("--coordinator=auto")
    return arguments


def submit_sweep(sweep: SweepDir, trials: Sequence[Trial], jobs: int, options: SlurmOptions, dry_run: bool) -> str:
    """Submit those of the trials that are not done as a job array, `jobs` at a time: -> what to print.

    With `dry_run` that is the script, and nothing is written.
    """
    job_dir = JobDir(sweep.path)
    arguments = ["-m", "launch.trial", str(sweep.path.absolute())]
    if dry_run:
        array = f"{ranges(range(len(trials)))}%{jobs}"
        return array_script(sweep.path, arguments, options, sys.executable, array)
    tasks = open_tasks(sweep, trials)
    if not tasks:
        return f"{sweep.path}: all {len(trials)} trials have ended; --retry_failed runs those again that have failed"
    array = f"{tasks}%{jobs}"
    script = array_script(sweep.path, arguments, options, sys.executable, array)
    number = job_dir.submit(script, [f"--array={array}"])
    return f"job {number}; python launch/slurm.py status {shlex.quote(str(sweep.path))}"


def open_tasks(sweep: SweepDir, trials: Sequence[Trial]) -> str:
    """Return the indices in the sweep of those of the trials that are still to be run, as Slurm writes them."""
    wanted = {trial.id for trial in trials if sweep.state(trial) in ("waiting", "stopped")}
    return ranges(i for i, trial in enumerate(sweep.trials()) if trial.id in wanted)


def status(argv: list[str]) -> int:
    """Print how the runs and sweeps of folders stand: -> 1 where one has ended too early."""
    folders = parse_folders("status", argv)
    return max([status_of_sweep(folder) if is_sweep(folder) else status_of_run(folder) for folder in folders])


def status_of_run(folder: Path) -> int:
    """Print how the run of a folder and its last job stand: -> 1 where the job has ended too early."""
    number = JobDir(folder).numbers()[-1]
    job = next(iter(find_jobs([number])), None)
    run, done = read_status(folder), is_done(folder)
    reached = f"{'done at ' if done else ''}step {run.step:,}{f' of {run.steps:,}' if run.steps else ''}"
    print(f"{folder}: {reached}; {job.describe() if job else f'job {number} has ended'}")
    if done or (job and not job.ended):
        return 0
    log = folder / f"slurm-{number}.out"
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    for line in lines:
        print(f"    {line}")
    print(f"  its log: {log}; python launch/slurm.py resubmit {shlex.quote(str(folder))} continues it")
    return 1


def is_done(folder: Path) -> bool:
    """Return whether the run of a folder has made all steps of the config that was submitted."""
    run, steps = read_status(folder), Config.from_saved(read_json(folder / FROZEN)).train.steps
    return run.state == "done" and run.step >= steps


def status_of_sweep(folder: Path) -> int:
    """Print how the trials of a sweep and their jobs stand: -> 1 where one has failed, or is cut off without a job."""
    sweep, job_dir = SweepDir(folder), JobDir(folder)
    tasks = {job.task: job for job in job_dir.in_queue()}
    left = 0
    for i, trial in enumerate(sweep.trials()):
        state, job = sweep.state(trial), tasks.get(str(i))
        shown = f"; {job.describe()}" if job else ""
        print(f"{sweep.run_dir(trial)}: {state}{shown}")
        left += state == "failed" or (state in ("waiting", "stopped") and job is None)
        for line in sweep.last_lines(trial, LOG_LINES).splitlines() if state == "failed" else ():
            print(f"    {line}")
    if left:
        print(f"  python launch/slurm.py resubmit {shlex.quote(str(folder))} runs what has failed or was cut off")
    return min(left, 1)


def cancel_all(argv: list[str]) -> int:
    """Cancel the jobs of folders; runs that train save first."""
    for folder in parse_folders("cancel", argv):
        jobs = JobDir(folder).in_queue()
        if jobs:
            cancel(jobs)
        print(f"{folder}: {', '.join(sorted({job.number for job in jobs})) or 'no job'} cancelled")
    return 0


def resubmit(argv: list[str]) -> int:
    """Submit the jobs of folders once more, for sweeps those of trials that are not done, also of failed ones."""
    for folder in parse_folders("resubmit", argv):
        job_dir, options = JobDir(folder), []
        job_dir.refuse_queued()
        if is_sweep(folder):
            sweep = SweepDir(folder)
            for trial in sweep.trials():
                sweep.forget_end(trial)
            array, side_by_side = open_tasks(sweep, sweep.trials()), job_dir.jobs()[-1]["options"][0].rpartition("%")[2]
            done, options = not array, [f"--array={array}%{side_by_side}"]
        else:
            done = is_done(folder)
        print(f"{folder}: {'done' if done else f'job {job_dir.submit(options=options)}'}")
    return 0


def parse_folders(command: str, argv: list[str]) -> list[Path]:
    """Return the folders that a command names. Raises UserError where there is none, or one without a job."""
    verb = f"launch/slurm.py {command}"
    folders = [Path(word) for word in parse(verb, flags.FlagValues(), argv, len(argv), "DIR ...", program="python")]
    if not folders:
        raise UserError(f"Name a folder, as in python launch/slurm.py {command} runs/X.")
    for folder in folders:
        if not JobDir(folder).numbers():
            raise UserError(f"{folder} has no job: name a run folder or a sweep folder that was submitted to Slurm.")
    return folders


def is_sweep(folder: Path) -> bool:
    """Return whether a folder holds a sweep."""
    return SweepDir(folder).file.exists()


COMMANDS = {"run": run, "status": status, "cancel": cancel_all, "resubmit": resubmit}


if __name__ == "__main__":
    sys.exit(run_command("slurm", main, sys.argv[1:]))
