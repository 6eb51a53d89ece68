"""Write the batch script of a Slurm job: one run on one or more nodes, or the trials of a sweep as a job array."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from absl import flags

from rnnlm.errors import UserError
from rnnlm.files import reading

TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
"""Slurm's time limits: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
JOB_NAME = re.compile(r"[A-Za-z0-9._-]+")
LOG = "slurm-%j.out"
"""Name of the log of a run's job; %j is its number."""
ARRAY_LOG = "slurm-%A_%a.out"
"""Name of the log of a trial's job; %A is the number of the array, %a that of the trial."""

SCRIPT = """\
#!/bin/bash
{directives}

# The site's lines may change these: the interpreter, and a command to put before it, such as that of a container.
python={python}
prefix=()
{site}
job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
job=${{job:-$SLURM_JOB_ID}}
again=
# Slurm sends USR1 to this script alone: the run's processes get a TERM, upon which they save and end.
trap 'again={again}; scancel --signal=TERM "$job"' USR1
# It sends TERM, as it does upon scancel, to all processes itself: only wait for them.
trap : TERM
srun {srun} "${{prefix[@]}}" "$python" {command} &
while kill -0 $! 2>/dev/null; do wait $!; done
wait $!
code=$?
# 143: the TERM came before the training began, or while its end was evaluated.
if [ "$again" ] && [[ $code = 0 || $code = 143 ]]; then scontrol requeue "$job"; fi
exit $code
"""


@dataclass(frozen=True)
class SlurmOptions:
    """Hold what the flags say of a job; empty strings, zeros and empty tuples leave the matter to Slurm.

    `gpus` and `tasks` are per node, `cpus` per task, and `save_before` in seconds.
    """

    partition: str = ""
    account: str = ""
    time: str = ""
    gpus: int = 0
    cpus: int = 0
    constraint: str = ""
    sbatch: tuple[str, ...] = ()
    site: str = ""
    requeue: bool = False
    save_before: int = 120
    job_name: str = ""
    nodes: int = 1
    tasks: int = 0

    @property
    def tasks_per_node(self) -> int:
        """Return the processes of a run on each node: one a GPU unless given."""
        return self.tasks or max(self.gpus, 1)

    @property
    def processes(self) -> int:
        """Return the number of processes of a run."""
        return self.nodes * self.tasks_per_node


