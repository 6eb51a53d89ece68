"""A text in the bits that a model says it has: range coding with the model's probabilities, and the way back.

A file holds b"RNZ1", a CRC-32 of all that follows, the length of the header (both 4 bytes, little-endian), the header
(deflated JSON), the side (`escape`), and the range coder's 32-bit words. Encoder and decoder run the same compiled step
on the same lanes, since probabilities that differ in the last bit decode to something else; what could change them is
in the header's fingerprint.
"""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import constriction
import jax
import numpy as np
from numpy.typing import NDArray

from rnnlm.compression import escape
from rnnlm.compression.predictors import PredictorState
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.evaluation.tally import Tally

MAGIC = b"RNZ1"
TOTAL = 2**24
MOST_HEADER = 2**20
WORDS_OF_HEADERS = b"""{"bytes":0,"crc":0,"dynamic":[20,0.0001,0.001],"fingerprint":{"constriction":"0.5.0",\
"cores":1,"cpu":"","device":"cpu","flags":"","jax":"0.10.2","jaxlib":"0.10.2","optax":"0.2.8","params":"",\
"quantizer":"floor 2^24","statistics":"","step":1000},"lanes":1,"online":{"model":{"cell":"lstm","dropout":0.0,\
"dropout_input":0.0,"dropout_mask":"step","dropout_output":0.0,"dtype":"float32","embedding":0,"forget_bias":1.0,\
"hidden":256,"layers":1,"sizes":[],"tied":false},"optim":{"b1":0.9,"b2":0.999,"clip_norm":1.0,"clip_value":0.0,\
"decay":0.97,"decay_after":10.0,"ema":0.0,"eps":1e-08,"final":0.1,"learning_rate":0.002,"momentum":0.9,"name":"adam",\
"schedule":"constant","warmup":0,"weight_decay":0.01},"seed":0,"segment":20,"updates":1},"side":0,"symbols":0}"""
"""What deflate may refer back to, so that a header's usual words take no room (RFC 1950's preset dictionary)."""
FAMILY = constriction.stream.model.Categorical(perfect=False)


