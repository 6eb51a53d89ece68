"""Compare what `rnnlm plan` says with what the run then takes, in time and in memory.

    python benchmarks/plan.py                   # all shapes
    python benchmarks/plan.py gru lstm          # some of them
    python benchmarks/plan.py --clock=cpu       # by the CPU time of the processes, which other work hardly changes

Each line of JSON has what was planned, what was measured, and planned / measured. The memory of a run is the growth of
the peak of its resident memory from the line that describes it, before it makes its state, to its end; its time is
what its result.json says. The plan is made first, by a process of its own.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

TINY = ("--config=configs/base.py", "--config.data.corpus=tinyshakespeare")
EVERY = ("--config.eval.every={0}", "--config.checkpoint.every={0}", "--config.sample.every={0}")
SHAPES = {
    "quickstart": ("--config=configs/quickstart.py", "--config.train.steps=200", *EVERY, 100),
    "charrnn": ("--config=configs/published/char_rnn.py", "--config.train.steps=300", *EVERY, 150),
    "lstm": (*TINY, "--config.model.hidden=512", "--config.train.steps=40", *EVERY, 20),
    "gru": (*TINY, "--config.model.cell=gru", "--config.model.layers=1", "--config.train.steps=200", *EVERY, 100),
}
"""The flags of each shape; the number at the end is that of the steps between validations, saves and samples."""
START = """
import atexit, pathlib, sys, time
if "{clock}" == "cpu":
    time.perf_counter = time.process_time
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text(), file=sys.stderr))
from rnnlm.commands.main import main
exit(main())
"""
"""Run rnnlm on a clock; at its end it prints what the kernel knows of its memory.

The `ru_maxrss` that a parent reads would count the parent too: a process inherits the peak of the one that forked it.
"""
CLOCKS = ("wall", "cpu")


def flags_of(shape: str) -> list[str]:
    """Return the flags of a shape."""
    *flags, every = SHAPES[shape]
    return [str(flag).format(every) for flag in flags]


def compare(flags: list[str], clock: str = "wall") -> dict[str, float]:
    """Plan a training and run it: -> seconds and bytes, planned and measured, and their ratios."""
    command = [sys.executable, "-u", "-c", START.format(clock=clock)]
    plan = subprocess.run([*command, "plan", "--json", *flags], check=True, capture_output=True)
    planned = json.loads(plan.stdout)
    with tempfile.TemporaryDirectory() as folder:
        bytes_, seconds = run([*command, "train", f"--workdir={folder}/run", *flags], Path(folder) / "run")
    time, memory = 3600 * planned["hours"], planned["memory"]["process_growth"]
    found = {"planned_seconds": time, "seconds": seconds, "time_ratio": time / seconds}
    return found | {"planned_bytes": memory, "bytes": bytes_, "memory_ratio": memory / bytes_}


def run(command: list[str], workdir: Path) -> tuple[int, float]:
    """Train: -> (growth of the peak of resident memory in bytes, seconds)."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        before = 0
        for line in process.stdout:
            if not before and " symbols a step on " in line:
                before = memory_bytes(Path(f"/proc/{process.pid}/status").read_text(), "VmRSS")
        errors = process.stderr.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with code {process.returncode}: {errors}")
    return memory_bytes(errors, "VmHWM") - before, json.loads((workdir / "result.json").read_text())["seconds"]


def memory_bytes(status: str, name: str) -> int:
    """Return a figure of the memory of a process from the text of its /proc/PID/status."""
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:"))


def main() -> None:
    """Compare the shapes that are named, or all."""
    shapes = [word for word in sys.argv[1:] if not word.startswith("--clock=")]
    clock = next((word.partition("=")[2] for word in sys.argv[1:] if word not in shapes), "wall")
    for shape in shapes or SHAPES:
        if shape not in SHAPES or clock not in CLOCKS:
            raise SystemExit(f"{shape}, --clock={clock}: the shapes are {', '.join(SHAPES)}, the clocks wall and cpu.")
        sys.stdout.write(json.dumps({"shape": shape, "clock": clock} | compare(flags_of(shape), clock)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
