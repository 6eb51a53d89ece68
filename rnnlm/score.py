"""The only place where nats become bits: the cost of symbols under logits, as a sum and a count."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Tally:
    """What some symbols cost: the sum of -ln p in nats, and how many they were. Divided once, at the end."""

    nats: float
    count: int

    @property
    def bits(self) -> float:
        """The sum in bits."""
        return self.nats / math.log(2)

    @property
    def bpc(self) -> float:
        """Bits per symbol. The name is the field's; where symbols are bytes it is bits per byte."""
        return self.bits / self.count

    def per(self, n: int) -> float:
        """Bits per one of n things that the symbols make up, such as bytes."""
        return self.bits / n


def nats(logits_BTV: jax.Array, y_BT: jax.Array) -> jax.Array:
    """-ln p(y) for each position: [B, T], float32."""
    logits_BTV = logits_BTV.astype(jnp.float32)
    hit = jnp.arange(logits_BTV.shape[-1])[None, None, :] == y_BT[:, :, None]
    chosen = jnp.sum(jnp.where(hit, logits_BTV, 0.0), axis=-1)
    return jax.nn.logsumexp(logits_BTV, axis=-1) - chosen
