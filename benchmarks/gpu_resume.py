"""Compare a run on a GPU that is killed and resumed with an uninterrupted one, bit for bit."""

import contextlib
import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.gpu_runs import metrics, rnnlm, wait_for_success
from benchmarks.gpu_scale import KEPT, REPEATABLE, Run
from rnnlm.runs.layout import RunDir


def resume(run: Run) -> int:
    """Kill and resume a run, and compare it with an uninterrupted one; try further flags until both are equal.

    The first time all runs share a folder of compiled programs. Then each compiles anew, and autotuning may choose
    other kernels.
    """
    with tempfile.TemporaryDirectory() as folder:
        uninterrupted: dict[str, Path] = {}
        for i, (name, flag) in enumerate(REPEATABLE.items()):
            cache = Path(folder) / "cache" if name == KEPT else None
            try:
                if flag not in uninterrupted:
                    with train_shortly(run, Path(folder) / f"uninterrupted{i}", flag, cache) as process:
                        wait_for_success(process)
                    uninterrupted[flag] = Path(folder) / f"uninterrupted{i}"
                killed, seconds = kill_and_resume(run, Path(folder) / f"killed{i}", flag, cache)
                arrays, step = differences(uninterrupted[flag], Path(folder) / f"killed{i}")
            except (OSError, RuntimeError, ValueError) as error:
                run.add("resume", name=name, flag=flag, failed=str(error))
                continue
            run.add("resume", name=name, flag=flag, killed=killed, equal=not arrays, differing_arrays=arrays,
                    first_differing_row=step, seconds=seconds)  # fmt: skip
            if not arrays and name != KEPT:
                break
    return 0


def kill_and_resume(run: Run, workdir: Path, flag: str, cache: Path | None) -> tuple[bool, float]:
    """Kill a run in its second half and resume it: -> whether the kill came in time, the seconds of both together."""
    begin = time.perf_counter()
    with train_shortly(run, workdir, flag, cache) as process:
        while process.poll() is None and len(metrics(workdir)) < 0.6 * run.scale.resume_steps:
            time.sleep(0.005)
    in_time = process.returncode == -signal.SIGKILL and not RunDir(workdir).result.exists()
    with train_shortly(run, workdir, flag, cache) as process:
        wait_for_success(process)
    return in_time, time.perf_counter() - begin


def train_shortly(
    run: Run, workdir: Path, flag: str, cache: Path | None
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Start or resume a short run that saves checkpoints often."""
    steps = f"--config.train.steps={run.scale.resume_steps}"
    config = ["--config=configs/quickstart.py", f"--workdir={workdir}", *run.scale.resume, steps]
    return rnnlm("train", *config, *([] if cache else ["--nocompile_cache"]), flag=flag, cache=cache)


def differences(a: Path, b: Path) -> tuple[int, int | None]:
    """Compare two runs: -> (number of arrays that differ by digest at the end, first step whose loss differs)."""
    newest = max(int(path.name) for path in RunDir(a).checkpoints.iterdir() if path.name.isdecimal())
    left, right = (
        json.loads((RunDir(folder).checkpoints / str(newest) / "meta" / "metadata").read_text()) for folder in (a, b)
    )
    rows = zip(metrics(a), metrics(b), strict=True)
    first = next((x["step"] for x, y in rows if x["loss"] != y["loss"]), None)
    return sum(left[name] != right.get(name) for name in left), first