def slurm_flags(values: flags.FlagValues) -> None:
    """Define the flags of a Slurm job that runs and sweeps share."""
    texts = {
        "partition": "partition of the job",
        "account": "account that the job is charged to",
        "time": "time limit, as Slurm writes it: minutes, H:M:S or D-H:M:S",
        "constraint": "features that the nodes must have",
        "site": "file of shell lines to put before the command: modules, variables, python=... and prefix=(...)",
        "job_name": "name of the job; unless given that of the folder",
    }
    for name, about in texts.items():
        flags.DEFINE_string(name, "", about, flag_values=values)
    flags.DEFINE_integer("gpus", 0, "GPUs on each node", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("cpus", 0, "CPUs of each process", lower_bound=0, flag_values=values)
    flags.DEFINE_multi_string("sbatch", [], "any other option of sbatch, as in --sbatch=--qos=x", flag_values=values)
    requeue = "queue the job again when a node fails, when it is preempted, and before its time limit"
    flags.DEFINE_bool("requeue", False, requeue, flag_values=values)
    save = "seconds before the time limit at which the run saves and ends; Slurm may be a minute early; 0: never"
    flags.DEFINE_integer("save_before", 120, save, lower_bound=0, flag_values=values)


def node_flags(values: flags.FlagValues) -> None:
    """Define the flags of a job that trains one run with several processes."""
    flags.DEFINE_integer("nodes", 1, "nodes of the job", lower_bound=1, flag_values=values)
    tasks = "processes on each node; unless given one for each GPU"
    flags.DEFINE_integer("tasks", 0, tasks, lower_bound=0, flag_values=values)


def slurm_options(values: flags.FlagValues) -> SlurmOptions:
    """Build the options that the flags give. Raises UserError for one that Slurm would not take."""
    given: dict[str, Any] = {
        field.name: values[field.name].value for field in fields(SlurmOptions) if field.name in values
    }
    options = SlurmOptions(**given | {"sbatch": tuple(values.sbatch)})
    for option in options.sbatch:
        if not option.startswith("-") or not option.isprintable():
            raise UserError(f"--sbatch={option} is no option of sbatch: write it with its dashes, as --sbatch=--qos=x.")
    if options.job_name and not JOB_NAME.fullmatch(options.job_name):
        raise UserError(
            f"--job_name={options.job_name!r} is no safe name of a job: use letters, digits, dots, dashes and "
            "underscores."
        )
    if options.time and 0 < seconds_of(options.time) <= options.save_before:  # 0: no limit
        raise UserError(
            f"--time={options.time} leaves no time before --save_before={options.save_before} seconds: give more time, "
            "or fewer of these seconds."
        )
    if options.processes > 1 and options.gpus not in (0, options.tasks_per_node):
        raise UserError(
            f"--tasks={options.tasks} with --gpus={options.gpus}: processes that train together have one GPU each, so "
            "leave out --tasks."
        )
    return options


def seconds_of(time: str) -> int:
    """Return a time limit in seconds. Raises UserError for what Slurm does not take as one."""
    match = TIME.fullmatch(time)
    days, first, second, third = (None, None, None, None) if match is None else match.groups()
    if first is None:
        raise UserError(
            f"--time={time} is no time limit: write minutes, H:M:S or D-H:M:S, as in --time=90 or --time=1-12:00:00."
        )
    numbers = [int(number or 0) for number in (first, second, third)]
    if days is None and third is None:  # M or M:S
        return 60 * numbers[0] + numbers[1]
    return 86400 * int(days or 0) + 3600 * numbers[0] + 60 * numbers[1] + numbers[2]


def run_script(folder: Path, arguments: Sequence[str], options: SlurmOptions, python: str) -> str:
    """Return the script of a job that runs `python ARGUMENTS` as all processes of one run, with its log in a folder."""
    shape = [f"--nodes={options.nodes}", f"--ntasks-per-node={options.tasks_per_node}"]
    return job_script(folder, LOG, shape, shlex.join(arguments), options, python)


def array_script(folder: Path, arguments: Sequence[str], options: SlurmOptions, python: str, array: str) -> str:
    """Return the script of a job array that runs `python ARGUMENTS --index=TASK` for each of its tasks."""
    command = f'{shlex.join(arguments)} --index="$SLURM_ARRAY_TASK_ID"'
    return job_script(folder, ARRAY_LOG, ["--ntasks=1", f"--array={array}"], command, options, python)


def job_script(folder: Path, log: str, shape: Sequence[str], command: str, options: SlurmOptions, python: str) -> str:
    """Return a batch script around a command in shell syntax. Raises UserError for a file or path of no use."""
    path = str(folder.absolute())
    if not f"{path}{Path.cwd()}".isprintable() or "\\" in path:
        raise UserError(f"{path!r} has characters that sbatch does not take: name another folder.")
    name = options.job_name or re.sub(r"[^A-Za-z0-9._-]", "-", folder.absolute().name)
    given: dict[str, object] = {"partition": options.partition, "account": options.account, "time": options.time}
    given |= {"constraint": options.constraint, "gpus-per-node": options.gpus, "cpus-per-task": options.cpus}
    directives = [
        f"--job-name={name}",
        f"--chdir={Path.cwd()}",
        f"--output={path.replace('%', '%%')}/{log}",
        "--open-mode=append",
        *shape,
        *(f"--{option}={value}" for option, value in given.items() if value),
        "--requeue" if options.requeue else "--no-requeue",
        *([f"--signal=B:USR1@{options.save_before}"] if options.save_before else []),
        *options.sbatch,
    ]
    # srun does not take the CPUs of a task from sbatch.
    srun = ["--kill-on-bad-exit=1", *([f"--cpus-per-task={options.cpus}"] if options.cpus else [])]
    return SCRIPT.format(
        directives="\n".join(f"#SBATCH {quote(option)}" for option in directives),
        python=shlex.quote(python),
        site=site_lines(options.site),
        again="1" if options.requeue else "",
        srun=" ".join(srun),
        command=command,
    )


def quote(option: str) -> str:
    """Write an option in a line of sbatch, which knows double quotes and backslashes as a shell does."""
    if re.fullmatch(r"[\w@%+=:,./-]+", option):
        return option
    escaped = option.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def site_lines(path: str) -> str:
    """Return the lines of the site's file, "" if none is named. Raises UserError if it cannot be read."""
    if not path:
        return ""
    with reading(Path(path)):
        return Path(path).read_text().rstrip("\n") + "\n"


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers as Slurm does: 0-3,7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
