"""Format the scores of result lines for the tables."""

import math
from typing import Any

from scipy.special import stdtrit

Row = dict[str, Any]


def nats_per_symbol(row: Row) -> float:
    """Return the nats per symbol of a result, the unit of some papers."""
    return float(row["nats"]) / int(row["count"])


def format_bpc(row: Row) -> str:
    """Format a bpc with half its 95 % interval.

    Lines without `interval` keep a standard error over blocks of 10,000 symbols.
    """
    half = None
    if row.get("interval"):
        half = (row["interval"][1] - row["interval"][0]) / 2
    elif row.get("stderr"):
        half = row["stderr"] * stdtrit(math.ceil(row["count"] / 10_000) - 1, 0.975)
    return f"{row['bpc']:.4f} ± {half:.4f}" if half else f"{row['bpc']:.3f}"
