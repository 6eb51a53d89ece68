"""The run folder: the paths of its files, and the description of its run."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnnlm.config import CHANGEABLE, Config
from rnnlm.data.corpora import Corpus, Origin
from rnnlm.data.locate import find_corpus
from rnnlm.data.splits import Dataset, Offsets, open_dataset
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.files import reading, write_atomic
from rnnlm.runs.provenance import provenance
from rnnlm.schema import describe_differences, differences

Row = dict[str, Any]
"""A JSON object."""
LOGS = (".log", ".out", ".err")
"""Endings of files into which a launcher, such as Slurm, writes what a run prints."""


class RunDir:
    """Spell the path of each file in a run folder."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.json"
        self.vocabulary = path / "vocab.json"
        self.run = path / "run.json"  # text, splits, parameter count, and the provenance of each start
        self.metrics = path / "metrics.jsonl"  # a line for each row of training and each validation
        self.events = path / "events"  # prefix of the files in which TensorBoard mirrors the metrics
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.damaged = path / "damaged"  # checkpoints that were found damaged
        self.result = path / "result.json"  # of the training, at its end
        self.results = path / "result.jsonl"  # a line for each evaluation
        self.dynamic = path / "dynamic"  # tuned settings and gradient statistics of dynamic evaluation
        self.lock = path / "lock"  # held by the process that trains

    def sample(self, step: int) -> Path:
        """Return the file of the samples of a step."""
        return self.samples / f"{step:09d}.txt"

    def tuned(self, digest: str, method: str, normalize: str) -> Path:
        """Return the file of the options of dynamic evaluation that were tuned for params."""
        return self.dynamic / f"tuned-{digest[:16]}-{method}-{normalize}.json"

    def statistics(self, digest: str, segment: int) -> Path:
        """Return the file of the gradient statistics of params for a segment length."""
        return self.dynamic / f"rms-{digest[:16]}-{segment}.npz"


@dataclass(frozen=True)
class RunInfo:
    """Describe the run of a folder.

    `corpus` is the text as it was when the run last started, `splits` are in symbols and `byte_splits` in bytes,
    `config_sha256` is the digest of config.json as canonical JSON, `started_in` is the working directory of the last
    start, if recorded, and `parent` is the run that it began with: {path, step, params, config}, the last two as
    digests.
    """

    folder: Path
    config: Config
    vocabulary: Vocabulary
    corpus: Corpus
    splits: Offsets
    byte_splits: Offsets
    parameters: int
    symbols_per_step: int
    config_sha256: str
    started_in: Path | None
    parent: Row | None = None

    def __repr__(self) -> str:
        return f"RunInfo({self.folder}, {self.corpus.name}, {self.parameters:,} parameters)"

    @property
    def sha256(self) -> str:
        """Return the digest of the run's text."""
        return self.corpus.sha256

    def open_dataset(self, data: str = "") -> Dataset:
        """Open the run's text, wherever it lies now, with the run's vocabulary and splits.

        `data` (a file, folder or glob) says where. Raises UserError if another text is there, or if none is found.
        """
        corpus, byte_splits = self.find_corpus(data), None
        if self.config.data.shuffle == "files":  # the text alone does not tell where its files end
            byte_splits = self.byte_splits
            edges = [0, *(edge for edges in byte_splits.values() for edge in edges), corpus.size]
            if edges != sorted(edges) or edges[0::2] != edges[1::2]:
                raise UserError(f"{self.folder}/run.json is damaged (its splits): restore it from a copy.")
        dataset = open_dataset(self.config.data, self.vocabulary, corpus, byte_splits)
        if byte_splits and dataset.splits != self.splits:
            raise UserError(f"{self.folder}/run.json is damaged (its splits): restore it from a copy.")
        return dataset

    def find_corpus(self, data: str = "") -> Corpus:
        """Find the run's text by its digest: at `data` if given, else where it was or near the run folder.

        Raises UserError if it is not found or is another text.
        """
        folder = self.folder.absolute()
        near = [*([self.started_in] if self.started_in else []), folder, *folder.parents]
        return find_corpus(self.config.data, self.corpus, near, data)


def find_run(folder: Path) -> RunInfo | None:
    """Load the run of a folder; None if it holds none yet, or one that was cut off before it saved anything.

    Raises UserError if files of the run are missing or damaged.
    """
    run_dir = RunDir(folder)
    checkpoints = run_dir.checkpoints
    begun = run_dir.run.exists() or (checkpoints.is_dir() and any(checkpoints.iterdir()))
    return load_run(folder) if begun else None


