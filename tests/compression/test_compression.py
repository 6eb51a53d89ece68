"""A file comes back bit for bit, in as many bits as the model says, or not at all."""

import json
import zlib
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlm.compression import codec, coder, container, escape, predictors
from rnnlm.compression.codec import Codec
from rnnlm.compression.container import CompressedFile
from rnnlm.config import Config
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.nn import model
from rnnlm.options import LSTMOptions, RHNOptions
from rnnlm.planning.published import import_config
from tests.conftest import ROOT, make_text, slow, tiny

BYTE = Vocabulary("byte", tuple(range(256)))
SEEN = Vocabulary("byte_seen", tuple(sorted(set(make_text(3000)))))
CHAR = Vocabulary("char", tuple(sorted(map(ord, "añb€ \n漢😀"))))
CONFIG = tiny(model__hidden=12).model
PREDICTORS = {
    v.kind: predictors.make_static_predictor(CONFIG, len(v), model.init_params(CONFIG, len(v), jax.random.PRNGKey(0)))
    for v in (BYTE, SEEN, CHAR)
}


def codec_of(vocabulary, predictor, header=None):
    predictor = predictor or PREDICTORS[vocabulary.kind]
    return Codec(header or {"fingerprint": {}}, vocabulary, lambda: predictor)


def pack(data, vocabulary=SEEN, lanes=2, predictor=None):
    coded = codec_of(vocabulary, predictor).compress(data, lanes, verify=False)
    return coded, coded.tally


def unpack(coded, vocabulary=SEEN, predictor=None):
    return codec_of(vocabulary, predictor).decompress(CompressedFile.from_bytes(coded, "x.rnz"), "x.rnz")


TEXTS = [
    b"",
    b"a",
    bytes(range(256)),
    b"\xff\xfe\x80 half \xe2\x82",
    "añb€\n漢😀 und Ä".encode(),
    b"\r\n" * 9,
    bytes(3000),
]


@pytest.mark.parametrize("vocabulary", [BYTE, SEEN, CHAR], ids=lambda v: v.kind)
@pytest.mark.parametrize("data", TEXTS, ids=range(len(TEXTS)))
def test_bytes_of_all_kinds_come_back(data, vocabulary):
    assert unpack(pack(data, vocabulary)[0], vocabulary) == data


@given(st.binary(max_size=80) | st.text("ab añ€\ud7ff", max_size=80).map(str.encode))
@settings(max_examples=200)
def test_escapes_lose_nothing(data):
    for vocabulary in (BYTE, SEEN, CHAR):
        ids, escapes = escape.split(vocabulary, data)
        assert ids.dtype == np.int32 and escape.join(vocabulary, ids, escapes) == data
        assert not escapes or vocabulary is not BYTE


@given(st.binary(min_size=1, max_size=60), st.integers(1, 9))
@settings(max_examples=25)
def test_any_bytes_in_any_lanes_come_back(data, lanes):
    assert unpack(pack(data, BYTE, lanes)[0], BYTE) == data


@pytest.mark.slow
def test_a_million_zeros_come_back():
    data, few = bytes(1_000_000), Vocabulary("byte_seen", (0, 10, 97))
    made = predictors.make_static_predictor(CONFIG, 3, model.init_params(CONFIG, 3, jax.random.PRNGKey(0)))
    coded, tally = pack(data, few, 500, made)
    assert unpack(coded, few, made) == data
    assert abs(len(coded) - tally.bits / 8) < 0.001 * len(coded) + 200


