"""Read a text and keep what happens inside the model: its carries, and the gates of its cells."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.config import ModelConfig
from rnnlm.nn import model

CHUNK = 256
"""Symbols whose states are computed at a time."""

Arrays = dict[str, NDArray[Any]]


class States(NamedTuple):
    """Hold the states of a model after each of T symbols; `carry` and `gates` have an entry for each layer.

    ids     the symbols [T]
    carry   arrays by name: [T, ...], such as h and c [T, H] of an LSTM
    gates   activations by name: [T, H]; empty for a cell that names none
    logits  of the next symbol [T, V]
    """

    ids: NDArray[np.int32]
    carry: list[Arrays]
    gates: list[Arrays]
    logits: NDArray[np.float32]

    def __repr__(self) -> str:
        names = [" ".join(layer) for layer in (self.carry[0], self.gates[0])]
        return (
            f"States({len(self.ids)} symbols, {len(self.carry)} layers, carry: {names[0]}, gates: {names[1] or 'none'})"
        )


class StateReader:
    """Read texts with captured intermediates, under the trained params.

    A carry is reset before the symbol `separator` is read, which begins a record.
    """

    def __init__(self, config: ModelConfig, vocab: int, separator: int | None = None):
        self.config, self.separator = config, separator
        apply = model.RecurrentLM(config, vocab).apply
        self._apply = jax.jit(partial(apply, mutable=["intermediates"]))

    def chunks(self, params: Params, ids: NDArray[np.int32]) -> Iterator[States]:
        """Yield the states of a text [N] that is read from its beginning, CHUNK symbols at a time."""
        carry = model.initial_carry(self.config, 1)
        for begin in range(0, len(ids), CHUNK):
            x_T = ids[begin : begin + CHUNK]
            padded = np.pad(x_T, (0, CHUNK - len(x_T)))[None]  # one length is compiled
            reset = np.zeros(padded.shape, bool) if self.separator is None else padded == self.separator
            (carry, logits_BTV), captured = self._apply({"params": params}, carry, padded, reset)
            layers = [captured["intermediates"][f"layer_{i}"] for i in range(len(carry))]
            carries, gates = ([first_lane(layer[name][0], len(x_T)) for layer in layers] for name in ("carry", "gates"))
            yield States(x_T, carries, gates, np.asarray(logits_BTV)[0, : len(x_T)])


def first_lane(arrays_TB: dict[str, jax.Array], length: int) -> Arrays:
    """Return the first lane of arrays [T, B, ...], up to a length: [length, ...]."""
    return {name: np.asarray(array)[:length, 0] for name, array in arrays_TB.items()}
