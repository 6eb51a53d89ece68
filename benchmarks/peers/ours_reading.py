"""The program rnnlm itself, reading a text: evaluation, dynamic evaluation and compression of `symbols` symbols."""

from typing import Any

import numpy as np

from benchmarks.peers import Work
from benchmarks.peers.ours import config

LETTERS = range(32, 97)


def model_and_text(task: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Make a model and a text: -> (the model's config, its initial params, a text of random letters)."""
    from rnnlm.runtime import devices

    devices.tune_malloc()
    devices.configure(compile_cache=False)
    import jax

    from rnnlm.data.text import Text, TextSlice
    from rnnlm.data.vocabulary import Vocabulary
    from rnnlm.nn import model

    settings = config(task).model
    params = jax.device_get(model.init_params(settings, len(LETTERS), jax.random.PRNGKey(0)))
    letters = np.random.default_rng(0).integers(LETTERS.start, LETTERS.stop, task["symbols"]).astype(np.uint8)
    text = Text.from_text(Vocabulary("byte_seen", tuple(LETTERS)), letters.tobytes())
    return settings, params, TextSlice(text, 0, len(text))


def evaluate(task: dict[str, Any]) -> Work:
    """Prepare evaluation; one unit reads the text once."""
    settings, params, text_slice = model_and_text(task)
    from rnnlm.evaluation.evaluator import Evaluator
    from rnnlm.evaluation.protocol import EvalProtocol
    from rnnlm.runtime import parallel

    evaluator, device_params = Evaluator(settings, len(LETTERS)), parallel.replicate(params)
    protocol = EvalProtocol(lanes=task["lanes"], warmup=0)

    def work(n: int) -> None:
        for _ in range(n):
            evaluator(device_params, text_slice, protocol)

    return work, {}


def adapt(task: dict[str, Any]) -> Work:
    """Prepare dynamic evaluation in one stream; one unit reads the text once."""
    settings, params, text_slice = model_and_text(task)
    import jax

    from rnnlm.evaluation.dynamic import Adaptation, Adapter

    adapter, options = Adapter(settings, len(LETTERS)), Adaptation("rms", task["segment"], 1e-5, 1e-3)
    squares = jax.tree.map(np.ones_like, params)

    def work(n: int) -> None:
        for _ in range(n):
            adapter(params, squares, text_slice, options)

    return work, {}


def code(task: dict[str, Any]) -> Work:
    """Prepare compression; one unit compresses and decompresses the text."""
    settings, params, text_slice = model_and_text(task)
    from rnnlm.compression import predictors
    from rnnlm.compression.codec import Codec
    from rnnlm.compression.container import CompressedFile

    vocabulary, predictor = text_slice.text.vocabulary, predictors.make_static_predictor(settings, len(LETTERS), params)
    data, codec = vocabulary.decode(text_slice.text.units), Codec({"fingerprint": {}}, vocabulary, lambda: predictor)

    def work(n: int) -> None:
        for _ in range(n):
            file = CompressedFile.from_bytes(codec.compress(data, task["lanes"], verify=False), "text")
            assert codec.decompress(file, "text") == data

    return work, {}
