"""A trained model in hand: its run folder opened for scoring, sampling and going through a text step by step."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from rnnlm.config import Config
from rnnlm.data.text import Text, TextSlice
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.evaluation.evaluator import EvalProtocol, Evaluator, Score
from rnnlm.generation.sampler import Sampler, SamplingOptions, to_text
from rnnlm.generation.stepper import Stepper
from rnnlm.nn import model
from rnnlm.runs import checkpoint, layout, logger, restore
from rnnlm.runtime import parallel


class LanguageModel:
    """`lm.bpc(text)`, `lm.sample(prime, length)`, and `lm.step(symbol)`, which keeps the carry."""

    def __init__(self, config: Config, vocabulary: Vocabulary, params: Any, step: int):
        self.config, self.vocabulary, self.params, self.train_step = config, vocabulary, params, step
        self._evaluator = Evaluator(config.model, len(vocabulary))
        self._stepper = Stepper(config.model, len(vocabulary))
        self._sampler = Sampler(self._stepper)
        self._folded = self._stepper.inference_params(params)
        self.carry = self._stepper.start()

    def score(self, text_slice: TextSlice, protocol: EvalProtocol, **options: Any) -> Score:
        """Score a slice of a text under a protocol; `options` are those of `Evaluator`."""
        found = self._evaluator(parallel.replicate(self.params), text_slice, protocol, **options)
        assert found is not None  # nothing told it to stop
        return found

    def bpc(self, text: str | bytes) -> float:
        """Bits per symbol of a text read from its first to its last with one carry. Raises UserError for an empty text
        and for symbols that the model does not know."""
        if not text:
            raise UserError("An empty text has no bits per character: give at least one symbol.")
        whole = Text.from_text(self.vocabulary, text)
        return self.score(TextSlice(whole, 0, len(whole)), EvalProtocol(lanes=1)).tally.bpc

    def sample(
        self,
        prime: str = "",
        length: int = 200,
        temperature: float = 1.0,
        seed: int = 0,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> str:
        """The prompt, and `length` symbols drawn after it, as `SamplingOptions` says."""
        options = SamplingOptions(temperature, seed, top_k, top_p)
        return prime + to_text(self.vocabulary, self.stream(prime, length, options, 1))[0]

    def stream(self, prime: str, length: int, options: SamplingOptions, streams: int) -> Iterator[NDArray[np.int32]]:
        """The same for several samples at once, as symbols [streams, some], while they are drawn."""
        if length < 1:
            raise UserError(f"Cannot draw length={length} symbols: give at least one.")
        return self._sampler.chunks(self._folded, self.vocabulary.prompt(prime), length, options, streams)

    def step(self, symbol: int | str | bytes) -> NDArray[np.float32]:
        """Read one symbol, by number or as text, keep the carry: -> log probabilities of the next one [V], in nats."""
        if not isinstance(symbol, int | np.integer | str | bytes):
            raise UserError(f"lm.step reads a symbol's number or text, but {symbol!r} is neither.")
        if isinstance(symbol, str | bytes):
            symbol = self.vocabulary.encode_one(symbol)
        if not 0 <= symbol < len(self.vocabulary):
            raise UserError(f"There is no symbol {symbol}: the vocabulary has {len(self.vocabulary)}, counted from 0.")
        self.carry, logits_KV = self._stepper.step(self._folded, self.carry, np.array([symbol], np.int32))
        return np.asarray(jax.nn.log_softmax(logits_KV[0]))

    def reset(self) -> None:
        """Forget what `step` has read."""
        self.carry = self._stepper.start()


def warn(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def load(workdir: str | Path, step: str | int = "best") -> LanguageModel:
    """The model of a run folder at its "best" checkpoint by validation bpc, its "latest", or that of a given step.

    Where the config keeps a moving average of the params, that is the model. Raises UserError where the folder holds
    no run or no sound checkpoint.
    """
    workdir = Path(workdir)
    config, vocabulary, _ = layout.load_run(workdir)
    checkpoints_dir = workdir / "checkpoints"
    have = checkpoint.steps(checkpoints_dir)
    wanted = have[::-1]
    if step == "best":
        rows, _ = logger.rows_until(workdir / "metrics.jsonl", max(have, default=0))
        best = checkpoint.best_of(have, logger.scores_of(rows))
        wanted = wanted if best is None else [best, *(s for s in wanted if s != best)]
    elif step != "latest":
        if not str(step).isdecimal() or int(step) not in have:
            raise UserError(
                f"{checkpoints_dir} has no checkpoint {step}: it has best, latest and {', '.join(map(str, have))}."
            )
        wanted = [int(step)]
    found, tree = restore.load(checkpoints_dir, wanted, warn)
    template = jax.eval_shape(
        lambda key: model.init_params(config.model, len(vocabulary), key), jax.ShapeDtypeStruct((2,), np.uint32)
    )
    name = "average" if config.optim.ema else "params"
    params = restore.restore_into({name: template}, tree, str(checkpoints_dir / str(found)))[name]
    return LanguageModel(config, vocabulary, params, found)