def quantized(p_LV: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities as integers that sum to 2^24, each 1 at least, over 2^24: exact in float64.

    Raises UserError where they are no numbers.
    """
    p = p_LV.astype(np.float64)
    if not np.isfinite(p).all():
        raise UserError("The model's probabilities are no numbers any more: it has diverged. Take a smaller rate.")
    n = 1 + np.floor(p / p.sum(1, keepdims=True) * (TOTAL - p.shape[1]))
    n[np.arange(len(n)), n.argmax(1)] += TOTAL - n.sum(1)
    return n / TOTAL


def lane_length(symbols: int, lanes: int) -> int:
    return -(-symbols // lanes)


def drive_coder(
    predictor: PredictorState,
    symbols: int,
    lanes: int,
    start: int,
    next_symbols: Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.int32]],
    progress: Callable[[float], None],
) -> None:
    """Read a text in `lanes` parts side by side.

    `next_symbols` takes the next positions and the quantized probabilities of their symbols: -> the symbols.
    """
    length = lane_length(symbols, lanes)
    first = np.arange(lanes) * length
    x = np.full(lanes, start, np.int32)
    seen: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]] = []
    for t in range(length):
        p_LV = predictor.step(x)
        live = first + t < symbols
        y = np.zeros(lanes, np.int32)
        if p_LV.shape[1] > 1:  # else there is nothing to tell
            y[live] = next_symbols((first + t)[live], quantized(p_LV[live]))
        if predictor.segment:
            seen.append((x, y, live))
            if len(seen) == predictor.segment:
                predictor.learn(*(np.stack(part, 1) for part in zip(*seen, strict=True)))
                seen.clear()
        x = y
        if t % 256 == 0:
            progress(t / length)


def encode(
    predictor: PredictorState, ids: NDArray[np.int32], lanes: int, start: int, progress: Callable[[float], None]
) -> tuple[bytes, Tally]:
    """-> (the coder's words, what the symbols cost by the model's own quantized probabilities)."""
    encoder = constriction.stream.queue.RangeEncoder()
    nats = 0.0

    def next_symbols(at: NDArray[np.int64], p: NDArray[np.float64]) -> NDArray[np.int32]:
        nonlocal nats
        y = ids[at]
        nats -= float(np.log(p[np.arange(len(y)), y]).sum())
        encoder.encode(y, FAMILY, p)
        return y

    drive_coder(predictor, len(ids), lanes, start, next_symbols, progress)
    return encoder.get_compressed().astype("<u4").tobytes(), Tally(nats, len(ids))


def decode(
    predictor: PredictorState, words: bytes, symbols: int, lanes: int, start: int, progress: Callable[[float], None]
) -> NDArray[np.int32]:
    """The symbols [N]. Raises ValueError, AssertionError where the words are no code of them."""
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))
    ids = np.zeros(symbols, np.int32)

    def next_symbols(at: NDArray[np.int64], p: NDArray[np.float64]) -> NDArray[np.int32]:
        ids[at] = y = decoder.decode(FAMILY, p)
        return y

    drive_coder(predictor, symbols, lanes, start, next_symbols, progress)
    return ids


@dataclass(frozen=True)
class CompressedFile:
    """What a file holds."""

    header: dict[str, Any]
    side: bytes
    words: bytes

    def to_bytes(self) -> bytes:
        text = json.dumps(self.header | {"side": len(self.side)}, sort_keys=True, separators=(",", ":")).encode()
        deflate = zlib.compressobj(9, zdict=WORDS_OF_HEADERS)
        body = deflate.compress(text) + deflate.flush()
        body = len(body).to_bytes(4, "little") + body + self.side + self.words
        return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "CompressedFile":
        """Raises UserError for what is no such file, or a damaged one."""
        if data[: len(MAGIC)] != MAGIC:
            raise UserError(f"{name} is no file of `rnnlm compress`: it does not begin with {MAGIC.decode()}.")
        crc, size = (int.from_bytes(data[i : i + 4], "little") for i in (4, 8))
        if len(data) < 12 + size or zlib.crc32(data[8:]) != crc:
            raise UserError(f"{name} is damaged: its checksum does not match. Get another copy.")
        try:
            inflate = zlib.decompressobj(zdict=WORDS_OF_HEADERS)
            header = json.loads(inflate.decompress(data[12 : 12 + size], MOST_HEADER))
            body = data[12 + size :]
            packed = cls(header, body[: header["side"]], body[header["side"] :])
            packed.check()
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise UserError(
                f"{name} was not written by this version of `rnnlm compress` ({type(error).__name__}: {error})."
            ) from None
        return packed

    def check(self) -> None:
        """Raises KeyError, TypeError or ValueError for what no encoder writes, before anything is made of it."""
        h = self.header
        size, symbols, lanes, side = (h[name] for name in ("bytes", "symbols", "lanes", "side"))
        if (
            any(type(n) is not int for n in (size, symbols, lanes, side, h["crc"]))
            or type(h["fingerprint"]) is not dict
        ):
            raise TypeError("the header's entries are of other kinds")
        # A symbol has a bit's 2^-24th part at least.
        most = 2 * TOTAL * (8 * len(self.words) + 64)
        if not (0 <= symbols <= min(size, most) and 1 <= lanes <= max(1, symbols) and side == len(self.side)):
            raise ValueError(f"{symbols} symbols in {lanes} lanes for {size} bytes in {len(self.words)}")
        told = h.get("online", {}), h.get("dynamic", [])
        if told[0].keys() not in (set(), {"model", "optim", "seed", "segment", "updates"}) or len(told[1]) not in (
            0,
            3,
        ):
            raise ValueError("the way in which it learns is not known")
        if len(self.words) % 4:
            raise ValueError("the coder's words are cut off")


def default_lanes(symbols: int, learning: bool = False) -> int:
    """A lane for each 20,000 symbols, 64 at most, since a lane begins without a past; where all that is known is
    learned from the text, for each 200,000, since more lanes make fewer updates."""
    return max(1, min(64, symbols // (200_000 if learning else 20_000)))


def compress(
    data: bytes,
    vocabulary: Vocabulary,
    fresh: Callable[[int], PredictorState],
    lanes: int,
    header: dict[str, Any],
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[CompressedFile, Tally]:
    """Pack a text. `fresh` makes the predictor anew for a number of lanes; 0 lanes are as many as suit the text."""
    ids, side = escape.split(vocabulary, data)
    lanes = min(lanes or default_lanes(len(ids)), max(1, len(ids)))
    words, tally = encode(fresh(lanes), ids, lanes, vocabulary.bos_id, progress)
    header = header | {"bytes": len(data), "crc": zlib.crc32(data), "symbols": len(ids), "lanes": lanes}
    return CompressedFile(header, side, words), tally


def decompress(
    packed: CompressedFile,
    vocabulary: Vocabulary,
    fresh: Callable[[int], PredictorState],
    name: str,
    progress: Callable[[float], None] = lambda share: None,
) -> bytes:
    """The text again. Raises UserError where it is not the one that was packed."""
    h = packed.header
    try:
        ids = decode(fresh(h["lanes"]), packed.words, h["symbols"], h["lanes"], vocabulary.bos_id, progress)
        data = escape.join(vocabulary, ids, packed.side)
    except (ValueError, AssertionError, zlib.error):
        data = b""
    if len(data) != h["bytes"] or zlib.crc32(data) != h["crc"]:
        raise UserError(
            f"{name} does not decode to the text that it was made from: the probabilities here are not those of the "
            "encoder. Decode it on the machine, with the versions and the params that it was made with."
        )
    return data


def fingerprint(**more: Any) -> dict[str, Any]:
    """What the probabilities depend on, besides the text before."""
    from rnnlm.runtime import devices

    return {
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "constriction": metadata.version("constriction"),
        "device": jax.devices()[0].device_kind,
        "cpu": devices.cpu_kind()[:8],
        "cores": len(devices.cores()),  # how many share out a large product
        "flags": hashlib.sha256(os.environ.get("XLA_FLAGS", "").encode()).hexdigest()[:4],
        "quantizer": f"floor 2^{round(math.log2(TOTAL))}",
        **more,
    }


def refuse_other(theirs: dict[str, Any], ours: dict[str, Any], name: str) -> None:
    """Raises UserError that says in what the fingerprints differ."""
    differ = [f"{key} was {theirs.get(key)}, here {ours.get(key)}" for key in ours if theirs.get(key) != ours[key]]
    if differ:
        raise UserError(f"{name} cannot be decoded here, where probabilities may differ: {'; '.join(differ)}.")
