"""The layers of a model, from its config, and what the softmax reads of them."""

from rnnlm.cells import Cell, cell_of
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn.block import Block
from rnnlm.nn.blocks import BLOCKS, Skip
from rnnlm.nn.dropout import check_masks
from rnnlm.nn.initialize import Initialization


def blocks_of(config: ModelConfig, vocab: int, cell: Cell | None = None) -> list[Block]:
    """Return the layers of a model, of its own cell unless one is given.

    Raises UserError where the cell cannot be in the block, or its outputs do not fit.
    """
    kind, cell = BLOCKS[config.block], cell or cell_of(config)
    if kind is Skip and not cell.projects_inputs:
        raise UserError(
            f"model.cell={config.cell} cannot be in model.block=skip, whose layers add a product with the model's "
            "input to that with W_x, which this cell lacks: take another block, such as residual or skip_output."
        )
    check_masks(config, cell)
    init = Initialization.from_config(config)
    model_inputs = inputs = config.embedding or vocab
    blocks: list[Block] = []
    for hidden in config.hidden_sizes:
        blocks.append(
            kind(
                cell,
                inputs,
                hidden,
                model_inputs,
                first=not blocks,
                one_hot=not config.embedding,
                init=init,
                weight_norm=config.weight_norm,
                projection=config.input_projection if blocks else 0,
            )
        )
        inputs = blocks[-1].outputs
    check_outputs(config, blocks)
    return blocks


def read_width(blocks: list[Block]) -> int:
    """Return the width of what the softmax reads."""
    return blocks[0].join_widths([block.outputs for block in blocks])


def check_outputs(config: ModelConfig, blocks: list[Block]) -> None:
    """Raise UserError where the softmax cannot read the outputs, whose widths a cell of one's own chooses."""
    outputs, read = [block.outputs for block in blocks], read_width(blocks)
    if config.block == "skip_output" and len(set(outputs)) > 1:
        raise UserError(f"model.block=skip_output adds the outputs of all layers, but their widths differ: {outputs}.")
    if config.tied and config.embedding != read:
        raise UserError(
            f"model.tied shares the embedding with the output, but model.embedding={config.embedding} differs from the "
            f"{read} outputs of {config.cell} that the softmax reads: make them equal or set model.tied=False."
        )
