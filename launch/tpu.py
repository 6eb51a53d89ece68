"""Print the provider's commands that make a TPU pod, install rnnlm there and train on it; with --run run them.

    python launch/tpu.py create --tpu=pod --zone=us-east5-b --type=v5p-16
    python launch/tpu.py install --tpu=pod --zone=us-east5-b --site=mount.sh
    python launch/tpu.py train --tpu=pod --zone=us-east5-b --config=configs/X.py --workdir=/mnt/shared/runs/X
    python launch/tpu.py status --tpu=pod --zone=us-east5-b

docs/distributed.md explains the flags.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: the packages lie beside this one's folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from absl import flags

from launch.command import run_command
from launch.slurm_script import site_lines
from launch.trials import Trial, escape_texts, override_text
from rnnlm.commands.flags import data_flag, trust_flag
from rnnlm.commands.overrides import config_flag, parse, parse_overrides, read_config
from rnnlm.config import Config
from rnnlm.errors import UserError

RUNTIMES = {"v5litepod": "v2-alpha-tpuv5-lite", "v5p": "v2-alpha-tpuv5", "v6e": "v2-alpha-tpuv6e"}
"""Software of a TPU VM by the generation of its chips; older ones have OLDER."""
OLDER = "tpu-ubuntu2204-base"
NAME = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]")
"""Names that the provider takes."""
BUNDLE = "rnnlm.bundle"
PYTHON = "../rnnlm-venv/bin/python"
"""The interpreter on a worker, from the checkout's folder."""
INSTALL = f"""\
rm -rf rnnlm
git clone --quiet {BUNDLE} rnnlm
python3 -m pip install --quiet --user uv
~/.local/bin/uv venv --quiet --allow-existing --python=3.12 rnnlm-venv
cd rnnlm
~/.local/bin/uv pip install --quiet --python={PYTHON} --require-hashes --requirement=requirements-tpu.lock
~/.local/bin/uv pip install --quiet --python={PYTHON} --no-deps --editable=."""
"""What each worker runs; Ubuntu 22.04, which TPU VMs have, comes with Python 3.10, which is too old."""

Command = list[str]


@dataclass(frozen=True)
class Pod:
    """Hold what the flags say of a pod."""

    tpu: str
    zone: str
    project: str = ""
    type: str = ""
    runtime: str = ""
    spot: bool = False
    queue: bool = False
    site: str = ""

    @property
    def place(self) -> Command:
        """Return the flags that say where the pod is."""
        return [f"--zone={self.zone}", *([f"--project={self.project}"] if self.project else [])]

    def gcloud(self, group: str, verb: str, *rest: str) -> Command:
        """Return a command of gcloud on the pod."""
        return ["gcloud", "compute", "tpus", group, verb, self.tpu, *self.place, *rest]

    def on_workers(self, command: str) -> Command:
        """Return the command that runs a line of shell on every worker at the same time."""
        return self.gcloud("tpu-vm", "ssh", "--worker=all", f"--command={command}")


def place_flags(values: flags.FlagValues) -> None:
    """Define the flags that name a pod."""
    flags.DEFINE_string("tpu", "", "name of the TPU", flag_values=values)
    flags.DEFINE_string("zone", "", "zone of the TPU, such as us-east5-b", flag_values=values)
    flags.DEFINE_string("project", "", "project that pays for the TPU, if not gcloud's own", flag_values=values)


def verb_flags(values: flags.FlagValues, verb: str) -> None:
    """Define the flags of a verb."""
    place_flags(values)
    flags.DEFINE_bool("run", False, "run the commands, which are else only printed", flag_values=values)
    if verb in ("create", "status", "delete"):
        flags.DEFINE_bool("queue", False, "the TPU is had by way of the provider's queue", flag_values=values)
    if verb == "create":
        kind = "kind and size of the TPU, such as v5litepod-16, v5p-16 or v6e-8"
        flags.DEFINE_string("type", "", kind, flag_values=values)
        runtime = "software of its machines; unless given that which its type needs"
        flags.DEFINE_string("runtime", "", runtime, flag_values=values)
        flags.DEFINE_bool("spot", False, "cheaper, and taken away at any time", flag_values=values)
    if verb == "install":
        flags.DEFINE_string("site", "", "file of shell lines that run first, such as mount", flag_values=values)
    if verb == "train":
        config_flag(values, "the config file, by its path in the checkout")
        flags.DEFINE_string("workdir", "", "the run folder, on a disk that all workers mount", flag_values=values)
        data_flag(values)
        trust_flag(values)


def given_pod(values: flags.FlagValues) -> Pod:
    """Build the pod that the flags name. Raises UserError for a name that the provider does not take."""
    if not NAME.fullmatch(values.tpu):
        raise UserError(
            f"--tpu={values.tpu!r} is no name of a TPU: use small letters, digits and dashes, with a letter first."
        )
    if not values.zone:
        raise UserError("--zone is missing: name the zone of the TPU, as in --zone=us-east5-b.")
    given: dict[str, Any] = {field.name: values[field.name].value for field in fields(Pod) if field.name in values}
    return Pod(**given)


def create(pod: Pod) -> list[Command]:
    """Return the command that makes a pod, or queues for one. Raises UserError where its type is not given."""
    if not pod.type:
        raise UserError("--type is missing: name kind and size of the TPU, as in --type=v5p-16.")
    runtime = pod.runtime or RUNTIMES.get(pod.type.partition("-")[0], OLDER)
    accelerator, spot = f"--accelerator-type={pod.type}", ["--spot"] if pod.spot else []
    if pod.queue:
        node = f"--node-id={pod.tpu}"
        return [pod.gcloud("queued-resources", "create", node, accelerator, f"--runtime-version={runtime}", *spot)]
    return [pod.gcloud("tpu-vm", "create", accelerator, f"--version={runtime}", *spot)]


