"""What happens in a run: metrics.jsonl, which is the truth, TensorBoard events that mirror it, samples/, result.json.

It receives floats, never device arrays.
"""

import json
import os
import time
from pathlib import Path

from tensorboardX import SummaryWriter

from rnnlm.config import flatten
from rnnlm.folder import Row, write_json


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