@pytest.mark.parametrize("lanes", [slow(1), 7])
def test_the_size_is_the_models_bits(lanes):
    data = make_text(20_000)
    coded, tally = pack(data, SEEN, lanes)
    assert tally.count == len(data)
    assert abs(len(coded) - tally.bits / 8) < 0.001 * len(coded) + 200
    # and these are what the model says when it reads the lanes one by one
    forward, length = model.apply(CONFIG, len(SEEN)), coder.lane_length(len(data), lanes)
    params = model.init_params(CONFIG, len(SEEN), jax.random.PRNGKey(0))
    ids, nats = SEEN.encode(data), 0.0
    for first in range(0, len(data), length):
        y = ids[first : first + length]
        x = np.concatenate([[SEEN.bos_id], y[:-1]])[None]
        _, logits = jax.jit(forward)(params, model.initial_carry(CONFIG, 1), x, np.zeros(x.shape, bool))
        nats -= np.asarray(jax.nn.log_softmax(logits[0]), np.float64)[np.arange(len(y)), y].sum()
    assert tally.nats == pytest.approx(nats, rel=1e-4)


@given(st.integers(2, 300), st.integers(1, 5), st.floats(0.01, 40.0), st.integers(0, 99))
def test_quantized_probabilities_are_integers_that_fill_the_range(vocab, lanes, scale, seed):
    logits = scale * np.random.default_rng(seed).normal(size=(lanes, vocab))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = (p / p.sum(1, keepdims=True)).astype(np.float32)
    n = coder.quantize(p) * coder.TOTAL
    assert (n == np.round(n)).all() and (n >= 1).all() and (n.sum(1) == coder.TOTAL).all()
    assert np.abs(n / coder.TOTAL - p).max() < 2 * vocab / coder.TOTAL + 1e-6


def test_damage_is_noticed():
    data = make_text(2000)
    coded, _ = pack(data)
    for at in [0, 5, 9, 20, 60, *range(100, len(coded), 97)]:
        bad = bytearray(coded)
        bad[at] ^= 16
        with pytest.raises(UserError, match="damaged|does not begin with"):
            unpack(bytes(bad))
    for size in (0, 3, 11, 40, len(coded) - 1):
        with pytest.raises(UserError, match="damaged|does not begin with"):
            unpack(coded[:size])


@pytest.mark.parametrize(
    "wrong",
    [
        {"lanes": 0},
        {"lanes": "2"},
        {"lanes": 10**9},
        {"symbols": 10**13, "bytes": 10**13},
        {"symbols": -1},
        {"side": 10**6},
        {"fingerprint": 3},
        {"online": {"model": {}}},
        {"dynamic": [1]},
    ],
    ids=str,
)
def test_a_header_that_no_encoder_writes_is_refused(wrong):
    """The checksum is no signature: it fits what anybody wrote."""
    good = CompressedFile.from_bytes(pack(make_text(500))[0], "x.rnz")
    header = good.header | wrong
    if "side" in wrong:  # which is told by its length
        bad = CompressedFile(header, good.escapes, good.words)
        with pytest.raises(ValueError):
            bad.check()
        return
    with pytest.raises(UserError, match=r"x\.rnz was not written by this version"):
        CompressedFile.from_bytes(CompressedFile(header, good.escapes, good.words).to_bytes(), "x.rnz")


def test_a_header_is_small():
    """So small that the whole stays within 200 bytes of the model's bits, online too."""
    online = codec.online_header(tiny(), 17, 10**8, 1)["online"] | {"seed": 12345}
    about = {"params": "0123456789ab", "step": 12345, "statistics": "ba9876543210", "optax": "0.2.9"}
    for prediction in ({}, {"dynamic": [40, 0.00032, 0.00123]}, {"online": online}):
        header = prediction | {"fingerprint": codec.fingerprint(**about)}
        assert len(codec_of(SEEN, None, header).compress(b"a")) < 200


