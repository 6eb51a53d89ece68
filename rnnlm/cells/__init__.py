"""The recurrences and their table by name; `cell` holds the contract that each fulfils."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from rnnlm.cells import (
    foreign,
    fsrnn,
    gru,
    hyperlstm,
    indrnn,
    irnn,
    lru,
    lstm,
    matrix_lstm,
    minimal,
    mlstm,
    mogrifier,
    qrnn,
    rglru,
    rhn,
    rnn,
    slstm,
    sru,
)
from rnnlm.cells.cell import Carry, Cell, Params
from rnnlm.cells.check import check_cell
from rnnlm.config import ModelConfig, is_foreign
from rnnlm.errors import UserError

__all__ = ["CELLS", "Carry", "Cell", "Params", "cell_of", "find_cell"]

CELLS: dict[str, Callable[[Any], Cell]] = {
    "rnn": rnn.make_cell,
    "lstm": lstm.make_cell,
    "gru": gru.make_cell,
    "gru_before": gru.make_cell_before,
    "irnn": irnn.make_cell,
    "mlstm": mlstm.make_cell,
    "mogrifier": mogrifier.make_cell,
    "hyperlstm": hyperlstm.make_cell,
    "slstm": slstm.make_cell,
    "rhn": rhn.make_cell,
    "fsrnn": fsrnn.make_cell,
    "indrnn": indrnn.make_cell,
    "mingru": minimal.make_gru,
    "minlstm": minimal.make_lstm,
    "qrnn": qrnn.make_cell,
    "sru": sru.make_cell,
    "lru": lru.make_cell,
    "rglru": rglru.make_cell,
    "matrix_lstm": matrix_lstm.make_cell,
}
"""Makers of cells by name; each takes the options `model.NAME`, or None if the config has no such section."""

_make = lru_cache(lambda name, options: CELLS[name](options))


@lru_cache
def _check(cell: Cell, name: str, inputs: int, hidden_sizes: tuple[int, ...], dtype: str) -> None:
    """Check a cell from outside at the widths of each layer, once in a process; the first one reads `inputs`."""
    checked = set()
    for hidden in hidden_sizes:
        if (inputs, hidden) not in checked:
            check_cell(cell, name, inputs, hidden, dtype)
        checked.add((inputs, hidden))
        inputs = cell.count_outputs(hidden)


def cell_of(config: ModelConfig) -> Cell:
    """Return the cell that a config names, with its options, checked at its widths. Raises UserError if it is none."""
    cell = find_cell(config)
    for hidden in config.hidden_sizes:
        if hidden % cell.hidden_multiple:
            raise UserError(
                f"model.cell={config.cell} divides a layer into {cell.hidden_multiple} equal parts, such as heads, but "
                f"one has {hidden} units: give model.hidden as a multiple of {cell.hidden_multiple}."
            )
    if is_foreign(config.cell):
        _check(cell, config.cell, config.embedding or 1, config.hidden_sizes, config.dtype)
    return cell


def find_cell(config: ModelConfig) -> Cell:
    """Return the cell that a config names, not yet checked. Raises UserError if there is no such cell."""
    if is_foreign(config.cell):
        return foreign.load_cell(config.cell, config.options)
    if config.cell not in CELLS:
        raise UserError(
            f"model.cell is {config.cell!r}: expected one of {', '.join(CELLS)}, or package.module:Name of a cell of "
            "your own."
        )
    if config.options:
        raise UserError(f"model.options are for a cell of your own, but model.cell is {config.cell}: leave them out.")
    return _make(config.cell, getattr(config, config.cell, None))
