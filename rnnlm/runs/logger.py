"""What happens in a run: metrics.jsonl, which is the truth, TensorBoard events that mirror it, samples/, result.json.

It receives floats, never device arrays.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rnnlm.config import flatten
from rnnlm.files import reading, sync_folder, write_atomic, writing
from rnnlm.runs.layout import Row, write_json

# tensorboardX imports PyTorch where it finds it, which takes a second and serves nothing here.
torch = sys.modules.get("torch")
sys.modules["torch"] = None  # type: ignore[assignment]
try:
    from tensorboardX import summary
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2
finally:
    del sys.modules["torch"]
    if torch:
        sys.modules["torch"] = torch


class RunLogger:
    """Writes what happens to a run, from `step` on; what is there of later steps, of a run cut off, is dropped.

    Only the main process of a run writes: `write` is false in the others.
    """

    def __init__(self, folder: Path, step: int, write: bool):
        self.folder, self.write = folder, write
        kept, size = rows_until(folder / "metrics.jsonl", step)
        self._began = time.perf_counter() - (kept[-1]["seconds"] if kept else 0.0)
        self.scores: dict[int, float] = scores_of(kept)
        """Validation bpc by step."""
        if write:
            self._path = folder / "metrics.jsonl"
            with writing(self._path):
                self._metrics = self._path.open("a")
                self._metrics.truncate(size)
                sync_folder(folder)
            self._events = Events(folder)
            for row in kept:
                self._mirror(row)
            for path in sorted((folder / "samples").glob("*.txt")):
                if not path.stem.isdecimal():
                    continue
                if int(path.stem) > step:
                    with writing(path):
                        path.unlink()
                else:
                    with reading(path):
                        text = path.read_text(errors="replace")
                    self._events.text("samples", text, int(path.stem))

    def seconds_at(self, now: float) -> float:
        """Seconds of this run at a reading of time.perf_counter(), earlier starts included up to their last row."""
        return now - self._began

    def write_row(self, values: Row) -> None:
        """Append a row, which has a step, and mirror its numbers as scalars."""
        if "valid_bpc" in values:
            self.scores[values["step"]] = values["valid_bpc"]
        if self.write:
            with writing(self._path):
                self._metrics.write(json.dumps(values) + "\n")
                self._metrics.flush()
            self._mirror(values)

    def _mirror(self, row: Row) -> None:
        group = "valid" if "valid_bpc" in row else "train"
        for name, value in row.items():
            if isinstance(value, int | float) and name != "step":
                self._events.scalar(f"{group}/{name.removeprefix('valid_')}", value, row["step"])

    def sample_path(self, step: int) -> Path:
        return self.folder / "samples" / f"{step:09d}.txt"

    def sample(self, step: int, texts: dict[float, str]) -> None:
        """Keep what was drawn at each temperature."""
        if self.write:
            text = "".join(f"----- step {step}, temperature {t} -----\n{s}\n\n" for t, s in texts.items())
            write_atomic(self.sample_path(step), [text.encode(errors="replace")])
            self._events.text("samples", text, step)

    def flush(self) -> None:
        """Sync to the disk, so that neither a checkpoint nor result.json knows more than the records."""
        if self.write:
            with writing(self._path):
                os.fsync(self._metrics.fileno())
            self._events.flush()

    def finish(self, config: Row, result: Row) -> None:
        """Write result.json, and the row of TensorBoard's table of runs."""
        if self.write:
            self.flush()
            write_json(self.folder / "result.json", result)
            self._events.hparams(dict(flatten(config)), result)

    def close(self) -> None:
        """Close the files. Raises WriteError where what they have buffered cannot be written."""
        if self.write:
            try:
                with writing(self._path):
                    self._metrics.close()
            finally:
                self._events.close()


class Events:
    """TensorBoard events, written at once by the thread that has them, so that a full disk is noticed.

    What earlier event files of the folder hold is void: a new one begins with the whole history.
    """

    def __init__(self, folder: Path):
        self._path = folder / "events"
        with writing(self._path):
            self._writer = EventsWriter(str(self._path), f".{os.getpid()}")
        self._put(step=0, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def _put(self, **event: Any) -> None:
        with writing(self._path):
            self._writer.write_event(event_pb2.Event(wall_time=time.time(), **event))

    def scalar(self, name: str, value: float, step: int) -> None:
        self._put(summary=summary.scalar(name, value), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        self._put(summary=summary.text(name, f"```\n{text}\n```"), step=step)

    def hparams(self, config: Row, result: Row) -> None:
        """A config, and the bpc that it came to, as final/NAME."""
        plain = {name: value if isinstance(value, int | float | str) else str(value) for name, value in config.items()}
        numbers = {f"final/{name}": v for name, v in result.items() if "bpc" in name and v is not None}
        for part in summary.hparams(plain, numbers):
            self._put(summary=part, step=result["step"])
        for name, value in numbers.items():
            self.scalar(name, value, result["step"])

    def flush(self) -> None:
        with writing(self._path):
            self._writer.flush()

    def close(self) -> None:
        with writing(self._path):
            self._writer.close()


def scores_of(rows: list[Row]) -> dict[int, float]:
    """Validation bpc by step."""
    return {row["step"]: row["valid_bpc"] for row in rows if "valid_bpc" in row}


def rows_until(path: Path, step: int) -> tuple[list[Row], int]:
    """The rows of steps up to `step`, and how many bytes they take; a torn last line does not count."""
    rows: list[Row] = []
    size = 0
    with reading(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            row = None
        if row is None or row["step"] > step:
            break
        rows.append(row)
        size += len(line)
    return rows, size
