"""Read metrics.jsonl, the rows that a training has logged; `logger` writes them."""

import json
import math
from pathlib import Path

from rnnlm.errors import UserError
from rnnlm.files import reading
from rnnlm.runs.layout import Row


def read_rows(path: Path, last: float = math.inf) -> tuple[list[Row], int]:
    """Read the rows of steps up to `last`: -> (rows, the bytes that they take in the file).

    A last line that was cut off does not count, and a missing file has no rows. Raises UserError if the file cannot be
    read, or if an earlier line is no row.
    """
    rows: list[Row] = []
    size = 0
    with reading(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        row = parse_row(line)
        if row is None and number < len(lines):
            raise UserError(
                f"Line {number} of {path} is damaged: restore the file from a copy, or remove this line, whose metrics "
                "are lost."
            )
        if row is None or row["step"] > last:
            break
        rows.append(row)
        size += len(line)
    return rows, size


def read_validations(path: Path) -> list[Row]:
    """Read the rows of validations; a missing file has none. Raises UserError if the file cannot be read."""
    with reading(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [row for row in (parse_row(line) for line in lines if b'"valid_bpc"' in line) if row]


def parse_row(line: bytes) -> Row | None:
    """Parse a line of metrics.jsonl; None if it is no whole row."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


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
