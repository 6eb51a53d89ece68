"""Read metrics.jsonl, the rows that a training has logged; `logger` writes them."""

import json
import math
from pathlib import Path

from rnnlm.files import reading
from rnnlm.runs.layout import Row


def read_rows(path: Path, last: float = math.inf) -> tuple[list[Row], int]:
    """Read the rows of steps up to `last`: -> (rows, the bytes that they take in the file).

    A last line that was cut off does not count, and a missing file has no rows. Raises UserError if it cannot be read.
    """
    rows: list[Row] = []
    size = 0
    with reading(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            row = None
        if row is None or row["step"] > last:
            break
        rows.append(row)
        size += len(line)
    return rows, size


def validation_scores(rows: list[Row]) -> dict[int, float]:
    """Return the validation bpc by step, from the last change on of which symbols are scored or how they are read.

    Scores from before that change cannot be ranked beside later ones.
    """
    scores: dict[int, float] = {}
    reading = None
    for row in rows:
        if "valid_bpc" in row:
            if reading != (reading := (row["valid_count"], row["valid_protocol"])):
                scores = {}
            scores[row["step"]] = row["valid_bpc"]
    return scores
