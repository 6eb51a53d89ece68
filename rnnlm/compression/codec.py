"""Compress bytes with a trained model, or with one that learns online, and decompress them.

The header of a file tells how its symbols are predicted ("dynamic" or "online", else statically), so that
decompression takes no options; its fingerprint tells what the probabilities depend on besides the text.
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib import metadata
from typing import Any

import jax

from rnnlm import config as configs
from rnnlm.cells import Params
from rnnlm.compression import coder, escape, predictors
from rnnlm.compression.container import CompressedFile, Header
from rnnlm.compression.predictors import CompiledPredictor
from rnnlm.config import Config, ModelConfig, OptimConfig, is_foreign
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.evaluation.dynamic import Adaptation
from rnnlm.evaluation.tally import Tally
from rnnlm.nn import width
from rnnlm.options import CellOptions
from rnnlm.runs import checkpoint
from rnnlm.runs.trust import check_trust
from rnnlm.runtime import devices
from rnnlm.schema import compact

Progress = Callable[[float], None]
"""Receives the share that is done, from 0 to 1."""

NUMERICS = 1
"""The version of what rnnlm computes, to the last bit of a probability.

Increase it with every change to a cell, the scan, the products, an optimizer or the coder after which probabilities may
differ in the last bit. Files of another version are refused; those without one are of version 1.
"""

SEGMENT = 20
"""Symbols between two updates, unless given."""

BYTES = Vocabulary("byte", tuple(range(256)))


def ignore(share: float) -> None:
    """Show no progress."""


class Compressed(bytes):
    """Hold a compressed file as bytes, and how it was made.

    tally        nats of the coded symbols under the model's quantized probabilities, and their count
    lanes        stretches that were coded side by side
    escapes      bytes that the symbols which the vocabulary lacks take
    prediction   in a few words, how the symbols are predicted
    fingerprint  what the probabilities depend on besides the text
    """

    tally: Tally
    lanes: int
    escapes: int
    prediction: str
    fingerprint: Header

    def __new__(cls, file: CompressedFile, tally: Tally) -> "Compressed":
        compressed = super().__new__(cls, file.to_bytes())
        compressed.tally, compressed.lanes = tally, file.header["lanes"]
        compressed.escapes, compressed.prediction = len(file.escapes), describe(file.header)
        compressed.fingerprint = file.header["fingerprint"]
        return compressed

    def __repr__(self) -> str:
        return f"Compressed({len(self):,} bytes, {self.lanes} lanes, {self.prediction})"

    @property
    def needs(self) -> str:
        """Describe in a few words what the file can be decompressed with."""
        f = self.fingerprint
        kind = "CPU (any number of cores)" if f["device"] == "cpu" else f["device"]
        needs = [f"this kind of {kind}", f"jax {f['jax']}", f"constriction {f['constriction']}"]
        if "params" in f:
            needs.append(f"step {f['step']} of the run")
        if "statistics" in f:
            needs.append("its folder dynamic/")
        return ", ".join(needs)


@dataclass(frozen=True)
class TrainedModel:
    """Hold what static and dynamic prediction need of a run; `statistics` takes the length of a segment.

    `source` is what errors call the run.
    """

    config: ModelConfig
    vocabulary: Vocabulary
    params: Params
    step: int
    statistics: Callable[[int], Params]
    source: str


@dataclass(frozen=True)
class Codec:
    """Code texts with one predictor.

    `header` tells how it predicts; `make_predictor` is called once, when it is needed. `cell` is that of the config.
    """

    header: Header
    vocabulary: Vocabulary
    make_predictor: Callable[[], CompiledPredictor]
    cell: str = ""

    @cached_property
    def predictor(self) -> CompiledPredictor:
        """Build the predictor, whose compiled steps all texts share."""
        return self.make_predictor()

    def compress(self, data: bytes, lanes: int = 0, verify: bool = True, progress: Progress = ignore) -> Compressed:
        """Compress a text in lanes that are coded side by side, 0 for as many as suit its length.

        `verify` decompresses the result once. Raises UserError where the text does not come back.
        """
        ids, escapes = escape.split(self.vocabulary, data)
        lanes = min(lanes or coder.default_lanes(len(ids)), max(1, len(ids)))
        words, tally = coder.encode(self.predictor.start(lanes), ids, lanes, self.vocabulary.bos_id, progress)
        sizes = {"bytes": len(data), "crc": zlib.crc32(data), "symbols": len(ids), "lanes": lanes}
        compressed = Compressed(CompressedFile(self.header | sizes, escapes, words), tally)
        name = "What was coded"
        if verify and self.decompress(CompressedFile.from_bytes(compressed, name), name, progress) != data:
            raise UserError(
                "The text does not come back from what was coded, so nothing is kept: try --lanes=1 (lanes=1), and "
                "report it with the text and the versions of rnnlm and jax."
            )
        return compressed

    def decompress(self, file: CompressedFile, name: str, progress: Progress = ignore) -> bytes:
        """Decompress a file, called `name` in errors. Raises UserError where the text is not the one compressed."""
        h = file.header
        try:
            start = self.predictor.start(h["lanes"])
            ids = coder.decode(start, file.words, h["symbols"], h["lanes"], self.vocabulary.bos_id, progress)
            text = escape.join(self.vocabulary, ids, file.escapes)
        except (ValueError, AssertionError, zlib.error):
            text = b""
        if len(text) != h["bytes"] or zlib.crc32(text) != h["crc"]:
            raise UserError(
                f"{name} does not decode to the text that it was made from: the probabilities here are not those of "
                f"the encoder. {self._causes(file)}"
            )
        return text

    def _causes(self, file: CompressedFile) -> str:
        """Say what may have changed the probabilities although the fingerprint is that of the file."""
        threads = f" in a process with {file.threads} threads (rnnlm.configure)," if file.threads else ""
        cell = f" Or the code of its cell, {self.cell}, has been edited since." if is_foreign(self.cell) else ""
        return f"Decode it on the machine that it was made on,{threads} with the same versions.{cell}"


def dynamic_header(adaptation: Adaptation) -> Header:
    """Describe prediction with a trained model that adapts. Raises UserError where a header cannot describe it."""
    if (adaptation.method, adaptation.normalize, adaptation.streams) != ("rms", "tensor", 1):
        raise UserError(
            f"Compression adapts all lanes together by rms with the tensor mean, not by {adaptation}: give such an "
            "Adaptation."
        )
    return {"dynamic": [adaptation.segment, adaptation.learning_rate, adaptation.decay]}


def online_header(config: Config, segment: int, symbols: int, lanes: int) -> Header:
    """Describe prediction with a model that learns from the text alone. Raises UserError for a config that cannot."""
    dropped = [f"model.{name}" for name in configs.RATES if getattr(config.model, name)]
    if dropped or config.optim.ema or config.optim.decides_by_validations:
        raise UserError(
            "Learning online reads each symbol once and validates nothing: leave dropout, zoneout, weight_drop, ema, "
            "average and schedule=plateau out of its config."
        )
    updates = coder.lane_length(symbols, lanes) // segment
    unused = unused_options(config.model.cell)
    values = compact(config.model)
    model = {name: values[name] for name in values if getattr(config.model, name) != unused.get(name)}
    sections = {"model": model, "optim": compact(config.optim)}
    numbers = {"seed": config.seed, "segment": segment, "updates": updates, "version": configs.VERSION}
    return {"online": sections | numbers}


def unused_options(cell: str) -> dict[str, CellOptions]:
    """Return the default options of all cells but one, which take no room in a header."""
    options = vars(ModelConfig())
    return {name: value for name, value in options.items() if isinstance(value, CellOptions) and name != cell}


def read_sections(online: Header) -> tuple[ModelConfig, OptimConfig]:
    """Read the config sections of an online header, of this version or an older one. Raises UserError."""
    version = {"version": online.get("version", 1)}
    unused = {name: asdict(options) for name, options in unused_options(online["model"].get("cell", "")).items()}
    return (
        configs.build_saved(ModelConfig, unused | online["model"] | version),
        configs.build_saved(OptimConfig, online["optim"] | version),
    )


def describe(header: Header) -> str:
    """Describe in a few words how a header's symbols are predicted."""
    if "online" in header:
        return f"learning online, segment {header['online']['segment']}"
    if "dynamic" not in header:
        return "static"
    segment, rate, decay = header["dynamic"]
    return f"dynamic rms, segment {segment}, rate {rate:g}, decay {decay:g}"


