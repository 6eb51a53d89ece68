"""Symbols to logits: input, a stack of recurrent layers, output; with the carry and its zero.

Shapes live in names: B lanes, T time, D inputs of a layer, E embedding, H hidden units, G gates * H, A pre-activations
kept by a cell, V symbols; L layers, K streams, S states of a carry, N rows. h_TBH is [T, B, H]. Inside the stack time
comes first, as the scan wants it; outside, lanes do.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnlm.cells import CELLS, Carry, Params, lstm
from rnnlm.config import ModelConfig
from rnnlm.nn import scan
from rnnlm.product import product

Stack = tuple[Carry, ...]
"""The carry of a model: one layer's carry after another."""


class Model(nn.Module):
    """A recurrent language model over `vocab` symbols. It owns the params; all that it does is in pure functions.

    Params: "embedding" [V, E] where the config has one, "layer_0"... {W_x [D, G], W_h [H, G], b [G], ...},
    "output" {W [H, V] unless tied, b [V]}. Of four equal layers or more, "layer_0" stands alone and "upper" holds the
    others stacked, W_h [L - 1, H, G] and so on.
    """

    config: ModelConfig
    vocab: int

    @nn.compact
    def __call__(
        self, carry: Stack, x_BT: jax.Array, fresh_BT: jax.Array, keys_B: jax.Array | None = None
    ) -> tuple[Stack, jax.Array]:
        """-> (carry after the window, logits_BTV in float32).

        Where fresh_BT is set the lane's carry is zeroed before the symbol is read. `keys_B` holds one key a lane for
        dropout, so that masks do not depend on how lanes are spread over devices; None means no dropout.
        """
        config, dtype, sizes = self.config, jnp.dtype(self.config.dtype), self.config.hidden_sizes
        cell, fresh_TB = CELLS[config.cell], fresh_BT.T
        drop = partial(dropout, keys_B, config.dropout_mask == "window")
        if config.embedding:
            table_VE = self.param("embedding", partial(init_embedding, config), self.vocab, config.embedding)
        widths = list(pairwise((config.embedding or self.vocab, *sizes)))
        params = self.param("layer_0", partial(init_layer, config, 0), *widths[0])
        looped = is_looped(config) if self.is_initializing() else self.has_variable("params", "upper")
        upper = (
            self.param("upper", partial(init_upper, config), len(sizes) - 1, sizes[0])
            if looped
            else [self.param(f"layer_{i}", partial(init_layer, config, i), *widths[i]) for i in range(1, len(sizes))]
        )

        dropped = keys_B is not None and config.dropout_input > 0
        if not dropped and (not config.embedding or self.vocab < x_BT.size):
            # Each symbol is projected once, however often the window has it.
            table_VG = scan.project(params, table_VE, dtype) if config.embedding else params["W_x"]
            u_TBG = scan.embed(table_VG, x_BT.T)
        else:
            x_TBD = scan.embed(table_VE, x_BT.T) if config.embedding else jax.nn.one_hot(x_BT.T, self.vocab)
            u_TBG = scan.project(params, drop(x_TBD, config.dropout_input, 0), dtype)
        first, h_TBH = scan.scan(cell, params, carry[0], u_TBG, fresh_TB, dtype)

        def layer(h_TBH: jax.Array, now: tuple[jax.Array | int, Params, Carry]) -> tuple[jax.Array, Carry]:
            i, params, carry = now
            u_TBG = scan.project(params, drop(h_TBH, config.dropout, i), dtype)
            after, h_TBH = scan.scan(cell, params, carry, u_TBG, fresh_TB, dtype)
            return h_TBH, after

        h_TBH, after = apply_upper_layers(layer, h_TBH, upper, carry[1:])
        h_TBH = drop(h_TBH, config.dropout_output, len(sizes))
        output = self.param("output", partial(init_output, config), sizes[-1], self.vocab)
        w_HV = table_VE.T if config.tied else output["W"]
        logits_TBV = product(h_TBH, w_HV, dtype) + output["b"][None, None, :]
        return (first, *after), logits_TBV.transpose(1, 0, 2)


def apply_upper_layers(
    layer: Callable[..., tuple[jax.Array, Carry]], h_TBH: jax.Array, upper: Params | Sequence[Params], carry: Stack
) -> tuple[jax.Array, Stack]:
    """The layers above the first, one after another: -> (the last one's output h_TBH, their carries).

    `layer` takes (h_TBH, (its number, its params, its carry)) and gives (h_TBH, carry). Stacked params make one loop
    over layers.
    """
    numbers = range(1, 1 + len(carry))
    if isinstance(upper, Sequence):
        after = []
        for now in zip(numbers, upper, carry, strict=True):
            h_TBH, layer_carry = layer(h_TBH, now)
            after.append(layer_carry)
        return h_TBH, tuple(after)
    carry_LBH = jax.tree.map(lambda *states_BH: jnp.stack(states_BH), *carry)
    h_TBH, after_LBH = jax.lax.scan(layer, h_TBH, (jnp.array(numbers), upper, carry_LBH))
    return h_TBH, tuple(zip(*(tuple(state_LBH) for state_LBH in after_LBH), strict=True))


def is_looped(config: ModelConfig) -> bool:
    """Whether the layers above the first are one loop, compiled and optimized as one: from three equal ones on.

    It costs a copy of the residuals; step by step, where it costs much more, `inference_params` undoes it.
    """
    return len(config.hidden_sizes) > 3 and len(set(config.hidden_sizes)) == 1


