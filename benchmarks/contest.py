"""How a contest goes: workers that take turns, a peer's best settings, ratios pair by pair, and how they are shown."""

import contextlib
import functools
import importlib
import json
import math
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 1.0  # of one turn


def interpreter(checkout: Path) -> str:
    """The Python of a checkout: that of its own environment where it has one, else this one."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if checkout != ROOT and own.exists() else sys.executable


class Contestant:
    """A worker process; of another checkout where the task names one."""

    def __init__(self, task: dict[str, Any]):
        # A device of its own where there are several, no claim on all its memory, and nothing compiled before.
        env = {"CUDA_VISIBLE_DEVICES": "0"} | os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        env = {k: v for k, v in env.items() if k != "JAX_COMPILATION_CACHE_DIR"} | task.get("env", {})
        checkout = Path(task.get("checkout", ROOT))
        command = [interpreter(checkout), str(checkout / "benchmarks" / "worker.py"), json.dumps(task)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env, cwd=tempfile.gettempdir())
        self.task, self.peak = task, 0
        self.deadline = time.monotonic() + task.get("seconds_to_answer", math.inf)

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What the worker says once it is ready, which this waits for."""
        return self.answer()

    def wait_until_ready(self) -> None:
        """Wait until the worker has compiled and is warm. Raises RuntimeError where it fails."""
        _ = self.facts

    def answer(self) -> dict[str, Any]:
        """Read a line of the worker. Raises RuntimeError where it has ended, is late or says something else."""
        assert self.process.stdout
        left = self.deadline - time.monotonic()
        if left < math.inf and not select.select([self.process.stdout], [], [], max(0.0, left))[0]:
            self.process.kill()
            raise RuntimeError(f"{self.task} did not answer in time.")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.task} ended with code {self.process.wait()}: see what it said above.")
        try:
            return json.loads(line)
        except ValueError:
            raise RuntimeError(f"{self.task} answered {line!r}.") from None

    def turn(self, n: int) -> float:
        """Seconds for one unit, of n in a row."""
        assert self.process.stdin
        self.wait_until_ready()
        self.deadline = time.monotonic() + self.task.get("seconds_to_answer", math.inf)
        self.process.stdin.write(f"{n}\n")
        self.process.stdin.flush()
        found = self.answer()
        self.peak = found["peak_bytes"]
        return found["seconds"] / n

    def units(self, seconds: float) -> int:
        """How many take about so long."""
        return max(1, round(seconds / self.turn(1)))

    def quickest(self, seconds: float, turns: int) -> float:
        """Seconds for one unit in the best of some turns of about so many seconds."""
        units = self.units(seconds)
        return min(self.turn(units) for _ in range(turns))

    def hang_up(self) -> None:
        """Tell the worker that there is no more to do."""
        assert self.process.stdin
        with contextlib.suppress(OSError):  # it is gone
            self.process.stdin.close()

    def close(self) -> None:
        """End the worker; one that does not, as while it compiles, is killed."""
        self.hang_up()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


def close_all(players: list[Contestant]) -> None:
    """End workers, all at the same time."""
    for player in players:
        player.hang_up()
    for player in players:
        player.close()


def contest(
    tasks: dict[str, dict[str, Any]],
    rounds: int,
    seconds: float = SECONDS,
    failed: dict[str, str] | None = None,
    facts: dict[str, Any] | None = None,
) -> dict[str, list[float]]:
    """Let contestants take turns of about so many seconds: -> seconds a unit for each, turn by turn.

    Every other round goes backwards, so that nobody always comes first. They get ready one after the other, since some
    measure while they compile; those whose task says "start_together" do so at the same time. One that fails, or is
    late by its task's "seconds_to_answer", goes into `failed` with the reason where that is given, and raises
    RuntimeError or OSError where not. What they say of themselves goes into `facts`.
    """
    with contextlib.ExitStack() as stack:
        players: dict[str, Contestant] = {}
        started: list[Contestant] = []
        stack.callback(close_all, started)

        def each(act: Callable[[str, Contestant], None], backwards: bool = False) -> None:
            for name in list(players)[:: -1 if backwards else 1]:
                try:
                    act(name, players[name])
                except (OSError, RuntimeError) as error:
                    if failed is None:
                        raise
                    failed[name] = str(error)
                    del players[name]

        for name, task in tasks.items():
            if not task.get("start_together"):
                each(lambda _, player: player.wait_until_ready())
            players[name] = Contestant(task)
            started.append(players[name])
        each(lambda _, player: player.wait_until_ready())
        units: dict[str, int] = {}
        each(lambda name, player: units.update({name: player.units(seconds)}))
        times: dict[str, list[float]] = {name: [] for name in players}
        for i in range(rounds):
            each(lambda name, player: times[name].append(player.turn(units[name])), backwards=i % 2 == 1)
        if facts is not None:
            facts.update({name: player.facts for name, player in players.items()})
        return {name: times[name] for name in players}


def best(peer: str, task: dict[str, Any], device: str) -> dict[str, Any]:
    """The task with those of the peer's settings that did it quickest, each tried three times for a while."""
    found = []
    variants = importlib.import_module(f"benchmarks.peers.{peer}").variants(device, task)
    for variant in variants:
        made = task | {"peer": peer} | variant
        if len(variants) == 1:
            return made
        try:
            with contextlib.closing(Contestant(made)) as player:
                found.append((player.quickest(SECONDS / 2, turns=3), made))
        except (OSError, RuntimeError) as error:  # a compiler that is not there, a flag that this version does not know
            sys.stderr.write(f"left out: {error}\n")
    if not found:
        raise RuntimeError(f"None of {peer}'s settings worked: see what they said above.")
    return min(found, key=lambda pair: pair[0])[1]


def settings(task: dict[str, Any]) -> str:
    """What was chosen for a peer, in a few letters."""
    said = [f"{name}={task[name]}" for name in ("threads", "devices", "unroll", "dtype") if name in task]
    said += ["compile"] if task.get("compile") else []
    said += ["malloc"] if "MALLOC_MMAP_MAX_" in task.get("env", {}) else []
    said += ["XLA flags"] if "XLA_FLAGS" in task.get("env", {}) else []
    return " ".join(said)


def ratio(peer: list[float], ours: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(peer, ours, strict=True))


def median_interval(values: list[float]) -> tuple[float, float]:
    """Bounds that hold the true median with at least 95 % probability, whatever the distribution.

    They are the k-th smallest and the k-th largest value, by the binomial distribution of how many lie below the
    median; the smallest and the largest where fewer than six values allow no more.
    """
    n, k = len(values), 1
    while sum(math.comb(n, i) for i in range(k + 1)) / 2**n <= 0.025:
        k += 1
    ordered = sorted(values)
    return ordered[k - 1], ordered[n - k]


def paired_ratio(other: list[float], this: list[float]) -> dict[str, Any]:
    """Compare times turn by turn: -> the ratios other / this, their median and its 95 % interval."""
    ratios = [a / b for a, b in zip(other, this, strict=True)]
    return {"ratio": statistics.median(ratios), "interval": list(median_interval(ratios)), "ratios": ratios}


def geometric_mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(math.log(v) for v in values))


def say(row: dict[str, Any]) -> None:
    sys.stderr.write(json.dumps(row) + "\n")


def table(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.write("\n")
    sys.stdout.flush()
