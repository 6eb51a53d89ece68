"""The run folder: what its run is (config.json, vocab.json, run.json), and that no other run gets into it."""

import contextlib
import fcntl
import json
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple

from rnnlm.config import RUN_LENGTH, Config, differences
from rnnlm.dataset import Dataset
from rnnlm.errors import UserError
from rnnlm.files import append_line, make_folder, reading, store
from rnnlm.symbols import Vocabulary

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "rnnlm")
NOTED = {
    "split",
    "protocol",
    "symbols",
    "kind",
    "lanes",
    "warmup",
    "step",
    "corpus",
    "count",
    "bpc",
    "stderr",
    "blocks",
}
Row = dict[str, Any]


class Kept(NamedTuple):
    """What a run folder says of its run. `sha256` is that of its text."""

    config: Config
    vocabulary: Vocabulary
    sha256: str


def known(folder: Path) -> Kept | None:
    """The run that a folder holds; None where it holds none yet, or one that was cut off before it saved anything."""
    saves = folder / "checkpoints"
    begun = (folder / "run.json").exists() or (saves.is_dir() and any(saves.iterdir()))
    return read(folder) if begun else None


def read(folder: Path) -> Kept:
    """The same where it must hold one, or a UserError."""
    config, vocabulary = read_json(folder / "config.json"), read_json(folder / "vocab.json")
    run = read_json(folder / "run.json")
    try:
        return Kept(Config.of(config), Vocabulary.of(vocabulary), run["corpus"]["sha256"])
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


def describe(folder: Path, config: Config, dataset: Dataset, facts: Row, start: Row) -> None:
    """Write what the run is; run.json gets one more entry for this start of it."""
    vocabulary, corpus = dataset.text.vocabulary, dataset.corpus
    starts = read_json(folder / "run.json")["starts"] if (folder / "run.json").exists() else []
    write_json(folder / "vocab.json", vocabulary.as_dict())
    write_json(folder / "config.json", config.as_dict())
    write_json(
        folder / "run.json",
        {
            "corpus": {"name": corpus.name, "path": str(corpus.path), "bytes": corpus.size, "sha256": corpus.sha256},
            "split": {"name": dataset.split, "symbols": dataset.parts, "bytes": dataset.byte_parts},
            "vocabulary": {"kind": vocabulary.kind, "symbols": len(vocabulary)},
            **facts,
            "starts": [*starts, provenance() | start],
        },
    )


def prepare(folder: Path) -> IO[bytes]:
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
    store(path, [json.dumps(value, indent=1).encode(), b"\n"])


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


def note(folder: Path, found: Row) -> None:
    """Append what was found out about a run's model to its result.jsonl. Raises WriteError."""
    append_line(folder / "result.jsonl", json.dumps(found).encode())


def notes(folder: Path) -> list[Row]:
    """The lines of result.jsonl; one that was cut off, or tells too little, does not count."""
    path = folder / "result.jsonl"
    rows = []
    with reading(path):
        lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and row.keys() >= NOTED]


def provenance() -> Row:
    """Where, when and from what a run was started."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "argv": sys.argv,
        "git": git(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "machine": platform.platform(),
    }


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # rnnlm itself, run from its source tree
        return None


def git() -> Row | None:
    """The commit of rnnlm's own source tree and what differs from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20, errors="replace"
        ).stdout

    try:
        if Path(ask("rev-parse", "--show-toplevel").strip()) != root:
            return None
        return {
            "sha": ask("rev-parse", "HEAD").strip(),
            "status": ask("status", "--short"),
            "diff": ask("diff", "HEAD"),
        }
    except (OSError, subprocess.SubprocessError):
        return None
