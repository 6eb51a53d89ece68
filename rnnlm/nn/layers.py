"""The modules of a model: embedding, recurrent layers and head.

Each declares its params; the computation is in pure functions. A module draws its params from its field `key`, since
the key that flax provides depends on the name of the module.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import Carry, Cell, Param, Params, normal, uniform, zeros
from rnnlm.nn import scan
from rnnlm.nn.embed import embed
from rnnlm.product import product


def embedding_params(vocab: int, width: int, tied: bool) -> dict[str, Param]:
    """Declare the embedding table [V, E].

    It is drawn from N(0, 1) as PyTorch's, so that the input is not small beside the carry; a tied one as the head's W.
    """
    return {"table": Param((vocab, width), uniform(width) if tied else normal)}


def layer_params(cell: Cell, inputs: int, hidden: int, one_hot: bool) -> dict[str, Param]:
    """Declare the params of a recurrent layer.

    For one-hot inputs W_x is uniform in +-1: only one input unit is 1, so a smaller W_x would make the input too weak.
    """
    params = cell.params(inputs, hidden)
    if one_hot and "W_x" in params:
        params = params | {"W_x": Param(params["W_x"].shape, uniform(1))}
    return params


def head_params(hidden: int, vocab: int, tied: bool) -> dict[str, Param]:
    """Declare W [H, V], unless it is tied to the embedding, and b [V]."""
    return ({} if tied else {"W": Param((hidden, vocab), uniform(hidden))}) | {"b": Param((vocab,), zeros)}


def logits(params: Params, h_TBH: jax.Array, table_VE: jax.Array | None, dtype: DTypeLike) -> jax.Array:
    """Return the logits [T, B, V]; with a tied embedding table, W is its transpose."""
    w_HV = params["W"] if table_VE is None else table_VE.T
    return product(h_TBH, w_HV, dtype) + params["b"][None, None, :]


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

    @nn.nowrap
    def declared(self) -> dict[str, Param]:
        return embedding_params(self.vocab, self.width, self.tied)

    def __call__(self, x_TB: jax.Array) -> jax.Array:
        return embed(self.params["table"], x_TB)


class RecurrentLayer(Layer):
    """Run a cell over time: (carry, inputs [T, B, D], reset [T, B]) -> (carry, outputs [T, B, H]).

    Its intermediates are `carry`, the carry after each step, and `gates`, the activations of the gates: dicts of arrays
    [T, B, ...].
    """

    cell: Cell | None = None
    inputs: int = 0
    hidden: int = 0
    one_hot: bool = False
    dtype: str = "float32"

    @nn.nowrap
    def declared(self) -> dict[str, Param]:
        assert self.cell is not None
        return layer_params(self.cell, self.inputs, self.hidden, self.one_hot)

    @nn.nowrap
    def _draw(self, i: int, param: Param, flax_key: jax.Array) -> jax.Array:
        key = flax_key if self.key is None else jax.random.split(self.key, i + 1)[i]
        return param.init(key, param.shape)

    def __call__(
        self, carry: Carry, x_TBD: jax.Array, reset_TB: jax.Array, keys_B: jax.Array | None = None
    ) -> tuple[Carry, jax.Array]:
        assert self.cell is not None
        cell, dtype = self.cell, jnp.dtype(self.dtype)
        u_TBG = scan.project(self.params, x_TBD, dtype)
        if not self.is_mutable_collection("intermediates"):
            return scan.scan(cell, self.hidden, self.params, carry, u_TBG, reset_TB, dtype, keys_B)
        after, h_TBH, carry_TB, gates_TB = scan.trace(cell, self.hidden, self.params, carry, u_TBG, reset_TB, dtype)
        self.sow("intermediates", "carry", dict(zip(cell.carry(self.hidden), carry_TB, strict=True)))
        self.sow("intermediates", "gates", gates_TB)
        return after, h_TBH


class Head(Layer):
    """Compute the logits [T, B, V] from the outputs [T, B, H] of the last layer."""

    hidden: int = 0
    vocab: int = 0
    tied: bool = False
    dtype: str = "float32"

    @nn.nowrap
    def declared(self) -> dict[str, Param]:
        return head_params(self.hidden, self.vocab, self.tied)

    def __call__(self, h_TBH: jax.Array, table_VE: jax.Array | None = None) -> jax.Array:
        return logits(self.params, h_TBH, table_VE, jnp.dtype(self.dtype))
