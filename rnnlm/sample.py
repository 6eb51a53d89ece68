"""From a carry and a prompt to text: many streams at once, some symbols a dispatch, so that it flows."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from rnnlm import model
from rnnlm.cells import Params
from rnnlm.config import ModelConfig
from rnnlm.symbols import Vocabulary

CHUNK = 64


class Sampler:
    """Draws text from one model; the compiled steps are kept."""

    def __init__(self, config: ModelConfig, vocab: int):
        self.config = config
        self._forward = jax.jit(model.apply(config, vocab))
        self._draw = jax.jit(partial(draw, model.apply(config, vocab)))

    def zero(self, streams: int = 1) -> model.Stack:
        """The carry before anything is read."""
        return model.zero_carry(self.config, streams)

    def step(self, params: Params, carry: model.Stack, symbol: int) -> tuple[model.Stack, jax.Array]:
        """Read one symbol in each of K streams: -> (carry, logits [K, V])."""
        x = np.full((carry[0][0].shape[0], 1), symbol, np.int32)
        carry, logits_KTV = self._forward(params, carry, x, np.zeros(x.shape, bool))
        return carry, logits_KTV[:, 0]

    def read(self, params: Params, ids: NDArray[Any], streams: int) -> tuple[model.Stack, jax.Array]:
        """Read a text [N], N > 0, from its beginning: -> (carry, logits after its last symbol [K, V])."""
        # Filled up in front, so that one length is compiled; the fresh start undoes what the filling did.
        pad = -len(ids) % CHUNK
        x = np.concatenate([np.zeros(pad, np.int32), np.asarray(ids, np.int32)])
        carry = self.zero(streams)
        for i in range(0, len(x), CHUNK):
            window = np.broadcast_to(x[i : i + CHUNK], (streams, CHUNK))
            fresh = np.broadcast_to(np.arange(i, i + CHUNK) == pad, (streams, CHUNK))
            carry, logits_KTV = self._forward(params, carry, window, fresh)
        return carry, logits_KTV[:, -1]

    def chunks(
        self, params: Params, ids: NDArray[Any], length: int, temperature: float, seed: int, streams: int = 1
    ) -> Iterator[NDArray[np.int32]]:
        """`length` symbols after the prompt `ids` (N > 0), for each stream: yields [streams, some].

        Temperature 0 takes the likeliest symbol each time.
        """
        carry, logits = self.read(params, ids, streams)
        key, done = jax.random.PRNGKey(seed), 0
        while done < length:
            carry, logits, drawn = self._draw(params, carry, logits, jax.random.fold_in(key, done), temperature)
            yield np.asarray(drawn)[:, : length - done]
            done += CHUNK


def join(vocabulary: Vocabulary, chunks: Iterable[NDArray[np.int32]]) -> str:
    """What was drawn in the first stream, as text."""
    return vocabulary.decode(np.concatenate([chunk[0] for chunk in chunks])).decode(errors="replace")


def draw(
    forward: Any, params: Params, carry: model.Stack, logits_KV: jax.Array, key: jax.Array, temperature: jax.Array
) -> tuple[model.Stack, jax.Array, jax.Array]:
    """CHUNK symbols for each of K streams, each fed back: -> (carry, logits, symbols [K, CHUNK])."""

    def step(state: tuple[model.Stack, jax.Array], key: jax.Array) -> tuple[Any, jax.Array]:
        carry, logits_KV = state
        hot = jnp.where(temperature > 0, temperature, 1.0)
        noise = jax.random.gumbel(key, logits_KV.shape) * (temperature > 0)
        drawn_K = jnp.argmax(logits_KV / hot + noise, axis=-1).astype(jnp.int32)
        carry, logits_KTV = forward(params, carry, drawn_K[:, None], jnp.zeros((len(drawn_K), 1), bool))
        return (carry, logits_KTV[:, 0]), drawn_K

    (carry, logits_KV), drawn = jax.lax.scan(step, (carry, logits_KV), jax.random.split(key, CHUNK))
    return carry, logits_KV, drawn.T