def test_a_header_without_a_version_is_read_and_a_newer_one_is_refused(monkeypatch):
    data = make_text(500)
    coded = pack(data)[0]
    assert CompressedFile.from_bytes(coded, "x.rnz").header["version"] == 2
    without = json.dumps(
        {k: v for k, v in CompressedFile.from_bytes(coded, "x.rnz").header.items() if k != "version"} | {"side": 0}
    ).encode()
    body = zlib.compress(without)  # what deflate writes without a dictionary is read, too
    body = len(body).to_bytes(4, "little") + body + CompressedFile.from_bytes(coded, "x.rnz").words
    assert unpack(container.MAGIC + zlib.crc32(body).to_bytes(4, "little") + body) == data
    monkeypatch.setattr(container, "VERSION", 3)
    newer = pack(data)[0]
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"x\.rnz has a header of version 3, but this rnnlm reads versions up to 2"):
        unpack(newer)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__sizes": (3, 4), "model__dtype": "bfloat16"},
        {"model__dropout_mask": "window", "model__dropout_state_mask": "step"},
        {"optim__name": "sgd", "optim__momentum": 0.5},
    ],
)
def test_a_config_comes_back_from_a_header(changes):
    config = tiny(**changes)
    options = {"lstm": LSTMOptions(0.5, biases=2), "rhn": RHNOptions(recurrence_depth=3)}
    config = replace(config, model=replace(config.model, **options))
    header = json.loads(json.dumps(codec.online_header(config, 10, 1000, 2)))
    assert codec.read_sections(header["online"]) == (config.model, config.optim)
    # What means the same where it is missing takes no room, nor do options of other cells that are as by default.
    assert "matrix_lstm" not in header["online"]["model"]
    assert "biases" not in codec.online_header(tiny(), 10, 1000, 2)["online"]["model"]["lstm"]
    with pytest.raises(UserError, match="of version 99"):
        codec.read_sections(header["online"] | {"version": 99})


def test_a_vocabulary_of_one_symbol():
    few = Vocabulary("byte_seen", (97,))
    made = predictors.make_static_predictor(CONFIG, 1, model.init_params(CONFIG, 1, jax.random.PRNGKey(0)))
    for data in (b"aaaa", b"abca"):
        assert unpack(pack(data, few, 2, made)[0], few, made) == data


def test_a_model_that_diverged_is_no_coder():
    params = jax.tree.map(lambda p: p * np.nan, model.init_params(CONFIG, len(SEEN), jax.random.PRNGKey(0)))
    with pytest.raises(UserError, match="it has diverged"):
        pack(make_text(50), SEEN, 1, predictors.make_static_predictor(CONFIG, len(SEEN), params))


def test_other_params_do_not_decode():
    coded, _ = pack(make_text(2000))
    other = predictors.make_static_predictor(
        CONFIG, len(SEEN), model.init_params(CONFIG, len(SEEN), jax.random.PRNGKey(1))
    )
    with pytest.raises(UserError, match="x.rnz does not decode to the text that it was made from"):
        unpack(coded, predictor=other)
    with pytest.raises(UserError, match="params was 1, here 2"):
        codec.refuse_difference({"params": 1, "jax": 3}, {"params": 2, "jax": 3}, "x.rnz")


@pytest.mark.parametrize("name", ["lstm_compress", "nncp_2019"])
def test_published_compressors_return_a_text(name):
    """As they are but for their width, with gradients that are summed, clipped by value and of Adam without a mean."""
    config = Config.from_dict(import_config(ROOT, ROOT / f"configs/published/{name}.py").get_config().to_dict())
    config, data = replace(config, model=replace(config.model, hidden=10)), make_text(3000)
    coded = codec.compress_online(data, config, config.train.window, 4, verify=False)
    assert codec.decompress(CompressedFile.from_bytes(coded, "x.rnz"), None, "x.rnz") == data
    assert len(coded) < 0.9 * len(data)


@pytest.mark.parametrize("lanes", [slow(1), 4])
def test_a_network_that_learns_while_it_codes(lanes):
    config, data = tiny(model__hidden=24, optim__learning_rate=0.02), make_text(6000)
    made = predictors.make_online_predictor(config.model, config.optim, 256, 10, 0, 1 + len(data) // lanes // 10)
    coded, tally = pack(data, BYTE, lanes, made)
    assert unpack(coded, BYTE, made) == data
    assert len(coded) < 0.6 * len(data) and abs(len(coded) - tally.bits / 8) < 0.001 * len(coded) + 200