def install(pod: Pod) -> list[Command]:
    """Return the commands that copy the last commit of this checkout to every worker, and install it there."""
    target = ["gcloud", "compute", "tpus", "tpu-vm", "scp", BUNDLE, f"{pod.tpu}:", *pod.place, "--worker=all"]
    script = f"set -e\n{site_lines(pod.site)}{INSTALL}"
    return [["git", "bundle", "create", "--quiet", BUNDLE, "HEAD"], target, pod.on_workers(script)]


def train(pod: Pod, lines: Sequence[Sequence[str]]) -> list[Command]:
    """Return the command that has every worker run command lines of `python -m rnnlm`, one after another.

    They go on when the connection ends.
    """
    words = [[PYTHON, "-m", "rnnlm", *line, "--coordinator=auto"] for line in lines]
    job = "; ".join(map(shlex.join, words))
    # A session of its own outlives the connection, and is stopped as a whole.
    started = f"setsid bash -c {shlex.quote(job)} >> ~/rnnlm.log 2>&1 < /dev/null & echo $! > ~/rnnlm.pid"
    return [pod.on_workers(f"cd rnnlm && {{ {started}; }}")]


def status(pod: Pod) -> list[Command]:
    """Return the commands that tell the state of a pod, and the last lines that its workers printed."""
    queue = [pod.gcloud("queued-resources", "describe", "--format=value(state.state)")] if pod.queue else []
    tail = pod.on_workers("tail --lines=3 ~/rnnlm.log")
    return [*queue, pod.gcloud("tpu-vm", "describe", "--format=value(state)"), tail]


def stop(pod: Pod) -> list[Command]:
    """Return the command that has the run on a pod save and end."""
    return [pod.on_workers("kill -TERM -- -$(cat ~/rnnlm.pid)")]


def delete(pod: Pod) -> list[Command]:
    """Return the command that deletes a pod, which ends its cost."""
    if pod.queue:
        return [pod.gcloud("queued-resources", "delete", "--force", "--quiet")]
    return [pod.gcloud("tpu-vm", "delete", "--quiet")]


COMMANDS = {"create": create, "install": install, "status": status, "stop": stop, "delete": delete}


def main(argv: list[str]) -> int:
    """Print the commands of one verb, or run them: -> the exit code of the first that failed, else 0."""
    verb, *rest = argv or [""]
    if verb not in (*COMMANDS, "train"):
        given = f", not {verb!r}" if verb not in ("", "--help", "-h") else ""
        raise UserError(f"Name what to do: train, {', '.join(COMMANDS)}{given}. launch/tpu.py train --help has flags.")
    values = flags.FlagValues()
    verb_flags(values, verb)
    if verb != "train":
        parse(f"launch/tpu.py {verb}", values, rest, usage="--tpu=NAME --zone=ZONE ...", program="python")
        return perform(COMMANDS[verb](given_pod(values)), values.run)
    usage = "--tpu=NAME --zone=ZONE --config=X.py --workdir=DIR"
    overrides = parse_overrides("launch/tpu.py train", values, rest, usage, program="python")
    check_config(values, overrides)
    more = [*([f"--data={values.data}"] if values.data else []), *(["--trust_code"] if values.trust_code else [])]
    line = train_line(values.config, values.workdir, [*overrides, *more])
    return perform(train(given_pod(values), [line]), values.run)


def check_config(values: flags.FlagValues, overrides: list[str]) -> None:
    """Raise UserError where a config is wrong, or is not found where the workers look for it."""
    check_path(values.config)
    Config.from_dict(read_config(values.config, overrides, values.trust_code))


def check_path(config: str) -> None:
    """Raise UserError where a config file is not found where the workers look for it."""
    if not config or Path(config).is_absolute():
        raise UserError("--config names no file in the checkout: give its path there, as in --config=configs/X.py.")


def train_line(config: str, workdir: str, more: Sequence[str]) -> Command:
    """Return the words of `rnnlm train` on a worker. Raises UserError where the run folder is a relative path."""
    if not workdir.startswith("/"):
        raise UserError(
            f"The run folder {workdir or '(none)'} is no absolute path: name one on a disk that all workers mount, "
            "such as /mnt/shared/runs/X."
        )
    return ["train", f"--config={config}", f"--workdir={workdir}", *more]


def run_sweep(pod: Pod, folder: Path, config: str, overrides: Sequence[str], trials: Sequence[Trial], run: bool) -> int:
    """Print or run the command that trains trials on a pod in a folder there, one after another: -> its exit code.

    All chips train one trial at a time. The same command again goes on: a trial that is done only says so.
    """
    lines = []
    for trial in trials:
        texts = escape_texts(trial.overrides)
        words = [f"--config.{key}={override_text(key, value)}" for key, value in texts.items()]
        lines.append(train_line(config, f"{folder}/{trial.id}", [*overrides, *words]))
    return perform(train(pod, lines), run)


def perform(commands: Sequence[Command], run: bool) -> int:
    """Print commands, and with `run` also run them: -> the exit code of the first that failed, else 0.

    Raises UserError where a program is missing.
    """
    for command in commands:
        print(shlex.join(command), flush=True)
        if not run:
            continue
        if shutil.which(command[0]) is None:
            raise UserError(f"There is no {command[0]} on this machine: install it, or run the command elsewhere.")
        if code := subprocess.run(command).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(run_command("tpu", main, sys.argv[1:]))
