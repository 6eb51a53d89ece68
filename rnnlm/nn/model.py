"""The language model, from symbols to logits: embedding, a stack of recurrent layers, head; and its carry.

Shapes live in names: B lanes, T time, D inputs of a layer, E embedding, H hidden units, O outputs, G width of the
projected input (gates * H), A pre-activations of a cell, V symbols; L layers, J blocks of a matrix or heads, P units of
a head, K streams or lanes of a decoder, or inputs that a convolution sees, S arrays of a carry, N rows. h_TBH is
[T, B, H]. Inside the stack time comes first, as the scan needs it; outside, lanes come first.

Params: "embedding" {table [V, E]} where the config has one, "layer_0" ... "layer_{L-1}" {W_x [D, G], W_h [H, G], b [G],
...}, "output" {W [R, V] unless tied, b [V], norm [R] after prenorm blocks}, whatever the depth; R is the width of what
the softmax reads.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnlm.cells import Carry, Cell, Params, cell_of
from rnnlm.config import ModelConfig
from rnnlm.nn import layers, scan, weight_norm
from rnnlm.nn.block import Window
from rnnlm.nn.blocks import BLOCKS
from rnnlm.nn.dropout import cell_masks, drop_symbols, dropout
from rnnlm.nn.embed import embed
from rnnlm.nn.initialize import Initialization
from rnnlm.nn.looped import apply_upper_layers, is_looped, stack_layers
from rnnlm.nn.stack import blocks_of, read_width
from rnnlm.product import product

Stack = tuple[Carry, ...]
"""The carry of a model: the carries of its layers."""
Forward = Callable[..., tuple[Stack, jax.Array]]
"""(params, carry, x_BT, reset_BT, keys_B=None) -> (carry, logits_BTV)."""
RECURRENCE = 1 << 16
"""Added to the number of a layer in the keys of a random cell, so that they differ from those of dropout."""


def forward_with_outputs(
    config: ModelConfig,
    vocab: int,
    params: Params,
    carry: Stack,
    x_BT: jax.Array,
    reset_BT: jax.Array,
    keys_B: jax.Array | None = None,
) -> tuple[Stack, jax.Array, jax.Array, jax.Array]:
    """Run a window: -> (carry after it, logits_BTV in float32, h_TBR, dropped_TBR).

    The last two are what the softmax reads, before and after its dropout. Where reset_BT is set, the lane's carry is
    replaced by the initial one before the symbol is read. `keys_B` holds a key for each lane, for dropout and random
    cells, so that masks do not depend on the split of lanes over devices; None: no dropout. Layers that `stack_layers`
    has stacked are compiled as one loop.
    """
    blocks, dtype = blocks_of(config, vocab), jnp.dtype(config.dtype)
    reset_TB = reset_BT.T
    drop = partial(dropout, keys_B, config.dropout_mask == "window")
    table_VE = params["embedding"]["table"] if config.embedding else None
    # Project each symbol of the vocabulary once, not each position of the window, where that is less.
    dropped = keys_B is not None and max(config.dropout_input, config.dropout_embedding, config.dropout_token) > 0
    looks_up = not dropped and (table_VE is None or vocab < x_BT.size)
    x_TBE = jax.nn.one_hot(x_BT.T, vocab) if table_VE is None else embed(table_VE, x_BT.T)
    x_TBE = drop(drop_symbols(config, keys_B, x_BT, x_TBE, vocab), config.dropout_input, 0)

    def project_symbols(w_EG: jax.Array) -> jax.Array:
        if not looks_up:
            return product(x_TBE, w_EG, dtype)
        return embed(w_EG if table_VE is None else product(table_VE, w_EG, dtype), x_BT.T)

    def layer(x_TBD: jax.Array, inputs: tuple[jax.Array | int, Params, Carry]) -> tuple[jax.Array, tuple[Carry, Carry]]:
        i, params, carry = inputs
        block = blocks[i] if isinstance(i, int) else blocks[1]
        keys = recurrence_keys(block.cell, keys_B, i)
        masks = cell_masks(config, block.cell, block.hidden, keys_B, i, len(x_TBD))
        recur = partial(
            scan.scan, block.cell, block.hidden, reset_TB=reset_TB, dtype=dtype, keys_B=keys, masks_TB=masks
        )
        window = Window(x_TBD, reset_TB, dtype, recur, project_symbols)
        if not block.first:
            window = window._replace(drop=partial(drop, rate=config.dropout, site=i))
        carry, y_TBO = block.run(params, carry, window)
        return y_TBO, (carry, (y_TBO,) if block.reads_all else ())

    h_TBO, (first_carry, first_kept) = layer(x_TBE, (0, params["layer_0"], carry[0]))
    h_TBO, upper_carry, upper_kept = apply_upper_layers(layer, params, h_TBO, carry[1:])
    if blocks[0].reads_all:
        h_TBO = blocks[0].join([*first_kept, *upper_kept])
    dropped_TBO = drop(h_TBO, config.dropout_output, len(blocks))
    logits_TBV = layers.logits(params["output"], dropped_TBO, table_VE if config.tied else None, dtype)
    return (first_carry, *upper_carry), logits_TBV.transpose(1, 0, 2), h_TBO, dropped_TBO


def forward(config: ModelConfig, vocab: int, params: Params, carry: Stack, *inputs: Any) -> tuple[Stack, jax.Array]:
    """Run a window as `forward_with_outputs` does: -> (carry after it, logits_BTV in float32)."""
    return forward_with_outputs(config, vocab, params, carry, *inputs)[:2]


def recurrence_keys(cell: Cell, keys_B: jax.Array | None, layer: jax.Array | int) -> jax.Array | None:
    """Return a key for each lane of a random cell; None for a cell that draws nothing."""
    if keys_B is None or not cell.random:
        return None
    return jax.vmap(lambda key: jax.random.fold_in(key, RECURRENCE + layer))(keys_B)


class RecurrentLM(nn.Module):
    """Compose a recurrent language model over `vocab` symbols from the modules `embedding`, `layer_0` ... and `output`.

    A call runs `forward`; while intermediates are captured (mutable=["intermediates"]), the modules run one by one.
    """

    config: ModelConfig
    vocab: int

    def setup(self) -> None:
        config, blocks = self.config, blocks_of(self.config, self.vocab)
        init = Initialization.from_config(config)
        if config.embedding:
            self.embedding = layers.Embedding(self._key(), self.vocab, config.embedding, config.tied, init)
        for i, (block, key) in enumerate(zip(blocks, self._layer_keys(), strict=True)):
            setattr(self, f"layer_{i}", layers.RecurrentLayer(key, block, config))
        inputs, normalizes = read_width(blocks), blocks[0].normalizes_output
        self.output = layers.Head(self._key(), inputs, self.vocab, config.tied, normalizes, config.dtype, init)

    @nn.nowrap
    def _key(self) -> jax.Array | None:
        return self.make_rng("params") if self.is_initializing() else None

    @nn.nowrap
    def _layer_keys(self) -> list[jax.Array | None]:
        """Return a key for each layer; looped layers share one that is split, as version 1 did."""
        count, first = len(self.config.hidden_sizes), self._key()
        if first is None or not is_looped(self.config):
            return [first, *(self._key() for _ in range(count - 1))]
        return [first, *jax.random.split(self.make_rng("params"), count - 1)]

    def __call__(
        self, carry: Stack, x_BT: jax.Array, reset_BT: jax.Array, keys_B: jax.Array | None = None
    ) -> tuple[Stack, jax.Array]:
        """Run a window as `forward` does."""
        if self.is_initializing() or self.is_mutable_collection("intermediates"):
            if keys_B is not None:
                raise ValueError("Captured intermediates have no dropout: leave out keys_B.")
            return self._module_by_module(carry, x_BT, reset_BT)
        params = dict(self.variables["params"])
        return forward(self.config, self.vocab, stack_layers(self.config, params), carry, x_BT, reset_BT, keys_B)

    def _module_by_module(self, carry: Stack, x_BT: jax.Array, reset_BT: jax.Array) -> tuple[Stack, jax.Array]:
        embedded = self.config.embedding > 0
        x_TBE = self.embedding(x_BT.T) if embedded else jax.nn.one_hot(x_BT.T, self.vocab)
        h_TBO, after, outputs = x_TBE, [], []
        for i, layer_carry in enumerate(carry):
            layer_carry, h_TBO = getattr(self, f"layer_{i}")(layer_carry, h_TBO, reset_BT.T, x_TBE)
            after.append(layer_carry)
            outputs.append(h_TBO)
        read_TBO = BLOCKS[self.config.block].join(outputs)
        logits_TBV = self.output(read_TBO, self.embedding.params["table"] if self.config.tied else None)
        return tuple(after), logits_TBV.transpose(1, 0, 2)


def initial_carry(config: ModelConfig, lanes: int) -> Stack:
    """Return the initial carry, arrays [lanes, ...], whose dtype does not depend on the compute dtype."""
    return tuple(block.start(lanes) for block in blocks_of(config, vocab=1))


def init_params(config: ModelConfig, vocab: int, key: jax.Array) -> Params:
    """Initialize float32 params from a key."""
    x_BT = jnp.zeros((1, 1), jnp.int32)
    init = jax.jit(RecurrentLM(config, vocab).init)
    params: Params = init(key, initial_carry(config, 1), x_BT, x_BT > 0)["params"]
    return {name: weight_norm.set_lengths(module) for name, module in params.items()} if config.weight_norm else params


def apply(config: ModelConfig, vocab: int, step_by_step: bool = False) -> Forward:
    """Return the model as a pure function (params, carry, x_BT, reset_BT, keys_B=None) -> (carry, logits_BTV).

    With `step_by_step`, for windows of one symbol, the layers are not looped.
    """
    if step_by_step:
        return partial(forward, config, vocab)
    return lambda params, *inputs: forward(config, vocab, stack_layers(config, params), *inputs)


def apply_with_outputs(config: ModelConfig, vocab: int) -> Callable[..., tuple[Stack, jax.Array, jax.Array, jax.Array]]:
    """Return the model as `apply` does, with what `forward_with_outputs` returns."""
    return lambda params, *inputs: forward_with_outputs(config, vocab, stack_layers(config, params), *inputs)


def inference_config(config: ModelConfig) -> ModelConfig:
    """Return the config that fits `inference_params`."""
    config = replace(config, weight_norm=False)
    return replace(config, embedding=0, tied=False) if folds_embedding(config) else config


def inference_params(config: ModelConfig, params: Params) -> Params:
    """Multiply the embedding [V, E] into the first layer's W_x [E, G], which becomes [V, G], and fold lengths in.

    The params compute the same logits with one lookup a step; they fit `inference_config`.
    """
    params = {
        name: weight_norm.apply_lengths(module) if config.weight_norm else module for name, module in params.items()
    }
    if not folds_embedding(config):
        return params
    table_VE = params.pop("embedding")["table"]
    w_VG = scan.project(params["layer_0"], table_VE, jnp.dtype(config.dtype))
    params["layer_0"] = params["layer_0"] | {"W_x": w_VG}
    params["output"] = params["output"] | ({"W": table_VE.T} if config.tied else {})
    return params


def folds_embedding(config: ModelConfig) -> bool:
    """Return whether the embedding can be multiplied into the first layer's W_x."""
    return config.embedding > 0 and BLOCKS[config.block].folds_embedding and cell_of(config).projects_inputs
