"""Time programs against each other: workers that take turns, the best settings of a peer, and paired ratios."""

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
    """Return the Python of a checkout: that of its own environment if it has one, else the running one."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if checkout != ROOT and own.exists() else sys.executable


class Contestant:
    """Run a task in a worker process, from the code of the checkout that the task names, or else of this one."""

    def __init__(self, task: dict[str, Any]):
        # Use one GPU, without reserving all of its memory, and no cache of compiled programs.
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
        """Wait until the worker is ready: -> the facts that it reports."""
        return self.answer()

    def wait_until_ready(self) -> None:
        """Wait until the worker has compiled and run its first steps. Raises RuntimeError if it fails."""
        _ = self.facts

    def answer(self) -> dict[str, Any]:
        """Read a line of JSON from the worker. Raises RuntimeError if it has ended, is late or writes another line."""
        assert self.process.stdout
        left = self.deadline - time.monotonic()
        if left < math.inf and not select.select([self.process.stdout], [], [], max(0.0, left))[0]:
            self.process.kill()
            raise RuntimeError(f"{self.task} did not answer in time.")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.task} ended with code {self.process.wait()}: see its message above.")
        try:
            return json.loads(line)
        except ValueError:
            raise RuntimeError(f"{self.task} answered {line!r}.") from None

    def turn(self, n: int) -> float:
        """Run n units in a row: -> seconds per unit."""
        assert self.process.stdin
        self.wait_until_ready()
        self.deadline = time.monotonic() + self.task.get("seconds_to_answer", math.inf)
        self.process.stdin.write(f"{n}\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.peak = answer["peak_bytes"]
        return answer["seconds"] / n

    def units(self, seconds: float) -> int:
        """Return the number of units that take about `seconds`."""
        return max(1, round(seconds / self.turn(1)))

    def quickest(self, seconds: float, turns: int) -> float:
        """Return the least seconds per unit of some turns of about `seconds` each."""
        units = self.units(seconds)
        return min(self.turn(units) for _ in range(turns))

    def hang_up(self) -> None:
        """Close the worker's input, which tells it to end."""
        assert self.process.stdin
        with contextlib.suppress(OSError):  # it has ended
            self.process.stdin.close()

    def close(self) -> None:
        """End the worker; kill it if it does not end within 10 seconds."""
        self.hang_up()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


def close_all(players: list[Contestant]) -> None:
    """End all workers at the same time."""
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
    """Let workers take turns of about `seconds` each: -> seconds per unit by name, turn by turn.

    Every other round runs in reverse order, so that no worker always comes first. Workers get ready one after another,
    since some tune by measuring while they compile; tasks with "start_together" get ready at the same time. A worker
    that fails, or takes longer than its task's "seconds_to_answer", goes into `failed` with the reason. Facts of the
    workers go into `facts`. Raises RuntimeError or OSError for a failed worker if `failed` is not given.
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


def take_turns(players: list[Contestant], rounds: int, seconds: float) -> list[list[float]]:
    """Let players take turns of about `seconds`, every other round in reverse order: -> seconds per step of each."""
    units = [player.units(seconds) for player in players]
    times: list[list[float]] = [[] for _ in players]
    for i in range(rounds):
        for number in range(len(players))[:: -1 if i % 2 else 1]:
            times[number].append(players[number].turn(units[number]))
    return times


def best(peer: str, task: dict[str, Any], device: str) -> dict[str, Any]:
    """Return the task with the quickest of the peer's settings, each tried in three turns."""
    timed = []
    variants = importlib.import_module(f"benchmarks.peers.{peer}").variants(device, task)
    for variant in variants:
        candidate = task | {"peer": peer} | variant
        if len(variants) == 1:
            return candidate
        try:
            with contextlib.closing(Contestant(candidate)) as player:
                timed.append((player.quickest(SECONDS / 2, turns=3), candidate))
        except (OSError, RuntimeError) as error:  # a missing compiler, or a flag that this version lacks
            sys.stderr.write(f"left out: {error}\n")
    if not timed:
        raise RuntimeError(f"None of {peer}'s settings worked: see the messages above.")
    return min(timed, key=lambda pair: pair[0])[1]


def settings(task: dict[str, Any]) -> str:
    """Describe the settings of a task in a few words."""
    words = [f"{name}={task[name]}" for name in ("threads", "devices", "unroll", "dtype") if name in task]
    words += ["compile"] if task.get("compile") else []
    words += ["malloc"] if "MALLOC_MMAP_MAX_" in task.get("env", {}) else []
    words += ["XLA flags"] if "XLA_FLAGS" in task.get("env", {}) else []
    return " ".join(words)


def ratio(peer: list[float], ours: list[float]) -> float:
    """Return the median of the ratios peer / ours, turn by turn."""
    return statistics.median(a / b for a, b in zip(peer, ours, strict=True))


def median_interval(values: list[float]) -> tuple[float, float]:
    """Return an interval that contains the true median with at least 95 % probability, for any distribution.

    It goes from the k-th smallest to the k-th largest value, by the binomial distribution of the number of values below
    the median; fewer than six values give their range, which covers less.
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
    """Return the geometric mean."""
    return math.exp(statistics.fmean(math.log(v) for v in values))


def log_row(row: dict[str, Any]) -> None:
    """Write a row as a line of JSON to standard error."""
    sys.stderr.write(json.dumps(row) + "\n")


def table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table with aligned columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.write("\n")
    sys.stdout.flush()
