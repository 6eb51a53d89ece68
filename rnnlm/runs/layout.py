"""The run folder: what its run is (config.json, vocab.json, run.json), and that no other run gets into it."""

import fcntl
import json
from pathlib import Path
from typing import IO, Any, NamedTuple

from rnnlm.config import RUN_LENGTH, Config, differences
from rnnlm.data.splits import Dataset
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.files import make_folder, reading, write_atomic
from rnnlm.runs.provenance import provenance

Row = dict[str, Any]


class RunInfo(NamedTuple):
    """What a run folder says of its run. `sha256` is that of its text."""

    config: Config
    vocabulary: Vocabulary
    sha256: str


def find_run(folder: Path) -> RunInfo | None:
    """The run that a folder holds; None where it holds none yet, or one that was cut off before it saved anything."""
    checkpoints_dir = folder / "checkpoints"
    begun = (folder / "run.json").exists() or (checkpoints_dir.is_dir() and any(checkpoints_dir.iterdir()))
    return load_run(folder) if begun else None


def load_run(folder: Path) -> RunInfo:
    """The same where it must hold one, or a UserError."""
    config, vocabulary = read_json(folder / "config.json"), read_json(folder / "vocab.json")
    run = read_json(folder / "run.json")
    try:
        return RunInfo(Config.from_dict(config), Vocabulary.from_dict(vocabulary), run["corpus"]["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}/vocab.json or run.json is damaged ({type(error).__name__}: {error}): restore it from a copy."
        ) from None


def refuse_other(folder: Path, kept: Config, given: Config) -> None:
    """Raises UserError where a run's config and the one given differ in more than the run's length."""
    found = [d for d in differences(kept.as_dict(), given.as_dict()) if d[0] not in RUN_LENGTH]
    if found:
        lines = "".join(f"\n  {name}: {a!r} there, {b!r} here" for name, a, b in found)
        raise UserError(
            f"{folder} holds a run of another config; give its own, or name a new folder. They differ in:{lines}"
        )


def write_run_info(folder: Path, config: Config, dataset: Dataset, facts: Row, start: Row) -> None:
    """Write what the run is; run.json gets one more entry for this start of it."""
    vocabulary, corpus = dataset.text.vocabulary, dataset.corpus
    starts = read_json(folder / "run.json")["starts"] if (folder / "run.json").exists() else []
    write_json(folder / "vocab.json", vocabulary.as_dict())
    write_json(folder / "config.json", config.as_dict())
    write_json(
        folder / "run.json",
        {
            "corpus": {"name": corpus.name, "path": str(corpus.path), "bytes": corpus.size, "sha256": corpus.sha256},
            "split": {"name": dataset.split_spec, "symbols": dataset.splits, "bytes": dataset.byte_splits},
            "vocabulary": {"kind": vocabulary.kind, "symbols": len(vocabulary)},
            **facts,
            "starts": [*starts, provenance() | start],
        },
    )


def lock_run_dir(folder: Path) -> IO[bytes]:
    """Make the run folder and lock it while the file returned is open. Raises UserError where that cannot be."""
    try:
        make_folder(folder)
        lock = (folder / "lock").open("wb")
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--workdir={folder} is not a folder: name a new folder, or one that holds a run.") from None
    except OSError as error:
        raise UserError(f"--workdir={folder} cannot be written ({error.strerror}): name another folder.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UserError(f"Another process is training in {folder}: wait for it, or name another folder.") from None
    except OSError as error:
        lock.close()
        raise UserError(f"--workdir={folder} cannot be locked ({error.strerror}): name a folder elsewhere.") from None
    return lock


def write_json(path: Path, value: Any) -> None:
    """All of it or nothing."""
    write_atomic(path, [json.dumps(value, indent=1).encode(), b"\n"])


def read_json(path: Path) -> Row:
    """Raises UserError where there is no such file or it holds no JSON object."""
    if not path.exists():
        raise UserError(
            f"{path.parent} holds no whole run: it has no {path.name}. Name the folder of a training run, or "
            "restore the file from a copy."
        )
    try:
        with reading(path):
            found = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}): restore it from a copy of the run.") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is no JSON object: restore it from a copy of the run.")
    return found
