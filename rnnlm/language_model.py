"""Open a run folder, then score, sample, compress and step through texts with its model."""

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import overload

import jax
import numpy as np
from numpy.typing import NDArray

from rnnlm.cells import Params
from rnnlm.compression import codec
from rnnlm.compression.codec import Compressed, Progress, TrainedModel, ignore
from rnnlm.compression.container import CompressedFile
from rnnlm.data import windows
from rnnlm.data.corpora import read_file
from rnnlm.data.splits import Dataset
from rnnlm.data.text import Text, TextSlice
from rnnlm.data.vocabulary import to_bytes
from rnnlm.errors import UserError, WriteError
from rnnlm.evaluation.dynamic import TUNED_SYMBOLS, TUNING_START, Adaptation, Adapter, tune_adaptation
from rnnlm.evaluation.evaluator import Evaluator, score_mean, tune_temperature
from rnnlm.evaluation.protocol import EvalProtocol, Score
from rnnlm.generation.records import Records, RecordSampler
from rnnlm.generation.sampler import Sampler, SamplingOptions, join_text
from rnnlm.generation.states import StateReader, States
from rnnlm.generation.stepper import Stepper
from rnnlm.inside import horizon, trace
from rnnlm.runs import adaptation, checkpoint, layout, results
from rnnlm.runs.layout import RunInfo
from rnnlm.runs.params import load_params
from rnnlm.runs.trust import check_trust
from rnnlm.runtime import devices, parallel

TEMPERATURE_SYMBOLS = 500_000
"""Symbols of the validation split on which a temperature is tuned."""
TEMPERATURE_TRIALS = 12
"""Evaluations that this takes, about."""


