"""From a carry and a prompt to text: many streams at once, some symbols a dispatch, so that it flows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.config import MAX_SEED, ModelConfig
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.nn import model, scan
from rnnlm.runtime import parallel

CHUNK = 64


@dataclass(frozen=True)
class SamplingOptions:
    """How to draw: temperature 0 takes the likeliest symbol each time; top_k and top_p narrow the choice.

    top_k > 0 leaves the k likeliest symbols, and those as likely as the last of them; top_p < 1 then the fewest
    likeliest ones that together have that much of the tempered probability (Holtzman et al. 2020), one at least.
    """

    temperature: float
    seed: int
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Raises UserError for what cannot be drawn by."""
        if not 0 <= self.temperature < float("inf") or not 0 <= self.seed <= MAX_SEED:
            raise UserError(
                f"Cannot draw at temperature={self.temperature} with seed={self.seed}: give a temperature from 0 up, "
                f"and a seed from 0 to {MAX_SEED}."
            )
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise UserError(
                f"Cannot draw from top_k={self.top_k}, top_p={self.top_p}: top_k is a number of symbols, 0 for all; "
                "top_p is a share of the probability above 0, 1 for all."
            )

    @property
    def narrowed(self) -> bool:
        return self.top_k > 0 or self.top_p < 1


class Sampler:
    """Draw text from one model with compiled steps. Its params are those of `inference_params`."""

    def __init__(self, config: ModelConfig, vocab: int):
        self.config, self.vocab = model.inference_config(config), vocab
        self.inference_params = jax.jit(partial(model.inference_params, config))
        forward = model.apply(self.config, vocab)
        self._forward = jax.jit(forward)
        self._draw = {
            narrowed: parallel.shard_local(
                partial(draw, forward, narrowed), (None, 0, 0, 0, None, None, None, None), (0, 0, 0)
            )
            for narrowed in (False, True)
        }

    def zero(self, streams: int = 1) -> model.Stack:
        """The carry before anything is read."""
        return model.initial_carry(self.config, streams)

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
        carry = self.zero()
        for i in range(0, len(x), CHUNK):
            fresh = np.arange(i, i + CHUNK)[None, :] == pad
            carry, logits_KTV = self._forward(params, carry, x[None, i : i + CHUNK], fresh)
        return jax.tree.map(lambda a: jnp.repeat(a, streams, 0), (carry, logits_KTV[:, -1]))

    def chunks(
        self, params: Params, ids: NDArray[Any], length: int, options: SamplingOptions, streams: int = 1
    ) -> Iterator[NDArray[np.int32]]:
        """`length` symbols after the prompt `ids` (N > 0), for each stream: yields [streams, some].

        A stream is the same however many are drawn beside it, but for rounding.
        """
        key = jax.random.PRNGKey(options.seed)
        keys = jax.vmap(partial(jax.random.fold_in, key))(np.arange(streams))
        carry, logits, keys = parallel.put_lanes(streams, 0, (*self.read(params, ids, streams), keys))
        params = parallel.put_lanes(streams, None, params)
        top = np.int32(min(options.top_k or self.vocab, self.vocab)), np.float32(options.top_p)
        ahead: list[jax.Array] = []
        for done in range(0, length, CHUNK):
            how_now = np.int32(done), np.float32(options.temperature), *top
            carry, logits, drawn = self._draw[options.narrowed](params, carry, logits, keys, *how_now)
            ahead.append(drawn)
            if done:  # the next chunk is under way while this one is read
                yield np.asarray(ahead.pop(0))
        for drawn in ahead:
            yield np.asarray(drawn)[:, : (length - 1) % CHUNK + 1]


def join(vocabulary: Vocabulary, chunks: Iterable[NDArray[np.int32]]) -> str:
    """What was drawn in the first stream, as text."""
    return vocabulary.decode(np.concatenate([chunk[0] for chunk in chunks])).decode(errors="replace")


def draw(
    forward: Any,
    narrowed: bool,
    params: Params,
    carry: model.Stack,
    logits_KV: jax.Array,
    keys_K: jax.Array,
    done: jax.Array,
    temperature: jax.Array,
    top_k: jax.Array,
    top_p: jax.Array,
) -> tuple[model.Stack, jax.Array, jax.Array]:
    """CHUNK symbols more than `done` for each of K streams, each fed back: -> (carry, logits, symbols [K, CHUNK])."""

    def noise(key: jax.Array) -> jax.Array:
        return jax.random.gumbel(jax.random.fold_in(key, done), (CHUNK, logits_KV.shape[-1]))

    # For all steps at once: as many small draws would take longer than the model does.
    noise_KTV = jax.vmap(noise)(keys_K) * (temperature > 0)

    def step(state: tuple[model.Stack, jax.Array], noise_KV: jax.Array) -> tuple[Any, jax.Array]:
        packed, logits_KV = state
        logits_KV = logits_KV / jnp.where(temperature > 0, temperature, 1.0)
        if narrowed:
            logits_KV = narrow(logits_KV, top_k, top_p)
        drawn_K = jnp.argmax(logits_KV + noise_KV, axis=-1).astype(jnp.int32)
        before = tuple(map(scan.unpack, packed, carry))
        after, logits_KTV = forward(params, before, drawn_K[:, None], jnp.zeros((len(drawn_K), 1), bool))
        return (tuple(map(scan.pack, after)), logits_KTV[:, 0]), drawn_K

    start = tuple(map(scan.pack, carry)), logits_KV
    (packed, logits_KV), drawn = jax.lax.scan(step, start, noise_KTV.swapaxes(0, 1))
    return tuple(map(scan.unpack, packed, carry)), logits_KV, drawn.T


def narrow(logits_KV: jax.Array, top_k: jax.Array, top_p: jax.Array) -> jax.Array:
    """-inf for all but the top_k likeliest symbols and, of these, the fewest likeliest that have top_p of their sum.

    Symbols as likely as the last one kept are kept too.
    """
    best_KV = -jnp.sort(-logits_KV, axis=-1)
    best_KV = jnp.where(jnp.arange(best_KV.shape[-1])[None, :] < top_k, best_KV, -jnp.inf)
    p_KV = jax.nn.softmax(best_KV, axis=-1)
    kept_KV = (jnp.cumsum(p_KV, axis=-1) - p_KV < top_p) | (top_p >= 1)
    least_K = jnp.min(jnp.where(kept_KV.at[:, 0].set(True) & (best_KV > -jnp.inf), best_KV, jnp.inf), axis=-1)
    return jnp.where(logits_KV >= least_K[:, None], logits_KV, -jnp.inf)
