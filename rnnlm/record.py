"""The run folder: config.json, vocab.json, run.json, metrics.jsonl, TensorBoard events, samples/, result.json.

metrics.jsonl is the truth, the events mirror it. It receives floats, never device arrays.
"""

import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from tensorboardX import SummaryWriter

from rnnlm.errors import UserError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "rnnlm")
Row = dict[str, Any]


class Record:
    """Writes what happens to a run, from `step` on; rows after it, of a run that was cut off, are dropped.

    Only the main process of a run writes: `write` is false in the others.
    """

    def __init__(self, folder: Path, step: int, write: bool):
        self.folder, self.write = folder, write
        kept, size = rows_until(folder / "metrics.jsonl", step)
        self._began = time.perf_counter() - (kept[-1]["seconds"] if kept else 0.0)
        self.scores: dict[int, float] = {r["step"]: r["valid_bpc"] for r in kept if "valid_bpc" in r}
        """Validation bpc by step."""
        if write:
            self._metrics = (folder / "metrics.jsonl").open("a")
            self._metrics.truncate(size)
            for sample in (folder / "samples").glob("*.txt"):
                if int(sample.stem) > step:
                    sample.unlink()
            self._events = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def seconds_at(self, now: float) -> float:
        """Seconds of this run at a reading of time.perf_counter(), earlier starts included up to their last row."""
        return now - self._began

    def row(self, values: Row) -> None:
        """Append a row, which has a step, and mirror its numbers as scalars."""
        if "valid_bpc" in values:
            self.scores[values["step"]] = values["valid_bpc"]
        if self.write:
            self._metrics.write(json.dumps(values) + "\n")
            self._metrics.flush()
            group = "valid" if "valid_bpc" in values else "train"
            for name, value in values.items():
                if isinstance(value, int | float) and name != "step":
                    self._events.add_scalar(f"{group}/{name.removeprefix('valid_')}", value, values["step"])

    def sample_path(self, step: int) -> Path:
        return self.folder / "samples" / f"{step:09d}.txt"

    def sample(self, step: int, texts: dict[float, str]) -> None:
        """Keep what was drawn at each temperature."""
        if self.write:
            text = "".join(f"----- step {step}, temperature {t} -----\n{s}\n\n" for t, s in texts.items())
            self.sample_path(step).parent.mkdir(exist_ok=True)
            self.sample_path(step).write_text(text, errors="replace")
            for temperature, drawn in texts.items():
                self._events.add_text(f"temperature {temperature}", f"```\n{drawn}\n```", step)

    def flush(self) -> None:
        """To the disk itself, so that a checkpoint never knows more than the records."""
        if self.write:
            os.fsync(self._metrics.fileno())
            self._events.flush()

    def finish(self, config: Row, result: Row) -> None:
        """Write result.json, and the hyper-parameters with the final bpc for TensorBoard's table."""
        if self.write:
            write_json(self.folder / "result.json", result)
            flat = {name: value if isinstance(value, int | float) else str(value) for name, value in flatten(config)}
            numbers = {f"final/{k}": v for k, v in result.items() if isinstance(v, int | float)}
            self._events.add_hparams(flat, numbers, name="hparams", global_step=result["step"])

    def close(self) -> None:
        if self.write:
            self._metrics.close()
            self._events.close()


def prepare(folder: Path) -> IO[bytes]:
    """Make the run folder and lock it while the file returned is open. Raises UserError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("wb")
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--workdir={folder} is not a folder: name a new folder, or one that holds a run.") from None
    except OSError as error:
        raise UserError(f"--workdir={folder} cannot be written ({error.strerror}): name another folder.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise UserError(f"Another process is training in {folder}: wait for it, or name another folder.") from None
    return lock


def rows_until(path: Path, step: int) -> tuple[list[Row], int]:
    """The rows of steps up to `step`, and how many bytes they take; a torn last line does not count."""
    rows: list[Row] = []
    size = 0
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
            rows.append(json.loads(line))
            size += len(line)
    return rows, size


def write_json(path: Path, value: Any) -> None:
    """All of it or nothing."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.replace(path)


def read_json(path: Path) -> Any:
    """Raises UserError where there is no such file or it is no JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} holds no run: it has no {path.name}. Name the folder of a training run."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it from a copy of the run.") from None


def note_score(folder: Path, found: Row) -> None:
    """Add an evaluation to result.json, by the part that was scored."""
    path = folder / "result.json"
    kept = read_json(path) if path.exists() else {}
    write_json(path, kept | {"scores": kept.get("scores", {}) | {found["split"]: found}})


def provenance() -> Row:
    """Where, when and from what a run was started."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "argv": sys.argv,
        "git": git(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "machine": platform.platform(),
    }


def git() -> Row | None:
    """The commit of rnnlm's own source tree and what differs from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20, errors="replace"
        ).stdout

    try:
        if Path(ask("rev-parse", "--show-toplevel").strip()) != root:
            return None
        return {
            "sha": ask("rev-parse", "HEAD").strip(),
            "status": ask("status", "--short"),
            "diff": ask("diff", "HEAD"),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def flatten(config: Row, prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in config.items():
        flat += flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return flat
