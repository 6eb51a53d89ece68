"""The modules of a model: embedding, recurrent layers and head.

Each declares its params; the computation is in pure functions. A module draws its params from its field `key`, since
the key that flax provides depends on the name of the module.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Param, Params, normal, ones, uniform, zeros
from rnnlm.config import ModelConfig
from rnnlm.nn import scan
from rnnlm.nn.block import Block, Window
from rnnlm.nn.blocks import rms_norm
from rnnlm.nn.dropout import cell_masks
from rnnlm.nn.embed import embed
from rnnlm.nn.initialize import DEFAULT, Initialization
from rnnlm.product import product


def embedding_params(vocab: int, width: int, tied: bool, init: Initialization = DEFAULT) -> dict[str, Param]:
    """Declare the embedding table [V, E].

    It is drawn from N(0, 1) as PyTorch's, so that the input is not small beside the carry; a tied one as the head's W.
    """
    return {"table": init.of_embedding(Param((vocab, width), uniform(width) if tied else normal))}


def head_params(
    inputs: int, vocab: int, tied: bool, normalizes: bool, init: Initialization = DEFAULT
) -> dict[str, Param]:
    """Declare W [O, V], unless it is tied to the embedding, b [V], and a norm [O] where it normalizes what it reads."""
    weights = {} if tied else {"W": init.of_module(Param((inputs, vocab), uniform(inputs)))}
    norm = {"norm": Param((inputs,), ones)} if normalizes else {}
    return weights | {"b": init.of_module(Param((vocab,), zeros))} | norm


def logits(params: Params, h_TBO: jax.Array, table_VE: jax.Array | None, dtype: DTypeLike) -> jax.Array:
    """Return the logits [T, B, V]; with a tied embedding table, W is its transpose."""
    w_OV = params["W"] if table_VE is None else table_VE.T
    if "norm" in params:
        h_TBO = rms_norm(h_TBO, params["norm"])
    return product(h_TBO, w_OV, dtype) + params["b"][None, None, :]


class Layer(nn.Module):
    """Draw the params that `declared` returns from `key`: the base of the modules below."""

    key: jax.Array | None = None

    @nn.nowrap
    def declared(self) -> dict[str, Param]:
        """Return the params by name."""
        raise NotImplementedError

    def setup(self) -> None:
        self.params: Params = {
            name: self.param(name, partial(self._draw, i, param))
            for i, (name, param) in enumerate(self.declared().items())
        }

    @nn.nowrap
    def _draw(self, i: int, param: Param, flax_key: jax.Array) -> jax.Array:
        return param.init(flax_key if self.key is None else self.key, param.shape)


class Embedding(Layer):
    """Look up the embedding of each symbol: [T, B] -> [T, B, E]."""

    vocab: int = 0
    width: int = 0
    tied: bool = False
    init_by: Initialization = DEFAULT

    @nn.nowrap
    def declared(self) -> dict[str, Param]:
        return embedding_params(self.vocab, self.width, self.tied, self.init_by)

    def __call__(self, x_TB: jax.Array) -> jax.Array:
        return embed(self.params["table"], x_TB)


class RecurrentLayer(Layer):
    """Run a block over time: (carry, inputs [T, B, D], reset [T, B], model's input [T, B, E]) -> (carry, [T, B, O]).

    Its intermediates are `carry`, the carry of the cell after each step, and `gates`, the activations of the gates:
    dicts of arrays [T, B, ...].
    """

    block: Block | None = None
    config: ModelConfig | None = None

    @nn.nowrap
    def declared(self) -> dict[str, Param]:
        assert self.block is not None
        return self.block.params()

    @nn.nowrap
    def _draw(self, i: int, param: Param, flax_key: jax.Array) -> jax.Array:
        key = flax_key if self.key is None else jax.random.split(self.key, i + 1)[i]
        return param.init(key, param.shape)

    def __call__(
        self, carry: Carry, x_TBD: jax.Array, reset_TB: jax.Array, x_TBE: jax.Array
    ) -> tuple[Carry, jax.Array]:
        assert self.block is not None and self.config is not None
        block, dtype = self.block, jnp.dtype(self.config.dtype)
        masks = cell_masks(self.config, block.cell, block.hidden, None, 0, len(x_TBD))

        def recur(params: Params, carry: Carry, u_TBG: jax.Array) -> tuple[Carry, jax.Array]:
            if not self.is_mutable_collection("intermediates"):
                return scan.scan(block.cell, block.hidden, params, carry, u_TBG, reset_TB, dtype, masks_TB=masks)
            after, h_TBO, carry_TB, gates_TB = scan.trace(
                block.cell, block.hidden, params, carry, u_TBG, reset_TB, dtype, masks
            )
            names = block.cell.carry(block.hidden)
            self.sow("intermediates", "carry", dict(zip(names, carry_TB, strict=True)))
            self.sow("intermediates", "gates", gates_TB)
            return after, h_TBO

        window = Window(x_TBD, reset_TB, dtype, recur, partial(product, x_TBE, dtype=dtype))
        return block.run(self.params, carry, window)


class Head(Layer):
    """Compute the logits [T, B, V] from what the softmax reads of the layers [T, B, O]."""

    inputs: int = 0
    vocab: int = 0
    tied: bool = False
    normalizes: bool = False
    dtype: str = "float32"
    init_by: Initialization = DEFAULT

    @nn.nowrap
    def declared(self) -> dict[str, Param]:
        return head_params(self.inputs, self.vocab, self.tied, self.normalizes, self.init_by)

    def __call__(self, h_TBO: jax.Array, table_VE: jax.Array | None = None) -> jax.Array:
        return logits(self.params, h_TBO, table_VE, jnp.dtype(self.dtype))