class LanguageModel:
    """Use the model of a run folder at one checkpoint, as `rnnlm.load` opens it.

    `params` are what is evaluated: the moving average where the run keeps one. `carry` belongs to `step` and `reset`;
    nothing else reads or changes it.
    """

    def __init__(self, run: RunInfo, params: Params, train_step: int, data: str = ""):
        self.run, self.params, self.train_step, self.data = run, params, train_step, data
        self.workdir, self.config, self.vocabulary = run.folder, run.config, run.vocabulary
        self.carry = self._stepper.start()

    def __repr__(self) -> str:
        sizes, size = self.config.model.hidden_sizes, sum(np.size(leaf) for leaf in jax.tree.leaves(self.params))
        shape = f"{len(sizes)}x{sizes[0]}" if len(set(sizes)) == 1 else "-".join(map(str, sizes))
        return (
            f"LanguageModel({self.config.model.cell} {shape}, {size:,} parameters, {len(self.vocabulary)} symbols "
            f"({self.vocabulary.kind}), step {self.train_step:,}, {self.workdir})"
        )

    @cached_property
    def dataset(self) -> Dataset:
        """Open the run's text with its splits, once. Raises UserError where it is not found or has changed."""
        return self.run.open_dataset(self.data)

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.config.model, len(self.vocabulary))

    @cached_property
    def _adapter(self) -> Adapter:
        return Adapter(self.config.model, len(self.vocabulary))

    @cached_property
    def _stepper(self) -> Stepper:
        return Stepper(self.config.model, len(self.vocabulary), separator=self.vocabulary.separator)

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self._stepper)

    @cached_property
    def _record_sampler(self) -> RecordSampler:
        return RecordSampler(self._stepper, self._inference_params, self.vocabulary)

    @cached_property
    def _state_reader(self) -> StateReader:
        return StateReader(self.config.model, len(self.vocabulary), self.vocabulary.separator)

    @cached_property
    def _inference_params(self) -> Params:
        return self._stepper.inference_params(self.params)

    def score(
        self,
        split: str | None = None,
        *,
        text: str | bytes | None = None,
        path: str | Path | None = None,
        protocol: str | EvalProtocol | None = None,
        dynamic: str | Adaptation | None = None,
        symbols: tuple[int, int] = (0, 0),
        ensemble: Sequence["LanguageModel"] = (),
        progress: Progress = ignore,
        record: bool = False,
    ) -> Score:
        """Score exactly one of a split of the run's text, a text, and a file, which is unpacked if it is compressed.

        `symbols` (from, to) restricts it to some of its symbols, to=0 for its end. The protocol is that of the
        run's config unless given, as its name or an EvalProtocol. `dynamic` goes on learning from the text: by
        an Adaptation, or by "rms" or "sgd" as `tune_dynamic` has tuned it. An `ensemble` of other models gives
        each symbol the mean of their probabilities and this model's. `progress` receives the share that is done;
        `record` appends a split's score to the run's result.jsonl. Raises UserError for arguments that exclude
        each other, for symbols that the model does not know, where there are none, where the run's text is not
        found, has changed or has no such split, where the file cannot be read, where `dynamic` is not tuned, where
        models of an ensemble have other symbols, and where the cost is not finite.
        """
        refuse_all_but_one(split=split, text=text, path=path)
        if dynamic is not None and protocol is not None:
            raise UserError("Dynamic evaluation reads with the carry: leave out protocol.")
        if not isinstance(symbols, tuple) or len(symbols) != 2:
            raise UserError(f"symbols is {symbols!r}: expected (from, to), with to=0 for the end.")
        if record and split is None:
            raise UserError("Only scores of the run's own splits are recorded: leave out record.")
        if ensemble and (dynamic is not None or record):
            raise UserError(
                "An ensemble is static, and its score belongs to no single run: leave dynamic and record out."
            )
        steps = [(lm.workdir.resolve(), lm.train_step) for lm in (self, *ensemble)]
        for other in ensemble:
            if steps.count((other.workdir.resolve(), other.train_step)) > 1:
                raise UserError(
                    f"Step {other.train_step} of {other.workdir} is in the ensemble more than once: name it once."
                )
            if other.vocabulary != self.vocabulary:
                raise UserError(
                    f"{other.workdir} has other symbols ({len(other.vocabulary)}) than {self.workdir} "
                    f"({len(self.vocabulary)}): the runs of an ensemble share their vocabulary."
                )
        if not isinstance(protocol, str | EvalProtocol | None):
            raise UserError(f"protocol is {protocol!r}: expected its name or an EvalProtocol.")
        protocol = EvalProtocol.of_run(self.config, protocol) if isinstance(protocol, str) else protocol
        text_slice = self._text_slice(split, text, path)
        if dynamic is None:
            protocol = protocol or EvalProtocol.of_run(self.config)
            begin = time.perf_counter()
            members = [(lm._evaluator, parallel.replicate(lm.params)) for lm in (self, *ensemble)]
            score = score_mean(members, text_slice, protocol, symbols, progress=progress)
            assert score is not None  # nothing stops it
        else:
            options = self._adaptation(dynamic)
            rms = self._statistics(options.method, options.segment)
            begin = time.perf_counter()
            score = self._adapter(self.params, rms, text_slice, options, symbols, progress)
        if not math.isfinite(score.tally.nats):
            raise UserError("The cost is not finite: the model has diverged. Take a smaller rate, or an earlier step.")
        if record:
            self._record(score, time.perf_counter() - begin)
        return score

    def tune_temperature(
        self,
        protocol: EvalProtocol | None = None,
        ensemble: Sequence["LanguageModel"] = (),
        progress: Progress = ignore,
    ) -> float:
        """Return the temperature of the least bpc on the validation split, of up to TEMPERATURE_SYMBOLS symbols.

        Raises UserError where the run's text is not found or has no such split.
        """
        symbols = (0, min(TEMPERATURE_SYMBOLS, len(self.dataset.slice("valid"))))
        protocol = protocol or EvalProtocol.of_run(self.config)
        tried = itertools.count(1)

        def evaluate(temperature: float) -> float:
            tempered = replace(protocol, temperature=temperature)
            bpc = self.score("valid", protocol=tempered, symbols=symbols, ensemble=ensemble).tally.bpc
            progress(min(1.0, next(tried) / TEMPERATURE_TRIALS))
            return bpc

        return tune_temperature(evaluate)

    def _adaptation(self, dynamic: str | Adaptation) -> Adaptation:
        """Return the options of dynamic evaluation: as given, or as tuned for a method. Raises UserError."""
        if not isinstance(dynamic, str | Adaptation):
            raise UserError(f"dynamic is {dynamic!r}: expected 'rms', 'sgd' or an Adaptation.")
        return self.tuned(dynamic) if isinstance(dynamic, str) else dynamic

    def _text_slice(self, split: str | None, text: str | bytes | None, path: str | Path | None) -> TextSlice:
        if split is not None:
            return self.dataset.slice(split)
        if path is not None:
            text = read_file(Path(path), self.config.data.binary)
        assert text is not None
        whole = Text.from_text(self.vocabulary, text)
        return TextSlice(whole, 0, len(whole))

    def _statistics(self, method: str, segment: int) -> Params:
        """Load or collect the gradient statistics of rms; sgd takes only their shapes."""
        if method == "sgd":
            return self.params
        return adaptation.load_statistics(
            self.workdir, self._adapter, self.params, lambda: self.dataset.slice("train"), segment
        )

    def _record(self, score: Score, seconds: float) -> None:
        row = results.result_row(score, self.run, checkpoint.digest(self.params), self.train_step, seconds)
        try:
            results.append_result(self.workdir, row)
        except WriteError as error:
            warn(f"The score is not recorded: {error}")

    def bpc(self, text: str | bytes) -> float:
        """Return the bits per symbol of a text, read in one lane. Raises UserError for an empty or unknown text."""
        if not text:
            raise UserError("An empty text has no bits per character: give at least one symbol.")
        return self.score(text=text, protocol=replace(EvalProtocol.of_run(self.config), lanes=1)).tally.bpc

    @overload
    def sample(
        self,
        prompt: str = "",
        length: int = 200,
        temperature: float | Sequence[float] = 1.0,
        seed: int = 0,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> str: ...
    @overload
    def sample(
        self,
        prompt: str = "",
        length: int = 200,
        temperature: float | Sequence[float] = 1.0,
        seed: int = 0,
        top_k: int = 0,
        top_p: float = 1.0,
        *,
        num: int,
    ) -> list[str]: ...
    def sample(
        self,
        prompt: str = "",
        length: int = 200,
        temperature: float | Sequence[float] = 1.0,
        seed: int = 0,
        top_k: int = 0,
        top_p: float = 1.0,
        num: int | None = None,
    ) -> str | list[str]:
        """Return the prompt with `length` symbols drawn after it; where `num` is given, a list of that many texts.

        Of several temperatures each gives so many texts, first all of the first one; they need `num`.
        A character of several bytes that is cut at the end is left out. `SamplingOptions` explains the other arguments.
        Raises UserError for values that cannot be drawn with.
        """
        if num is None and not isinstance(temperature, int | float):
            raise UserError("Several temperatures give several texts: give num, the number of texts of each.")
        count = 1 if num is None else num
        chunks = list(self.stream(prompt, length, temperature, seed, top_k, top_p, count))
        texts = [join_text([to_bytes(prompt), *pieces]) for pieces in zip(*chunks, strict=True)]
        return texts[0] if num is None else texts

    def stream(
        self,
        prompt: str = "",
        length: int = 200,
        temperature: float | Sequence[float] = 1.0,
        seed: int = 0,
        top_k: int = 0,
        top_p: float = 1.0,
        num: int = 1,
    ) -> Iterator[list[bytes]]:
        """Yield `num` texts of each temperature piece by piece while they are drawn, without the prompt; as `sample`.

        Raises UserError, when it is called, for values that cannot be drawn with and for a prompt of unknown symbols.
        """
        check_size(length, num)
        temperature = float(temperature) if isinstance(temperature, int | float) else tuple(temperature)
        options = SamplingOptions(temperature, seed, top_k, top_p)
        chunks = self._sampler.chunks(self._inference_params, self.vocabulary.prompt(prompt), length, options, num)
        return ([self.vocabulary.decode(ids) for ids in chunk] for chunk in chunks)

    def records(
        self,
        num: int,
        novel: bool = False,
        prompt: str = "",
        length: int = 500,
        temperature: float = 1.0,
        seed: int = 0,
        top_k: int = 0,
        top_p: float = 1.0,
        progress: Progress = ignore,
    ) -> Records:
        """Draw `num` whole records that begin with the prompt, of a run whose config has data.separator; see `Records`.

        One that does not end within `length` symbols is cut there. `novel` leaves out those of the training split, of
        which at most 20 times `num` are drawn. Raises UserError for a run without records, where its text is not found,
        and as `stream`.
        """
        check_size(length, num)
        options = SamplingOptions(temperature, seed, top_k, top_p)
        train = self.dataset.slice("train").raw if novel else None
        return self._record_sampler.draw(num, prompt, length, options, train, progress)

    def step(self, symbol: int | str | bytes) -> NDArray[np.float32]:
        """Read one symbol, as its id or as text, and keep the carry: -> log probabilities of the next [V], in nats."""
        if not isinstance(symbol, int | np.integer | str | bytes):
            raise UserError(f"lm.step reads a symbol's id or text, but {symbol!r} is neither.")
        if isinstance(symbol, str | bytes):
            symbol = self.vocabulary.encode_one(symbol)
        if not 0 <= symbol < len(self.vocabulary):
            raise UserError(f"There is no symbol {symbol}: the vocabulary has {len(self.vocabulary)}, counted from 0.")
        self.carry, logits_LV = self._stepper.step(self._inference_params, self.carry, np.array([symbol], np.int32))
        return np.asarray(jax.nn.log_softmax(logits_LV[0]))

    def reset(self) -> None:
        """Forget what `step` has read."""
        self.carry = self._stepper.start()

    def states(self, text: str | bytes) -> Iterator[States]:
        """Yield the model's states after each symbol of a text, read from its beginning, in chunks; see `States`.

        Raises UserError for symbols that the model does not know.
        """
        return self._state_reader.chunks(self.params, self.vocabulary.encode(text))

    def trace(
        self,
        out: str | Path,
        split: str | None = None,
        *,
        text: str | bytes | None = None,
        path: str | Path | None = None,
        symbols: tuple[int, int] = (0, 0),
        layers: Sequence[int] | None = None,
        progress: Progress = ignore,
    ) -> dict[str, tuple[int, ...]]:
        """Write what happens in the model while it reads a split, a text or a file, as arrays: -> their shapes.

        It reads in one lane from a reset carry, as `score` does with EvalProtocol(lanes=1). `out` ends in .npz or
        .safetensors. It has `inputs` and `targets` [T], `codes` [V], the bytes or code points of the symbols, `logits`
        [T, V] of the targets and, after each input, the carry and gates of all layers or of `layers`, such as
        layer_0.h and layer_0.gate.f [T, H]. `symbols` is as in `score`. Raises UserError for arguments that exclude
        each other, another ending, layers or symbols that are not there, and as `score` does; and WriteError.
        """
        refuse_all_but_one(split=split, text=text, path=path)
        depth = len(self.config.model.hidden_sizes)
        chosen = range(depth) if layers is None else layers
        for i in chosen:
            if not 0 <= i < depth:
                raise UserError(f"There is no layer {i}: the model has {depth}, counted from 0.")
        part = self._text_slice(split, text, path).subrange(*symbols)
        x_T, y_T = windows.read(part.text, np.arange(part.begin, part.end))

        def chunks() -> Iterator[trace.Arrays]:
            read, codes = 0, {"codes": np.array(self.vocabulary.codes, np.int32)}
            for states in self._state_reader.chunks(self.params, x_T):
                targets = y_T[read : read + len(states.ids)]
                yield trace.name_arrays(states, chosen) | {"targets": targets} | codes
                read, codes = read + len(targets), {}
                progress(read / len(x_T))

        return trace.write_arrays(Path(out), chunks())

    def horizon(
        self,
        split: str = "valid",
        contexts: Sequence[int] | None = None,
        targets: int = 0,
        progress: Progress = ignore,
    ) -> list[horizon.Row]:
        """Score symbols of a split where the context of each is cut to the last k symbols: -> a row for each k.

        The same `targets` symbols, evenly over the split, are predicted under each of `contexts`: 2,000, or all where
        there are fewer, and horizon.CONTEXTS unless given. A row has `context`, `nats`, `count`, `bpc`, `worse_by`
        (than the longest context, in bpc) and its 95 % `interval`. Raises UserError for contexts below 1, and where the
        split is too short or not found.
        """
        chosen = horizon.CONTEXTS if contexts is None else tuple(contexts)
        if not chosen or min(chosen) < 1:
            raise UserError(f"contexts={list(chosen)} cannot be read: give numbers of symbols from 1 up.")
        params = parallel.replicate(self.params)
        part = self.dataset.slice(split)
        costs = horizon.cost_by_context(self._evaluator, params, part, chosen, targets, progress)
        return horizon.tabulate(costs)

    def tune_dynamic(
        self,
        method: str = "rms",
        normalize: str = "tensor",
        on_trial: Callable[[Adaptation, float], None] = lambda options, bpc: None,
    ) -> Adaptation:
        """Find settings of dynamic evaluation on the beginning of the validation split.

        The run folder keeps them for this checkpoint. `on_trial` receives the settings and bpc of each trial. Raises
        UserError for an unknown method, where the run's text is not found or has no validation split, and where no bpc
        is finite.
        """

        refuse_unknown(method)

        def bpc(options: Adaptation) -> float:
            rms = self._statistics(method, options.segment)
            return self._adapter(self.params, rms, self.dataset.slice("valid"), options, (0, TUNED_SYMBOLS)).tally.bpc

        best, options = tune_adaptation(bpc, method, normalize, on_trial)
        adaptation.save_tuned(self.workdir, self.params, best, options)
        return options

    def tuned(self, method: str = "rms", normalize: str = "tensor") -> Adaptation:
        """Load the settings that `tune_dynamic` has found for this checkpoint. Raises UserError where it found none."""
        refuse_unknown(method)
        options = adaptation.load_tuned(self.workdir, self.params, method, normalize)
        if options is None:
            raise UserError(
                f"{self.workdir} keeps no settings of dynamic {method} for step {self.train_step}: give "
                "--learning_rate and --decay (an Adaptation), or let "
                f"`rnnlm eval --workdir={self.workdir} --dynamic={method} --tune` (tune_dynamic) find them on the "
                "validation split."
            )
        return options

    @property
    def _trained(self) -> TrainedModel:
        statistics = partial(self._statistics, "rms")
        run = self.config.model, self.vocabulary, self.params, self.train_step
        return TrainedModel(*run, statistics, str(self.workdir))

    def compress(
        self,
        data: bytes,
        dynamic: str | Adaptation | None = None,
        lanes: int = 0,
        verify: bool = True,
        progress: Progress = ignore,
    ) -> Compressed:
        """Compress bytes in lanes that are coded side by side, 0 for as many as suit their number; see `Compressed`.

        `dynamic` adapts while coding: by an Adaptation of rms, or by "rms" as `tune_dynamic` has tuned it. `verify`
        decompresses the result once. Raises UserError where the bytes do not come back.
        """
        if not isinstance(data, bytes):
            raise UserError(f"compress takes bytes, not {type(data).__name__}: encode the text first.")
        if lanes < 0:
            raise UserError(f"lanes is {lanes}: expected 0 or more.")
        header = {}
        if dynamic is not None:
            header = codec.dynamic_header(self._adaptation(dynamic))
        return codec.open_codec(header, self._trained).compress(data, lanes, verify, progress)

    def decompress(self, data: bytes, name: str = "The compressed file", progress: Progress = ignore) -> bytes:
        """Decompress what `compress` of this model has made; `name` is what errors call it.

        Raises UserError where it is damaged, or was made with another model or on another kind of machine.
        """
        return codec.decompress(CompressedFile.from_bytes(data, name), self._trained, name, progress)


def check_size(length: int, num: int) -> None:
    """Raise UserError unless there is something to draw."""
    if length < 1 or num < 1:
        raise UserError(f"Cannot draw num={num} samples of length={length}: give at least one of each.")


def refuse_unknown(method: str) -> None:
    """Raise UserError unless a method of dynamic evaluation has that name."""
    if method not in TUNING_START:
        raise UserError(f"There is no dynamic method {method!r}: it is {' or '.join(TUNING_START)}.")


def warn(text: str) -> None:
    """Print a line to standard error."""
    sys.stderr.write(f"{text}\n")


def load(
    workdir: str | Path, step: str | int = "best", data: str | Path = "", trust_code: bool = False
) -> LanguageModel:
    """Load the model of a run folder at its "best" checkpoint by validation bpc, its "latest", or that of a step.

    `data` says where the run's text lies, if not where it was or near the folder. A cell of another module than
    rnnlm's is imported only with `trust_code`. Raises UserError where the folder holds no run or no sound checkpoint.
    """
    run = layout.load_run(Path(workdir))
    check_trust(run.folder, run.config.model, trust_code)
    devices.ensure_configured()
    loaded_step, params = load_params(run, step, warn)
    return LanguageModel(run, params, loaded_step, str(data))


def decompress(
    compressed: bytes,
    workdir: str | Path | None = None,
    *,
    name: str = "The compressed file",
    progress: Progress = ignore,
    trust_code: bool = False,
    data: str | Path = "",
) -> bytes:
    """Decompress a file of `LanguageModel.compress`, at the checkpoint that it names, or of `compress_online`.

    The latter needs no run folder. `name` is what errors call the file; `data` says where the run's text lies, which a
    file coded with `dynamic` may need. Raises UserError where the file is damaged, or was made with another model or on
    another kind of machine.
    """
    file = CompressedFile.from_bytes(compressed, name)
    devices.ensure_configured(threads=file.threads)
    trained = None
    if "online" not in file.header and workdir is not None:
        trained = load(workdir, encoder_step(file, Path(workdir), name), data, trust_code)._trained
    return codec.decompress(file, trained, name, progress, trust_code)


def refuse_all_but_one(**texts: object) -> None:
    """Raise UserError unless exactly one of the texts is given."""
    given = [name for name, value in texts.items() if value is not None]
    if len(given) != 1:
        *most, last = texts
        raise UserError(
            f"Exactly one of {', '.join(most)} and {last} is read, but {' and '.join(given) or 'none'} is given."
        )


def encoder_step(file: CompressedFile, workdir: Path, name: str) -> str | int:
    """Return the step whose params coded a file. Raises UserError where the run folder has no such checkpoint."""
    wanted: str | int = file.header["fingerprint"].get("step", "best")
    saved = checkpoint.steps(layout.RunDir(layout.load_run(workdir).folder).checkpoints)
    if wanted != "best" and wanted not in saved:
        raise UserError(
            f"{name} was coded with another model than {workdir} has: with the params "
            f"{file.header['fingerprint'].get('params')} of step {wanted}, and the folder has "
            f"{'the steps ' if saved else 'no step'}{', '.join(map(str, saved))}. Name the run folder that it was "
            "coded with, or a copy that still has this checkpoint."
        )
    return wanted
