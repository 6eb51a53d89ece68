"""Draw text from a model: many streams at once, some symbols a dispatch, so that text appears as it is drawn."""

import codecs
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.config import MAX_SEED
from rnnlm.errors import UserError
from rnnlm.generation.stepper import CHUNK, Stepper
from rnnlm.nn import model, recurrence
from rnnlm.runtime import parallel


@dataclass(frozen=True)
class SamplingOptions:
    """Choose how symbols are drawn; temperature 0 takes the most likely symbol each time.

    With several temperatures as many streams are drawn at each of them, from the same random numbers.
    top_k > 0 keeps the k most likely symbols, and those as likely as the last of them; top_p < 1 then keeps the fewest
    most likely ones that together have that much of the tempered probability (Holtzman et al. 2020), at least one.
    Raises UserError for values outside these ranges.
    """

    temperature: float | tuple[float, ...] = 1.0
    seed: int = 0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        sound = self.temperatures and all(0 <= t < float("inf") for t in self.temperatures)
        if not sound or not 0 <= self.seed <= MAX_SEED:
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
    def temperatures(self) -> tuple[float, ...]:
        """Return the temperatures, also where there is one."""
        return self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)

    @property
    def truncates(self) -> bool:
        """Return whether some symbols may be excluded."""
        return self.top_k > 0 or self.top_p < 1


class Sampler:
    """Draw text with the compiled steps of a `Stepper`, whose folded params it takes, `chunk` symbols a dispatch."""

    def __init__(self, stepper: Stepper, chunk: int = CHUNK):
        self.stepper, self.chunk = stepper, chunk
        self._draw = {
            truncates: parallel.shard_local(
                partial(draw_chunk, stepper, chunk, truncates), (None, 0, 0, 0, None, 0, None, None), (0, 0, 0)
            )
            for truncates in (False, True)
        }

    def chunks(
        self, params: Params, ids: NDArray[Any], length: int, options: SamplingOptions, streams: int = 1, first: int = 0
    ) -> Iterator[NDArray[np.int32]]:
        """Yield `length` symbols after the prompt `ids` [N], N > 0, for each of K streams: arrays [K, up to chunk].

        The streams are number `first` and following, first all of the first temperature, then those of the next one. A
        stream depends on its number, its temperature and the seed, not on the streams drawn beside it, except for
        rounding.
        """
        key, vocab, top_p = jax.random.PRNGKey(options.seed), self.stepper.vocab, np.float32(options.top_p)
        temperature_K = np.repeat(np.array(options.temperatures, np.float32), streams)
        keys_K = jax.vmap(partial(jax.random.fold_in, key))(np.arange(first, first + streams))
        keys_K, streams = jnp.tile(keys_K, (len(options.temperatures), 1)), len(temperature_K)
        lanes = (*self.stepper.read(params, ids, streams), keys_K, temperature_K)
        carry, logits_KV, keys_K, temperature_K = parallel.put_lanes(streams, 0, lanes)
        params = parallel.put_lanes(streams, None, params)
        top_k = np.int32(min(options.top_k or vocab, vocab))
        pending: list[jax.Array] = []
        for done in range(0, length, self.chunk):
            draw = self._draw[options.truncates]
            at = np.int32(done)
            carry, logits_KV, drawn = draw(params, carry, logits_KV, keys_K, at, temperature_K, top_k, top_p)
            pending.append(drawn)
            if done:  # the next chunk is under way while this one is read
                yield np.asarray(pending.pop(0))
        for drawn in pending:
            yield np.asarray(drawn)[:, : (length - 1) % self.chunk + 1]


def fresh_seed() -> int:
    """Draw a seed from the operating system."""
    return secrets.randbelow(MAX_SEED + 1)


class TextDecoder:
    """Decode a text as UTF-8 for display, piece by piece; bytes that are no UTF-8 are replaced.

    A character that a piece cuts is held back until the next pieces complete it. One that is never completed, because
    the text was cut off there, is not shown.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __call__(self, piece: bytes) -> str:
        """Decode a piece: -> what can be shown now."""
        return self._decoder.decode(piece)


def join_text(pieces: Iterable[bytes]) -> str:
    """Join the pieces of a text as `TextDecoder` shows them."""
    return TextDecoder()(b"".join(pieces))


def draw_chunk(
    stepper: Stepper,
    chunk: int,
    truncates: bool,
    params: Params,
    carry: model.Stack,
    logits_KV: jax.Array,
    keys_K: jax.Array,
    done: jax.Array,
    temperature_K: jax.Array,
    top_k: jax.Array,
    top_p: jax.Array,
) -> tuple[model.Stack, jax.Array, jax.Array]:
    """Draw symbols in each of K streams after `done` ones: -> (carry, logits, symbols [K, chunk])."""

    def noise(key: jax.Array) -> jax.Array:
        return jax.random.gumbel(jax.random.fold_in(key, done), (chunk, logits_KV.shape[-1]))

    # For all steps at once: as many small draws would take longer than the model does.
    noise_KTV = jax.vmap(noise)(keys_K) * (temperature_K > 0)[:, None, None]

    def step(state: tuple[model.Stack, jax.Array], noise_KV: jax.Array) -> tuple[Any, jax.Array]:
        packed, logits_KV = state
        logits_KV = logits_KV / jnp.where(temperature_K > 0, temperature_K, 1.0)[:, None]
        if truncates:
            logits_KV = truncate(logits_KV, top_k, top_p)
        drawn_K = jnp.argmax(logits_KV + noise_KV, axis=-1).astype(jnp.int32)
        before = tuple(map(recurrence.unpack, packed, carry))
        x_KT = drawn_K[:, None]
        after, logits_KTV = stepper.forward(params, before, x_KT, stepper.resets(x_KT))
        return (tuple(map(recurrence.pack, after)), logits_KTV[:, 0]), drawn_K

    start = tuple(map(recurrence.pack, carry)), logits_KV
    (packed, logits_KV), drawn_TK = jax.lax.scan(step, start, noise_KTV.swapaxes(0, 1))
    return tuple(map(recurrence.unpack, packed, carry)), logits_KV, drawn_TK.T


def truncate(logits_KV: jax.Array, top_k: jax.Array, top_p: jax.Array) -> jax.Array:
    """Set to -inf all but the top_k most likely symbols and, of these, the fewest that have top_p of their sum.

    Symbols as likely as the last one kept are kept too.
    """
    best_KV = -jnp.sort(-logits_KV, axis=-1)
    best_KV = jnp.where(jnp.arange(best_KV.shape[-1])[None, :] < top_k, best_KV, -jnp.inf)
    p_KV = jax.nn.softmax(best_KV, axis=-1)
    nucleus_KV = (jnp.cumsum(p_KV, axis=-1) - p_KV < top_p) | (top_p >= 1)
    least_K = jnp.min(jnp.where(nucleus_KV.at[:, 0].set(True) & (best_KV > -jnp.inf), best_KV, jnp.inf), axis=-1)
    return jnp.where(logits_KV >= least_K[:, None], logits_KV, -jnp.inf)
