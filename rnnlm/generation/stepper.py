"""Run a model step by step: what sampling, `LanguageModel.step` and compression share."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.config import ModelConfig
from rnnlm.nn import model

CHUNK = 64
"""Symbols of one dispatch, where a text is read or drawn."""


class Stepper:
    """Run compiled steps of one model in L lanes.

    `params` are those of `inference_params`, but with folded=False the trained ones: for a model that learns between
    its steps. A carry is reset before the symbol `separator` is read, which begins a record.
    """

    def __init__(self, config: ModelConfig, vocab: int, folded: bool = True, separator: int | None = None):
        self.config, self.vocab = model.inference_config(config) if folded else config, vocab
        self.separator = separator
        self.inference_params = jax.jit(partial(model.inference_params, config))
        self.forward = model.apply(self.config, vocab, step_by_step=folded)
        self._forward = jax.jit(self.forward)
        self._probabilities = jax.jit(self._step_and_softmax)

    def start(self, lanes: int = 1) -> model.Stack:
        """Return the carry before anything is read."""
        return model.initial_carry(self.config, lanes)

    def resets(self, x_LT: jax.Array | NDArray[np.int32]) -> jax.Array | NDArray[np.bool_]:
        """Return where the carry is reset before an input is read: [L, T]."""
        return np.zeros(x_LT.shape, bool) if self.separator is None else x_LT == self.separator

    def step(self, params: Params, carry: model.Stack, x_L: NDArray[np.int32]) -> tuple[model.Stack, jax.Array]:
        """Read a symbol in each lane: -> (carry, logits of the next [L, V])."""
        carry, logits_LTV = self._forward(params, carry, x_L[:, None], self.resets(x_L[:, None]))
        return carry, logits_LTV[:, 0]

    def probabilities(
        self, params: Params, carry: model.Stack, x_L: NDArray[np.int32]
    ) -> tuple[model.Stack, jax.Array]:
        """Read a symbol in each lane: -> (carry, probabilities of the next [L, V])."""
        carry, p_LV = self._probabilities(params, carry, x_L)
        return carry, p_LV

    def _step_and_softmax(self, params: Params, carry: model.Stack, x_L: jax.Array) -> tuple[model.Stack, jax.Array]:
        # One program: compressed files decode only with the probabilities that it gives, to the last bit.
        carry, logits_LTV = self.forward(params, carry, x_L[:, None], self.resets(x_L[:, None]))
        return carry, jax.nn.softmax(logits_LTV[:, 0])

    def read(self, params: Params, ids: NDArray[Any], lanes: int = 1) -> tuple[model.Stack, jax.Array]:
        """Read a text [N], N > 0, from its beginning: -> (carry, logits after its last symbol), repeated in L lanes."""
        # Padded in front, so that one length is compiled; the reset at the text's first symbol undoes the padding.
        pad = -len(ids) % CHUNK
        x = np.concatenate([np.zeros(pad, np.int32), np.asarray(ids, np.int32)])
        carry = self.start()
        for i in range(0, len(x), CHUNK):
            x_LT = x[None, i : i + CHUNK]
            reset = (np.arange(i, i + CHUNK)[None, :] == pad) | self.resets(x_LT)
            carry, logits_LTV = self._forward(params, carry, x_LT, reset)
        return jax.tree.map(lambda a: jnp.repeat(a, lanes, 0), (carry, logits_LTV[:, -1]))
