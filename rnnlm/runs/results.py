"""result.jsonl: one line for each evaluation of a run."""

import contextlib
import json
from pathlib import Path

from rnnlm.files import append_line, reading
from rnnlm.runs.layout import Row

RESULT_FIELDS = {
    "split",
    "protocol",
    "symbols",
    "kind",
    "lanes",
    "warmup",
    "step",
    "corpus",
    "count",
    "bpc",
    "stderr",
    "blocks",
}


def append_result(folder: Path, found: Row) -> None:
    """Append what was found out about a run's model to its result.jsonl. Raises WriteError."""
    append_line(folder / "result.jsonl", json.dumps(found).encode())


def read_results(folder: Path) -> list[Row]:
    """The lines of result.jsonl; one that was cut off, or tells too little, does not count."""
    path = folder / "result.jsonl"
    rows = []
    with reading(path):
        lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and row.keys() >= RESULT_FIELDS]
