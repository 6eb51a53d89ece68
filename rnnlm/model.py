"""Symbols to logits: input, a stack of recurrent layers, output; with the carry and its zero.

Shapes live in names: B lanes, T time, D inputs of a layer, H hidden units, G gates * H, A pre-activations kept by a
cell, V symbols. h_TBH is [T, B, H]. Inside the stack time comes first, as the scan wants it; outside, lanes do.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnlm import scan
from rnnlm.cells import CELLS, Carry, Params, lstm
from rnnlm.config import ModelConfig

Stack = tuple[Carry, ...]
"""The carry of a model: one layer's carry after another."""


class Model(nn.Module):
    """A recurrent language model over `vocab` symbols. It owns the params; all that it does is in pure functions.

    Params: "embedding" [V, E] where the config has one, "layer_0"... {W_x [D, G], W_h [H, G], b [G], ...},
    "output" {W [H, V] unless tied, b [V]}.
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
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        drop = partial(dropout, keys_B, config.dropout_mask == "window")
        fresh_TB = fresh_BT.T
        if config.embedding:
            table_VE = self.param("embedding", partial(init_embedding, config), self.vocab, config.embedding)
        # A table of fewer symbols than the window has is projected row by row, once each; else its rows are looked up.
        dropped = keys_B is not None and config.dropout_input > 0
        whole = config.embedding > 0 and self.vocab < x_BT.size and not dropped
        looked_up = config.embedding and not whole
        x_TBD = table_VE[x_BT.T] if looked_up else jax.nn.one_hot(x_BT.T, self.vocab, dtype=dtype)
        x_TBD = drop(x_TBD, config.dropout_input, 0)

        after = []
        inputs, last = config.embedding or self.vocab, len(config.hidden_sizes) - 1
        for i, hidden in enumerate(config.hidden_sizes):
            params = self.param(f"layer_{i}", partial(init_layer, config, i), inputs, hidden)
            if i == 0 and whole:
                params = params | {"W_x": scan.product(table_VE, params["W_x"], dtype)}
            inputs = hidden
            u_TBG = scan.project(params, x_TBD, dtype)
            layer_carry, h_TBH = scan.scan(CELLS[config.cell], params, carry[i], u_TBG, fresh_TB, dtype)
            after.append(layer_carry)
            x_TBD = drop(h_TBH, config.dropout_output if i == last else config.dropout, i + 1)

        output = self.param("output", partial(init_output, config), x_TBD.shape[-1], self.vocab)
        w_HV = table_VE.T if config.tied else output["W"]
        logits_TBV = scan.product(x_TBD, w_HV, dtype) + output["b"][None, None, :]
        return tuple(after), logits_TBV.transpose(1, 0, 2)


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


def count_params(config: ModelConfig, vocab: int) -> int:
    """The number of parameters by formula: the config alone says it."""
    cell, inputs = CELLS[config.cell], config.embedding or vocab
    total = vocab * config.embedding
    for hidden in config.hidden_sizes:
        total += cell.gates * hidden * (inputs + hidden + cell.biases)
        inputs = hidden
    return total + vocab + (0 if config.tied else vocab * inputs)


def dropout(keys_B: jax.Array | None, window: bool, x_TBD: jax.Array, rate: float, site: int) -> jax.Array:
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


def init_output(config: ModelConfig, key: jax.Array, hidden: int, vocab: int) -> Params:
    params = {} if config.tied else {"W": uniform(key, (hidden, vocab), hidden)}
    return params | {"b": jnp.zeros(vocab)}


def init_embedding(config: ModelConfig, key: jax.Array, vocab: int, width: int) -> jax.Array:
    """Of unit variance as PyTorch's, so that the gates hear the input; where tied, like the output's weights."""
    return uniform(key, (vocab, width), width) if config.tied else jax.random.normal(key, (vocab, width))


def uniform(key: jax.Array, shape: tuple[int, int], fan: int) -> jax.Array:
    bound = fan**-0.5
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