def open_codec(header: Header, trained: TrainedModel | None = None) -> Codec:
    """Build the codec that a header describes; all but an online one needs the trained model."""
    if "online" in header:
        online = header["online"]
        sections = read_sections(online)
        numbers = online["segment"], online["seed"], online["updates"]
        make = partial(predictors.make_online_predictor, *sections, len(BYTES), *numbers)
        header = {"online": online, "fingerprint": fingerprint(optax=metadata.version("optax"))}
        return Codec(header, BYTES, make, sections[0].cell)
    assert trained is not None
    model = trained.config, len(trained.vocabulary), trained.params
    separator = trained.vocabulary.separator
    digests = {"params": checkpoint.digest(trained.params)[:12], "step": trained.step}
    if separator is not None:  # absent from the files of other runs
        digests["separator"] = separator
    if "dynamic" not in header:
        return Codec(
            {"fingerprint": fingerprint(**digests)},
            trained.vocabulary,
            partial(predictors.make_static_predictor, *model, separator),
            trained.config.cell,
        )
    adaptation = Adaptation("rms", *header["dynamic"])
    rms = trained.statistics(adaptation.segment)
    digests["statistics"] = checkpoint.digest(rms)[:12]
    make = partial(predictors.make_dynamic_predictor, *model, rms, adaptation, separator)
    header = {"dynamic": header["dynamic"], "fingerprint": fingerprint(**digests)}
    return Codec(header, trained.vocabulary, make, trained.config.cell)


