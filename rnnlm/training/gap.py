"""Tell from the rows of a training whether its validation split is another kind of text than its training split."""

from collections.abc import Sequence

from rnnlm.config import DataConfig
from rnnlm.data.published import SOURCES
from rnnlm.runs.layout import Row

EPOCHS = 3.0
"""Epochs within which a gap is no overfitting yet, since a model has seen each symbol that few times."""
BITS, SHARE = 0.25, 0.15
"""A large gap is more than this many bits per symbol, and more than this share of the cost of training."""
SYMBOLS = 10_000
"""Symbols that each of the two costs must be a mean of at least."""
ROWS = 20
"""Latest rows of training whose mean is compared with a validation."""


def early_gap(rows: Sequence[Row], symbols_per_step: int) -> tuple[float, float, float] | None:
    """Return (epoch, training bpc, validation bpc) of the last validation within EPOCHS if their gap is large.

    The training bpc is the mean of the ROWS rows before it. That overestimates the present cost while a model learns,
    so the gap is rather underestimated.
    """
    found: tuple[float, float, float] | None = None
    recent: list[float] = []
    for row in rows:
        if "bpc" in row:
            recent = [*recent, row["bpc"]][-ROWS:]
        enough = len(recent) * symbols_per_step >= SYMBOLS and row.get("valid_count", 0) >= SYMBOLS
        if "valid_bpc" in row and row["epoch"] <= EPOCHS and enough:
            train, valid = sum(recent) / len(recent), row["valid_bpc"]
            found = (row["epoch"], train, valid) if valid - train > max(BITS, SHARE * train) else None
    return found


def explain_gap(config: DataConfig, files: int, rows: Sequence[Row], symbols_per_step: int) -> str:
    """Say that the splits are likely to be different texts, where a large early gap shows it; else return "".

    A text in random order has splits that are alike, and those of published texts are a convention. `files` is the
    number of files of the text.
    """
    gap = early_gap(rows, symbols_per_step)
    if gap is None or config.shuffle != "none" or config.corpus in SOURCES:
        return ""
    epoch, train, valid = gap
    cause = "The splits are stretches of the text one after another"
    advice = "if it consists of records, data.shuffle=records with data.separator puts them into a random order"
    if files > 1:
        cause += f", whose {files:,} files are joined by name"
        advice = "data.shuffle=files puts the files into a random order"
    return (
        f"After {epoch:.2g} epochs the validation split cost {valid:.2f} bpc and the training split {train:.2f}, too "
        f"early for overfitting: it is likely another kind of text. {cause}; {advice}, in a new folder."
    )