def zero_carry(config: ModelConfig, lanes: int) -> Stack:
    """The carry before anything is read: float32 zeros [lanes, H], whatever the compute dtype."""
    states = CELLS[config.cell].states
    return tuple(
        tuple(jnp.zeros((lanes, hidden), jnp.float32) for _ in range(states)) for hidden in config.hidden_sizes
    )


def init_params(config: ModelConfig, vocab: int, key: jax.Array) -> Params:
    """Fresh float32 params, drawn from `key`."""
    x_BT = jnp.zeros((1, 1), jnp.int32)
    init = jax.jit(Model(config, vocab).init)
    params: Params = init(key, zero_carry(config, 1), x_BT, x_BT > 0)["params"]
    return params


def apply(config: ModelConfig, vocab: int) -> Callable[..., tuple[Stack, jax.Array]]:
    """The model as a pure function (params, carry, x_BT, fresh_BT, keys_B=None) -> (carry, logits_BTV)."""
    model = Model(config, vocab)

    def forward(params: Params, *inputs: Any) -> tuple[Stack, jax.Array]:
        return model.apply({"params": params}, *inputs)  # type: ignore[return-value]

    return forward


def inference_config(config: ModelConfig) -> ModelConfig:
    """The config of the same function for params that `inference_params` has prepared."""
    return replace(config, embedding=0, tied=False)


def inference_params(config: ModelConfig, params: Any) -> Any:
    """Params of the same function for going step by step: stacked layers apart, since a loop over layers would copy
    their params at each step, and the embedding [V, E] multiplied into the first layer's W_x [V, G]."""
    params = dict(params)
    upper = params.pop("upper", {"b": ()})
    layers = {f"layer_{i}": jax.tree.map(lambda p, i=i: p[i - 1], upper) for i in range(1, 1 + len(upper["b"]))}
    if config.embedding:
        table_VE = params.pop("embedding")
        w_VG = scan.project(params["layer_0"], table_VE, jnp.dtype(config.dtype))
        params["layer_0"] = params["layer_0"] | {"W_x": w_VG}
        params["output"] = params["output"] | ({"W": table_VE.T} if config.tied else {})
    return params | layers


def count_params(config: ModelConfig, vocab: int) -> int:
    """The number of parameters by formula: the config alone says it."""
    cell, inputs = CELLS[config.cell], config.embedding or vocab
    total = vocab * config.embedding
    for hidden in config.hidden_sizes:
        total += cell.gates * hidden * (inputs + hidden + cell.biases)
        inputs = hidden
    return total + vocab + (0 if config.tied else vocab * inputs)


def flops_per_symbol(config: ModelConfig, vocab: int) -> float:
    """Of the forward pass: two for each weight of a product. A one-hot or embedded input is looked up."""
    sizes = config.hidden_sizes
    gates = CELLS[config.cell].gates
    layers = sum(gates * hidden * (inputs + hidden) for inputs, hidden in pairwise([config.embedding, *sizes]))
    return 2.0 * (layers + sizes[-1] * vocab)


def dropout(keys_B: jax.Array | None, window: bool, x_TBD: jax.Array, rate: float, site: jax.Array | int) -> jax.Array:
    """Zero each unit with probability `rate` (to within 2^-16) and scale the rest, one mask a step or a window.

    One mask for the whole window is the variational dropout of Gal and Ghahramani 2016.
    """
    if keys_B is None or rate == 0:
        return x_TBD
    time, _, width = x_TBD.shape
    keep = max(1, round((1 - rate) * 2**16))

    def lane(key: jax.Array) -> jax.Array:
        bits = jax.random.bits(jax.random.fold_in(key, site), (1 if window else time, width), jnp.uint16)
        return bits < keep

    mask = jax.vmap(lane, out_axes=1)(keys_B)
    return jnp.where(mask, x_TBD * (2**16 / keep), jnp.zeros_like(x_TBD))


def init_layer(config: ModelConfig, i: int, key: jax.Array, inputs: int, hidden: int) -> Params:
    """W_x and W_h uniform in +-1/sqrt(H) as PyTorch's, biases zero but for the LSTM's forget gate.

    One-hot inputs have one unit on at a time, not H, so that their W_x is uniform in +-1: else the gates hear little.
    """
    cell = CELLS[config.cell]
    gates = cell.gates * hidden
    key_x, key_h = jax.random.split(key)
    params = {
        "W_x": uniform(key_x, (inputs, gates), 1 if i == 0 and not config.embedding else hidden),
        "W_h": uniform(key_h, (hidden, gates), hidden),
        "b": jnp.zeros(gates),
    }
    if cell.biases == 2:
        params["b_h"] = jnp.zeros(gates)
    if config.cell == "lstm":
        params["b"] = params["b"].at[lstm.forget_slice(hidden)].set(config.forget_bias)
    return params


def init_upper(config: ModelConfig, key: jax.Array, layers: int, hidden: int) -> Params:
    """Layers of equal size above the first, stacked."""
    return jax.vmap(lambda key: init_layer(config, 1, key, hidden, hidden))(jax.random.split(key, layers))


def init_output(config: ModelConfig, key: jax.Array, hidden: int, vocab: int) -> Params:
    params = {} if config.tied else {"W": uniform(key, (hidden, vocab), hidden)}
    return params | {"b": jnp.zeros(vocab)}


def init_embedding(config: ModelConfig, key: jax.Array, vocab: int, width: int) -> jax.Array:
    """Of unit variance as PyTorch's, so that the gates hear the input; where tied, like the output's weights."""
    return uniform(key, (vocab, width), width) if config.tied else jax.random.normal(key, (vocab, width))


def uniform(key: jax.Array, shape: tuple[int, int], fan: int) -> jax.Array:
    bound = fan**-0.5
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
