"""Solve the width of a model from its budget of parameters, `model.params`."""

from dataclasses import replace

from rnnlm.cells import find_cell
from rnnlm.cells.check import name_cell_in_errors
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn import size
from rnnlm.nn.blocks import BLOCKS


def solve(config: ModelConfig, vocab: int) -> ModelConfig:
    """Return the model with the largest `hidden` whose parameters `model.params` allows; as it is where that is 0.

    A tied embedding is as wide as what the softmax reads. Widths are bisected, so that where a cell has fewer
    parameters at some greater width, the result is a width that fits, while the next one does not. Raises UserError if
    none fits, or a projection is wider than the layers.
    """
    if not config.params:
        return config
    cell = find_cell(config)

    def count(hidden: int) -> int:
        with name_cell_in_errors(config.cell):
            return size.count_shapes(size.shapes_of(cell, set_width(config, hidden), vocab))

    least = cell.hidden_multiple
    fits, exceeds = 0, least
    while count(exceeds) <= config.params:
        fits, exceeds = exceeds, 2 * exceeds
    if not fits:
        raise UserError(
            f"model.params={config.params:,.0f} is too small: with {vocab:,} symbols this model has {count(least):,} "
            f"parameters at model.hidden={least} already. Give more, or fewer layers or a narrower embedding."
        )
    while exceeds - fits > least:
        middle = (fits + exceeds) // (2 * least) * least
        fits, exceeds = (middle, exceeds) if count(middle) <= config.params else (fits, middle)
    solved = set_width(config, fits)
    solved.check_widths()
    return solved


def set_width(config: ModelConfig, hidden: int) -> ModelConfig:
    """Return the model at a width of its layers, with a tied embedding as wide as what the softmax reads."""
    config = replace(config, hidden=hidden)
    if not config.tied:
        return config
    outputs = [find_cell(config).count_outputs(hidden)] * config.layers
    return replace(config, embedding=BLOCKS[config.block].join_widths(outputs))


def keep(saved: ModelConfig, given: ModelConfig, vocab: int) -> ModelConfig:
    """Return the given model with the width of a run that was solved from an equal budget, else as `solve` does."""
    return set_width(given, saved.hidden) if given.params and given.params == saved.params else solve(given, vocab)


def describe(config: ModelConfig, parameters: int) -> str:
    """Say what a budget came to."""
    return f"model.params={config.params:,.0f}: hidden {config.hidden:,}, {parameters:,} parameters"
