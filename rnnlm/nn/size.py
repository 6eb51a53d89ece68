"""The size of a model, from its config alone: shapes of params, their number, FLOPs."""

import math

import jax
import jax.numpy as jnp

from rnnlm.cells import Cell, Params, cell_of
from rnnlm.config import ModelConfig
from rnnlm.nn import layers
from rnnlm.nn.stack import blocks_of, read_width


def param_shapes(config: ModelConfig, vocab: int) -> Params:
    """Return a ShapeDtypeStruct for each param that `init_params` draws, from the config alone."""
    return shapes_of(cell_of(config), config, vocab)


def shapes_of(cell: Cell, config: ModelConfig, vocab: int) -> Params:
    """Return `param_shapes` of a cell that need not be checked at the widths of the config."""
    blocks = blocks_of(config, vocab, cell)
    declared = {"output": layers.head_params(read_width(blocks), vocab, config.tied, blocks[0].normalizes_output)}
    if config.embedding:
        declared["embedding"] = layers.embedding_params(vocab, config.embedding, config.tied)
    declared |= {f"layer_{i}": block.params() for i, block in enumerate(blocks)}
    return {
        name: {leaf: jax.ShapeDtypeStruct(param.shape, jnp.float32) for leaf, param in params.items()}
        for name, params in declared.items()
    }


def count_params(config: ModelConfig, vocab: int) -> int:
    """Return the number of parameters, from the config alone."""
    return count_shapes(param_shapes(config, vocab))


def count_shapes(shapes: Params) -> int:
    """Return the number of entries of arrays that are known by their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def flops_per_symbol(config: ModelConfig, vocab: int) -> float:
    """Return the FLOPs of the forward pass for one symbol: two for each weight of a product.

    A lookup, of a one-hot input in W_x or of a symbol in the embedding, costs none.
    """
    blocks = blocks_of(config, vocab)
    return sum(block.count_flops() for block in blocks) + 2.0 * read_width(blocks) * vocab