def fingerprint(**digests: Any) -> Header:
    """Collect what the probabilities depend on besides the text: versions, hardware, flags, and the digests given."""
    return {
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "constriction": metadata.version("constriction"),
        "device": jax.devices()[0].device_kind,
        "cpu": devices.cpu_kind()[:8],
        "cores": devices.product_threads(),
        "flags": hashlib.sha256(os.environ.get("XLA_FLAGS", "").encode()).hexdigest()[:4],
        "quantizer": f"floor 2^{coder.TOTAL.bit_length() - 1}",
        "numerics": NUMERICS,
        **digests,
    }


def refuse_difference(theirs: Header, ours: Header, name: str, source: str = "the run") -> None:
    """Raise UserError where the fingerprint of a file differs from the one here, naming each difference.

    `source` is what the error calls the run whose params were tried.
    """
    theirs = {"numerics": 1} | theirs
    differ = [f"{key} was {theirs.get(key)}, here {ours.get(key)}" for key in ours if theirs.get(key) != ours[key]]
    if not differ:
        return
    if theirs.get("params") != ours.get("params"):
        raise UserError(
            f"{name} was coded with another model than that of {source} at step {theirs.get('step')}: params was "
            f"{theirs.get('params')}, here {ours.get('params')}. Name the run folder that it was coded with."
        )
    if len(differ) == 1 and "cores" in ours and theirs.get("cores") != ours["cores"]:
        raise UserError(
            f"{name} was coded with threads={theirs.get('cores')}, but jax has started with threads={ours['cores']} "
            f"here: restore it by `rnnlm decompress`, or call rnnlm.configure(threads={theirs.get('cores')}) before "
            "jax starts."
        )
    raise UserError(f"{name} cannot be decoded here, where probabilities may differ: {'; '.join(differ)}.")


def compress_online(
    data: bytes,
    config: Config,
    segment: int = SEGMENT,
    lanes: int = 0,
    verify: bool = True,
    progress: Progress = ignore,
) -> Compressed:
    """Compress a text with a model that learns from it alone, `segment` symbols at a time; else as `Codec.compress`."""
    lanes = min(lanes or coder.default_lanes(len(data), online=True), max(1, len(data)))
    # The header keeps the width alone, which older versions know, too.
    config = replace(config, model=replace(width.solve(config.model, len(BYTES)), params=0.0))
    codec = open_codec(online_header(config, segment, len(data), lanes))
    return codec.compress(data, lanes, verify, progress)


def decompress(
    file: CompressedFile,
    trained: TrainedModel | None,
    name: str,
    progress: Progress = ignore,
    trust_code: bool = False,
) -> bytes:
    """Decompress a file with the codec that its header asks for; `name` is what errors call it.

    Raises UserError where the file was coded with another model, on another kind of machine, or with that of a run
    folder where none is given, or asks for a cell that is not rnnlm's without `trust_code`.
    """
    if "online" in file.header:
        check_trust(name, read_sections(file.header["online"])[0], trust_code)
    elif trained is None:
        raise UserError(f"{name} was coded with the model of a run folder: name that folder (--workdir).")
    codec = open_codec(file.header, trained)
    ours = dict(codec.header["fingerprint"])
    if describe(file.header) == "static":
        del ours["cores"]  # its sums are short: the checksum tells whether the number of threads matters
    refuse_difference(file.header["fingerprint"], ours, name, trained.source if trained else "")
    return codec.decompress(file, name, progress)