def load_run(folder: Path) -> RunInfo:
    """Load the run of a folder. Raises UserError if the folder has none, or if files of it are missing or damaged."""
    run_dir = RunDir(folder)
    config, vocabulary, run = map(read_json, (run_dir.config, run_dir.vocabulary, run_dir.run))
    try:
        start, saved = run["starts"][-1], Config.from_saved(config)
        return RunInfo(
            folder=folder,
            config=saved,
            vocabulary=Vocabulary.from_dict(vocabulary).with_separator(saved.data.separator),
            corpus=read_corpus(run["corpus"]),
            splits={name: (begin, end) for name, (begin, end) in run["split"]["symbols"].items()},
            byte_splits={name: (begin, end) for name, (begin, end) in run["split"]["bytes"].items()},
            parameters=run["parameters"],
            symbols_per_step=run["symbols_per_step"],
            config_sha256=json_digest(config),
            started_in=Path(start["cwd"]) if start.get("cwd") else None,
            parent=run.get("parent"),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{run_dir.vocabulary} or {run_dir.run.name} is damaged ({type(error).__name__}: {error}): "
            "restore it from a copy."
        ) from None


def read_corpus(values: Row) -> Corpus:
    """Make a Corpus of what run.json says. Raises KeyError or TypeError if it is damaged."""
    origin = Origin(**values["origin"]) if values.get("origin") else None
    return Corpus(values["name"], Path(values["path"]), values["bytes"], values["sha256"], origin)


def corpus_row(corpus: Corpus) -> Row:
    """Return what run.json says of a corpus."""
    row = {"name": corpus.name, "path": str(corpus.path), "bytes": corpus.size, "sha256": corpus.sha256}
    return row | ({"origin": asdict(corpus.origin)} if corpus.origin else {})


def refuse_other(folder: Path, saved: Config, given: Config) -> None:
    """Raise UserError if the saved config of a run and the given one differ in more than may change on resume.

    The text is known by its digest, so that its files may have other paths and be opened in another manner. How a run
    validates may not change where validations decide what it learns.
    """
    ignored = {*CHANGEABLE, "data.binary", *(("data.files",) if saved.data.files and given.data.files else ())}
    if saved.optim.decides_by_validations:
        ignored.remove("eval.")
    differing = [d for d in differences(saved.as_dict(), given.as_dict()) if not d[0].startswith(tuple(ignored))]
    if differing:
        raise UserError(
            f"{folder} holds a run of another config; give its own, or name a new folder. They differ in:"
            f"{describe_differences(differing)}"
        )


def refuse_foreign_files(folder: Path) -> None:
    """Raise UserError if a folder without a run holds files that neither a start of a run nor a launcher's log leaves.

    Hidden files do not count, and neither do those that a start leaves when it is killed before it saves anything.
    """
    run_dir = RunDir(folder)
    begun = {run_dir.lock.name}
    if run_dir.lock.exists():
        begun |= {run_dir.config.name, run_dir.vocabulary.name}
    foreign = sorted(
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name not in begun
        and not path.name.startswith((".", f"{run_dir.events.name}.out.tfevents."))
        and path.suffix not in LOGS
    )
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise UserError(
            f"--workdir={folder} holds no run, but other files ({', '.join(foreign[:3])}{more}): name a new or an "
            "empty folder."
        )


def write_run_info(folder: Path, config: Config, dataset: Dataset, run_info: Row, start: Row) -> None:
    """Write config.json, vocab.json and run.json, where a start is added to the earlier ones. Raises WriteError."""
    run_dir, vocabulary, corpus = RunDir(folder), dataset.text.vocabulary, dataset.corpus
    starts = read_json(run_dir.run)["starts"] if run_dir.run.exists() else []
    write_json(run_dir.vocabulary, vocabulary.as_dict())
    write_json(run_dir.config, config.as_saved())
    write_json(
        run_dir.run,
        {
            "corpus": corpus_row(corpus),
            "split": {"name": dataset.split_spec, "symbols": dataset.splits, "bytes": dataset.byte_splits},
            "vocabulary": {"kind": vocabulary.kind, "symbols": len(vocabulary)},
            **run_info,
            "starts": [*starts, provenance() | start],
        },
    )


def json_digest(value: Row) -> str:
    """Return the sha256 of a JSON object in canonical form: sorted keys, no spaces, ASCII."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_json(path: Path, value: Row) -> None:
    """Write a JSON object, whole or not at all. Raises WriteError."""
    write_atomic(path, [json.dumps(value, indent=1).encode(), b"\n"])


def read_json(path: Path) -> Row:
    """Read a JSON object of a run folder. Raises UserError if there is no such file or it holds none."""
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent}: name the folder of a training run.")
    if not path.exists():
        raise UserError(
            f"{path.parent} holds no whole run: it has no {path.name}. Name the folder of a training run, or "
            "restore the file from a copy."
        )
    try:
        with reading(path):
            value = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}): restore it from a copy of the run.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is no JSON object: restore it from a copy of the run.")
    return value
