"""The language model, from symbols to logits: embedding, a stack of recurrent layers, head; and its carry.

Shapes live in names: B lanes, T time, D inputs of a layer, E embedding, H hidden units, G width of the projected input
(gates * H), A pre-activations of a cell, V symbols; L layers, K streams or lanes of a decoder, S arrays of a carry, N
rows. h_TBH is [T, B, H]. Inside the stack time comes first, as the scan needs it; outside, lanes come first.

Params: "embedding" {table [V, E]} where the config has one, "layer_0" ... "layer_{L-1}" {W_x [D, G], W_h [H, G], b [G],
...}, "output" {W [H, V] unless tied, b [V]}, whatever the depth.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnlm.cells import Carry, Cell, Params, cell_of
from rnnlm.config import ModelConfig
from rnnlm.nn import layers, scan
from rnnlm.nn.dropout import dropout
from rnnlm.nn.embed import embed

Stack = tuple[Carry, ...]
"""The carry of a model: the carries of its layers."""
Forward = Callable[..., tuple[Stack, jax.Array]]
"""(params, carry, x_BT, reset_BT, keys_B=None) -> (carry, logits_BTV)."""
RECURRENCE = 1 << 16
"""Added to the number of a layer in the keys of a random cell, so that they differ from those of dropout."""


def forward(
    config: ModelConfig,
    vocab: int,
    params: Params,
    carry: Stack,
    x_BT: jax.Array,
    reset_BT: jax.Array,
    keys_B: jax.Array | None = None,
) -> tuple[Stack, jax.Array]:
    """Run a window: -> (carry after it, logits_BTV in float32).

    Where reset_BT is set, the lane's carry is replaced by the initial one before the symbol is read. `keys_B` holds a
    key for each lane, for dropout and random cells, so that masks do not depend on the split of lanes over devices;
    None: no dropout. Layers that `stack_layers` has stacked are compiled as one loop.
    """
    cell, dtype, sizes = cell_of(config), jnp.dtype(config.dtype), config.hidden_sizes
    reset_TB = reset_BT.T
    drop = partial(dropout, keys_B, config.dropout_mask == "window")
    table_VE = params["embedding"]["table"] if config.embedding else None
    first = params["layer_0"]

    dropped = keys_B is not None and config.dropout_input > 0
    if not dropped and "W_x" in first and (table_VE is None or vocab < x_BT.size):
        # Project each symbol of the vocabulary once, not each position of the window.
        table_VG = first["W_x"] if table_VE is None else scan.project(first, table_VE, dtype)
        u_TBG = embed(table_VG, x_BT.T)
    else:
        x_TBD = jax.nn.one_hot(x_BT.T, vocab) if table_VE is None else embed(table_VE, x_BT.T)
        u_TBG = scan.project(first, drop(x_TBD, config.dropout_input, 0), dtype)
    first_carry, h_TBH = scan.scan(
        cell, sizes[0], first, carry[0], u_TBG, reset_TB, dtype, recurrence_keys(cell, keys_B, 0)
    )

    def layer(h_TBH: jax.Array, inputs: tuple[jax.Array | int, Params, Carry]) -> tuple[jax.Array, Carry]:
        i, params, carry = inputs
        hidden = sizes[i] if isinstance(i, int) else sizes[0]
        u_TBG = scan.project(params, drop(h_TBH, config.dropout, i), dtype)
        keys = recurrence_keys(cell, keys_B, i)
        after, h_TBH = scan.scan(cell, hidden, params, carry, u_TBG, reset_TB, dtype, keys)
        return h_TBH, after

    h_TBH, upper_carry = apply_upper_layers(layer, params, h_TBH, carry[1:])
    h_TBH = drop(h_TBH, config.dropout_output, len(sizes))
    logits_TBV = layers.logits(params["output"], h_TBH, table_VE if config.tied else None, dtype)
    return (first_carry, *upper_carry), logits_TBV.transpose(1, 0, 2)


def apply_upper_layers(
    layer: Callable[..., tuple[jax.Array, Carry]], params: Params, h_TBH: jax.Array, carry: Stack
) -> tuple[jax.Array, Stack]:
    """Run the layers above the first, one after another: -> (the last one's output h_TBH, their carries).

    `layer` maps (h_TBH, (number, params, carry)) -> (h_TBH, carry). If their params are stacked, it is compiled once
    and scanned over them.
    """
    numbers = range(1, 1 + len(carry))
    if "upper" not in params:
        after = []
        for i, layer_carry in zip(numbers, carry, strict=True):
            h_TBH, layer_carry = layer(h_TBH, (i, params[f"layer_{i}"], layer_carry))
            after.append(layer_carry)
        return h_TBH, tuple(after)
    carry_L = jax.tree.map(lambda *states: jnp.stack(states), *carry)
    h_TBH, after_L = jax.lax.scan(layer, h_TBH, (jnp.array(numbers), params["upper"], carry_L))
    return h_TBH, tuple(zip(*(tuple(state_L) for state_L in after_L), strict=True))


def is_looped(config: ModelConfig) -> bool:
    """Return whether the upper layers are compiled as one loop: if there are four layers or more, of equal width."""
    return len(config.hidden_sizes) > 3 and len(set(config.hidden_sizes)) == 1


def stack_layers(config: ModelConfig, params: Params) -> Params:
    """Stack the params of the layers above the first as "upper", if they are looped; `unstack_layers` undoes it.

    The loop shortens compilation, but copies params and residuals; the model for single steps, where that copy costs
    more than the step, does not use it. Params that are stacked stay as they are.
    """
    if "upper" in params or not is_looped(config):
        return params
    names = [f"layer_{i}" for i in range(1, len(config.hidden_sizes))]
    upper = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params[name] for name in names))
    return {name: layer for name, layer in params.items() if name not in names} | {"upper": upper}


def unstack_layers(config: ModelConfig, params: Params) -> Params:
    """Undo `stack_layers`."""
    if "upper" not in params:
        return params
    count = len(config.hidden_sizes)
    upper = {f"layer_{i}": jax.tree.map(lambda p, i=i: p[i - 1], params["upper"]) for i in range(1, count)}
    return {name: layer for name, layer in params.items() if name != "upper"} | upper


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
        config, cell = self.config, cell_of(self.config)
        if config.embedding:
            self.embedding = layers.Embedding(self._key(), self.vocab, config.embedding, config.tied)
        widths = pairwise((config.embedding or self.vocab, *config.hidden_sizes))
        for i, ((inputs, hidden), key) in enumerate(zip(widths, self._layer_keys(), strict=True)):
            one_hot = i == 0 and not config.embedding
            setattr(self, f"layer_{i}", layers.RecurrentLayer(key, cell, inputs, hidden, one_hot, config.dtype))
        self.output = layers.Head(self._key(), config.hidden_sizes[-1], self.vocab, config.tied, config.dtype)

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
        h_TBD = self.embedding(x_BT.T) if embedded else jax.nn.one_hot(x_BT.T, self.vocab)
        after = []
        for i, layer_carry in enumerate(carry):
            layer_carry, h_TBD = getattr(self, f"layer_{i}")(layer_carry, h_TBD, reset_BT.T)
            after.append(layer_carry)
        logits_TBV = self.output(h_TBD, self.embedding.params["table"] if self.config.tied else None)
        return tuple(after), logits_TBV.transpose(1, 0, 2)


def initial_carry(config: ModelConfig, lanes: int) -> Stack:
    """Return the initial carry, arrays [lanes, ...], whose dtype does not depend on the compute dtype."""
    cell = cell_of(config)
    return tuple(cell.start(lanes, hidden) for hidden in config.hidden_sizes)


def init_params(config: ModelConfig, vocab: int, key: jax.Array) -> Params:
    """Initialize float32 params from a key."""
    x_BT = jnp.zeros((1, 1), jnp.int32)
    init = jax.jit(RecurrentLM(config, vocab).init)
    params: Params = init(key, initial_carry(config, 1), x_BT, x_BT > 0)["params"]
    return params


def apply(config: ModelConfig, vocab: int, step_by_step: bool = False) -> Forward:
    """Return the model as a pure function (params, carry, x_BT, reset_BT, keys_B=None) -> (carry, logits_BTV).

    With `step_by_step`, for windows of one symbol, the layers are not looped.
    """
    if step_by_step:
        return partial(forward, config, vocab)
    return lambda params, *inputs: forward(config, vocab, stack_layers(config, params), *inputs)


def inference_config(config: ModelConfig) -> ModelConfig:
    """Return the config that fits `inference_params`."""
    return replace(config, embedding=0, tied=False) if folds_embedding(config) else config


def inference_params(config: ModelConfig, params: Params) -> Params:
    """Multiply the embedding [V, E] into the first layer's W_x [E, G], which becomes [V, G].

    The params compute the same logits with one lookup a step; they fit `inference_config`.
    """
    if not folds_embedding(config):
        return params
    params = dict(params)
    table_VE = params.pop("embedding")["table"]
    w_VG = scan.project(params["layer_0"], table_VE, jnp.dtype(config.dtype))
    params["layer_0"] = params["layer_0"] | {"W_x": w_VG}
    params["output"] = params["output"] | ({"W": table_VE.T} if config.tied else {})
    return params


def folds_embedding(config: ModelConfig) -> bool:
    """Return whether the embedding can be multiplied into the first layer's W_x."""
    return config.embedding > 0 and "W_x" in cell_of(config).params(1, 1)


def param_shapes(config: ModelConfig, vocab: int) -> Params:
    """Return a ShapeDtypeStruct for each param that `init_params` draws, from the config alone."""
    return shapes_of(cell_of(config), config, vocab)


def shapes_of(cell: Cell, config: ModelConfig, vocab: int) -> Params:
    """Return `param_shapes` of a cell that need not be checked at the widths of the config."""
    sizes = config.hidden_sizes
    declared = {"output": layers.head_params(sizes[-1], vocab, config.tied)}
    if config.embedding:
        declared["embedding"] = layers.embedding_params(vocab, config.embedding, config.tied)
    for i, (inputs, hidden) in enumerate(pairwise((config.embedding or vocab, *sizes))):
        declared[f"layer_{i}"] = cell.params(inputs, hidden)
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
    cell, sizes = cell_of(config), config.hidden_sizes
    looked_up = "W_x" in cell.params(1, 1)
    inputs = config.embedding or (0 if looked_up else vocab)
    return sum(cell.count_flops(d, h) for d, h in pairwise((inputs, *sizes))) + 2.0 * sizes[-1] * vocab
