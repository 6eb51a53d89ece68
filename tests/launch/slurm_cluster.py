"""Start a real Slurm from the distribution's packages: a controller and two nodes on this machine, without munge."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import free_port

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
# A requeued job waits until its credential has expired.
AuthInfo=cred_expire=5
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# By default jobs that have become eligible wait for up to 30 s.
SchedulerParameters=bf_interval=1,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=20
SlurmdParameters=config_overrides
# Both names are of this machine, so that processes on one node find those on the other by its name.
NodeName={host} NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=8 RealMemory=2000 State=UNKNOWN
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=8 RealMemory=2000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
"""Where the daemons are, also for users whose own path lacks them."""


def missing() -> str:
    """Return why no Slurm can be started here, "" if one can."""
    programs = [name for name in ("slurmctld", "slurmd", "sbatch", "srun") if shutil.which(name, path=PATH) is None]
    if programs:
        return f"there is no {programs[0]}: install slurm-wlm"
    return "" if os.geteuid() == 0 else "only root can start Slurm's daemons"


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Run a Slurm with its files in a folder, to which Slurm's commands within the context speak."""
    host = socket.gethostname().partition(".")[0]
    with free_port() as controller, free_port() as first, free_port() as second:
        text = CONFIG.format(host=host, controller=controller, first=first, second=second, folder=folder)
    for name in ("state", f"spool-{host}", "spool-localhost"):
        (folder / name).mkdir()
    config = folder / "slurm.conf"
    config.write_text(text)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(config)
    nodes = [("slurmd", "-N", name) for name in (host, "localhost")]
    daemons = [start(folder, *command) for command in (("slurmctld",), *nodes)]
    try:
        wait_until(lambda: slurm("sinfo", "--noheader", "--format=%D %T").strip() == "2 idle", seconds=60)
        yield
    finally:
        subprocess.run(["scancel", "--user=root", "--signal=KILL", "--full"], capture_output=True)
        subprocess.run(["scancel", "--user=root"], capture_output=True)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not slurm("squeue", "--noheader").strip())
        for daemon in reversed(daemons):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
            daemon.kill()
            daemon.wait()
        os.environ.pop("SLURM_CONF") if before is None else os.environ.update(SLURM_CONF=before)


def start(folder: Path, daemon: str, *options: str) -> "subprocess.Popen[bytes]":
    """Start a daemon of Slurm in the foreground."""
    with (folder / f"{'-'.join((daemon, *options))}.out").open("wb") as out:
        program = str(shutil.which(daemon, path=PATH))
        return subprocess.Popen([program, "-D", *options], stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def slurm(*command: str) -> str:
    """Run one of Slurm's commands: -> what it prints."""
    return subprocess.run(command, capture_output=True, text=True).stdout


def wait_until(condition, seconds: float = 240) -> None:
    """Wait until a condition holds. Raises TimeoutError where it does not within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)
