"""Log a training: metrics.jsonl, which is the truth, TensorBoard events that mirror it, samples/ and result.json.

The logger receives floats, never device arrays.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rnnlm.files import reading, sync_folder, write_atomic, writing
from rnnlm.runs.layout import Row, RunDir, read_json, write_json
from rnnlm.runs.metrics import read_rows, validation_scores
from rnnlm.schema import flatten

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
    """Log a run from `step` on, and drop the rows and samples of later steps that a run cut off has left.

    Only the main process of a run writes: `write` is false in the others. `validations` are the rows of validations,
    and `scores` holds their bpc by step, in one dict that changes with them; `train_bpc` is that of the last row of
    training. Raises UserError and WriteError.
    """

    def __init__(self, folder: Path, step: int, write: bool):
        self.folder, self.write = RunDir(folder), write
        earlier, size = read_rows(self.folder.metrics, step)
        self._began = time.perf_counter() - (earlier[-1]["seconds"] if earlier else 0.0)
        self.validations = [row for row in earlier if "valid_bpc" in row]
        self.scores: dict[int, float] = validation_scores(self.validations)
        self.train_bpc: float | None = next((row["bpc"] for row in reversed(earlier) if "bpc" in row), None)
        if write:
            self._path = self.folder.metrics
            with writing(self._path):
                self._metrics = self._path.open("a")
                self._metrics.truncate(size)
                sync_folder(folder)
            self._events = Events(self.folder.events)
            for row in earlier:
                self._mirror(row)
            for path in sorted(self.folder.samples.glob("*.txt")):
                if not path.stem.isdecimal():
                    continue
                if int(path.stem) > step:
                    with writing(path):
                        path.unlink()
                else:
                    with reading(path):
                        text = path.read_text(errors="replace")
                    self._events.text("samples", text, int(path.stem))

    def seconds_at(self, clock: float) -> float:
        """Return the run's seconds at a reading of time.perf_counter(), earlier starts counted to their last row."""
        return clock - self._began

    def seconds_of(self, step: int) -> float:
        """Return the run's seconds at its last step: those that result.json has if it says so already, else now."""
        if self.folder.result.exists():
            earlier = read_json(self.folder.result)
            if earlier.get("step") == step:
                return float(earlier["seconds"])
        return self.seconds_at(time.perf_counter())

    def write_row(self, values: Row) -> None:
        """Append a row, which has a step, to metrics.jsonl and mirror its numbers as scalars. Raises WriteError."""
        if "valid_bpc" in values:
            self.validations.append(values)
            self.scores.clear()
            self.scores.update(validation_scores(self.validations))
        self.train_bpc = values.get("bpc", self.train_bpc)
        if self.write:
            with writing(self._path):
                self._metrics.write(json.dumps(values) + "\n")
                self._metrics.flush()
            self._mirror(values)

    def _mirror(self, row: Row) -> None:
        """Write the numbers of a row as TensorBoard scalars."""
        group = "valid" if "valid_bpc" in row else "train"
        for name, value in row.items():
            if isinstance(value, int | float) and name != "step":
                self._events.scalar(f"{group}/{name.removeprefix('valid_')}", value, row["step"])

    def sample(self, step: int, texts: dict[float, str]) -> None:
        """Write the samples of a step, by temperature. Raises WriteError."""
        if self.write:
            text = "".join(f"----- step {step}, temperature {t} -----\n{s}\n\n" for t, s in texts.items())
            write_atomic(self.folder.sample(step), [text.encode(errors="replace")])
            self._events.text("samples", text, step)

    def flush(self) -> None:
        """Sync the rows to the disk, so that no checkpoint or result.json is ahead of them. Raises WriteError."""
        if self.write:
            with writing(self._path):
                os.fsync(self._metrics.fileno())
            self._events.flush()

    def finish(self, config: Row, result: Row) -> None:
        """Write result.json and the row of TensorBoard's table of runs. Raises WriteError."""
        if self.write:
            self.flush()
            write_json(self.folder.result, result)
            self._events.hparams(dict(flatten(config)), result)

    def close(self) -> None:
        """Close the files. Raises WriteError if what they have buffered cannot be written."""
        if self.write:
            try:
                with writing(self._path):
                    self._metrics.close()
            finally:
                self._events.close()


class Events:
    """Write TensorBoard events at once, in the calling thread, so that a full disk is noticed as a WriteError.

    The path of the file is `prefix` with ".out.tfevents", the time, the machine and the process appended. It replaces
    the event files of earlier starts: the logger repeats their history in it.
    """

    def __init__(self, prefix: Path):
        self._path = prefix.with_name(f"{prefix.name}.out.tfevents.*")  # EventsWriter completes the name
        with writing(self._path):
            self._writer = EventsWriter(str(prefix), f".{os.getpid()}")
        self._put(step=0, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def _put(self, **event: Any) -> None:
        with writing(self._path):
            self._writer.write_event(event_pb2.Event(wall_time=time.time(), **event))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Write a number at a step."""
        self._put(summary=summary.scalar(name, value), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        """Write a text at a step, shown verbatim."""
        self._put(summary=summary.text(name, f"```\n{text}\n```"), step=step)

    def hparams(self, config: Row, result: Row) -> None:
        """Write a config, and each bpc of its result as final/NAME."""
        plain = {name: value if isinstance(value, int | float | str) else str(value) for name, value in config.items()}
        numbers = {f"final/{name}": v for name, v in result.items() if "bpc" in name and v is not None}
        for event in summary.hparams(plain, numbers):
            self._put(summary=event, step=result["step"])
        for name, value in numbers.items():
            self.scalar(name, value, result["step"])

    def flush(self) -> None:
        """Write what is buffered."""
        with writing(self._path):
            self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        with writing(self._path):
            self._writer.close()
