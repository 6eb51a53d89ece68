"""Code symbols in the bits that a model gives them: range coding with quantized probabilities, and decoding.

Encoder and decoder run the same compiled step on the same lanes, since probabilities that differ in the last bit decode
to something else.
"""

from collections.abc import Callable

import constriction
import numpy as np
from numpy.typing import NDArray

from rnnlm.compression.predictors import PredictorState
from rnnlm.errors import UserError
from rnnlm.evaluation.tally import Tally

TOTAL = 2**24
"""What the quantized probabilities of a step sum to, as integers."""
FAMILY = constriction.stream.model.Categorical(perfect=False)


def quantize(p_LV: NDArray[np.float32]) -> NDArray[np.float64]:
    """Round probabilities to multiples of 1 / TOTAL, at least one each, that sum to 1: exact in float64, [L, V].

    Raises UserError where they are not finite.
    """
    p = p_LV.astype(np.float64)
    if not np.isfinite(p).all():
        raise UserError("The model's probabilities are not finite: it has diverged. Take a smaller learning rate.")
    n = 1 + np.floor(p / p.sum(1, keepdims=True) * (TOTAL - p.shape[1]))
    n[np.arange(len(n)), n.argmax(1)] += TOTAL - n.sum(1)
    return n / TOTAL


def lane_length(symbols: int, lanes: int) -> int:
    """Return the number of symbols of a lane; the last lanes may have fewer."""
    return -(-symbols // lanes)


def default_lanes(symbols: int, online: bool = False) -> int:
    """Choose the number of lanes for a text: one per 20,000 symbols, at most 64, since each starts without context.

    A model that learns online gets one per 200,000, since more lanes make fewer updates.
    """
    return max(1, min(64, symbols // (200_000 if online else 20_000)))


def drive_coder(
    predictor: PredictorState,
    symbols: int,
    lanes: int,
    start: int,
    next_symbols: Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.int32]],
    progress: Callable[[float], None],
) -> None:
    """Go through a text in `lanes` contiguous pieces at once, each from the symbol `start`.

    `next_symbols` takes positions [N] and the quantized probabilities of their symbols [N, V] and returns the symbols.
    """
    length = lane_length(symbols, lanes)
    first = np.arange(lanes) * length
    x = np.full(lanes, start, np.int32)
    segment: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]] = []
    for t in range(length):
        p_LV = predictor.step(x)
        mask = first + t < symbols
        y = np.zeros(lanes, np.int32)
        if p_LV.shape[1] > 1:  # a vocabulary of one symbol needs no bits
            y[mask] = next_symbols((first + t)[mask], quantize(p_LV[mask]))
        if predictor.segment:
            segment.append((x, y, mask))
            if len(segment) == predictor.segment:
                predictor.learn(*(np.stack(arrays, 1) for arrays in zip(*segment, strict=True)))
                segment.clear()
        x = y
        if t % 256 == 0:
            progress(t / length)


def encode(
    predictor: PredictorState, ids: NDArray[np.int32], lanes: int, start: int, progress: Callable[[float], None]
) -> tuple[bytes, Tally]:
    """Code symbols [N]: -> (the coder's words, the cost of the symbols under the quantized probabilities)."""
    encoder = constriction.stream.queue.RangeEncoder()
    nats = 0.0

    def next_symbols(positions: NDArray[np.int64], p: NDArray[np.float64]) -> NDArray[np.int32]:
        nonlocal nats
        y = ids[positions]
        nats -= float(np.log(p[np.arange(len(y)), y]).sum())
        encoder.encode(y, FAMILY, p)
        return y

    drive_coder(predictor, len(ids), lanes, start, next_symbols, progress)
    return encoder.get_compressed().astype("<u4").tobytes(), Tally(nats, len(ids))


def decode(
    predictor: PredictorState, words: bytes, symbols: int, lanes: int, start: int, progress: Callable[[float], None]
) -> NDArray[np.int32]:
    """Decode symbols [N]. Raises ValueError or AssertionError where the words do not code that many."""
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))
    ids = np.zeros(symbols, np.int32)

    def next_symbols(positions: NDArray[np.int64], p: NDArray[np.float64]) -> NDArray[np.int32]:
        ids[positions] = y = decoder.decode(FAMILY, p)
        return y

    drive_coder(predictor, symbols, lanes, start, next_symbols, progress)
    return ids
