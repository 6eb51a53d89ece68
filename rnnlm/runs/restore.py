"""Read checkpoints back: the newest sound one, and none is called damaged that only cannot be read just now."""

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from rnnlm.errors import UserError
from rnnlm.files import make_folder, raise_error, writing
from rnnlm.nn.leaves import Leaves, from_version_1, name_of
from rnnlm.runs.checkpoint import digests, short_reason, steps
from rnnlm.runs.layout import RunDir
from rnnlm.runtime import parallel
from rnnlm.runtime.quiet import silence_orbax


class DamagedError(Exception):
    """A checkpoint is proven damaged: a file of it is missing, ends early, or does not have its digest."""


def load(
    folder: Path, wanted: Sequence[int], report: Callable[[str], None], every_process: bool = False
) -> tuple[int, Leaves]:
    """Load the first of the wanted steps that is sound: -> (step, leaves by name in the present layout).

    Damaged ones are reported and passed over.

    With `every_process` all processes of the run call this with the same steps, and get the same one. Raises UserError
    where none is sound, where one cannot be read but is not proven damaged, or where processes find different things.
    """
    if not wanted:
        raise UserError(f"There is no checkpoint in {folder}: train first (rnnlm train --workdir=...).")
    for i, step in enumerate(wanted):
        path, tree, fault = folder / str(step), None, ""
        found: dict[str, str] = {}
        with parallel.sync_errors() if every_process else contextlib.nullcontext():
            try:
                tree, found = read(path)
            except DamagedError as error:
                fault = f"is damaged ({error})" if path.exists() else "is gone, as where a training deletes it"
        if every_process and not parallel.same_everywhere(sorted(found.items())):
            raise UserError(
                f"The processes of this run do not all find the same in the checkpoint {path}: their machines see "
                "different disks, or one of them reads it wrong. It stays where it is."
            )
        if tree is not None:
            return step, from_version_1(tree)
        then = f"using step {wanted[i + 1]} in its place" if i + 1 < len(wanted) else "none is left"
        report(f"The checkpoint {path} {fault}; {then}.")
    raise UserError(
        f"No checkpoint in {folder} is sound: restore the folder from a copy, or train anew elsewhere; or where a "
        "training has deleted them meanwhile, run the command again."
    )


def read(path: Path) -> tuple[Leaves, dict[str, str]]:
    """Read a step's folder: -> (its leaves, their digests).

    Raises DamagedError where two reads in a row prove damage, and UserError where the folder cannot be read: out of
    memory, too many open files, a disk that does not answer.
    """
    with silence_orbax():
        with contextlib.suppress(DamagedError):
            return read_once(path)
        return read_once(path)


def read_once(path: Path) -> tuple[Leaves, dict[str, str]]:
    """Read a step's folder: -> (its leaves, their digests). Raises DamagedError or UserError, as `read` does."""
    try:
        restored = read_by_orbax(path)
        tree = {name: np.asarray(leaf) for name, leaf in restored["state"].items()}
        found, expected = digests(tree), dict(restored["meta"])
    except Exception as error:  # whatever orbax, tensorstore and json raise
        reason = unreadable(path, error)
        if not reason:
            raise DamagedError(damage_of(error)) from error
        raise UserError(
            f"The checkpoint {path} could not be read ({reason}). That does not prove it damaged, so it stays where it "
            "is: run the same command again once it can be read."
        ) from error
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        raise DamagedError(f"{wrong[0]} differs from its digest")
    return tree, found


def damage_of(error: Exception) -> str:
    """Say what an error that shows damage found."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | KeyError) or "NOT_FOUND:" in str(error):
        return "a file of it is missing"
    if "OUT_OF_RANGE:" in str(error):
        return "a file of it ends early"
    return f"what it holds is garbled: {short_reason(error)}"


def read_by_orbax(path: Path) -> Any:
    """Read a step's folder through orbax, in this process alone, whatever the others do."""
    handler = ocp.CompositeCheckpointHandler(state=ocp.StandardCheckpointHandler(), meta=ocp.JsonCheckpointHandler())
    args = ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
    alone = ocp.options.MultiprocessingOptions(primary_host=None, active_processes={jax.process_index()})
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        return reader.restore(path.absolute(), args=args)


CONTENT_ERRORS = (ValueError, LookupError, TypeError, AttributeError, AssertionError, FileNotFoundError)
"""What orbax, tensorstore and json raise where a file is missing or holds something else than it should."""
NOT_CONTENT = re.compile(
    r"\b(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAUTHENTICATED|UNAVAILABLE"
    r"|UNIMPLEMENTED|UNKNOWN): "
)
"""The codes by which tensorstore says that it could not read; its others (DATA_LOSS, NOT_FOUND ...) are of content."""


def unreadable(path: Path, error: Exception) -> str:
    """Say why a folder cannot be read; "" where the error shows that what it holds is wrong or missing.

    orbax takes a file that it cannot ask for as missing, so each is asked for once more.
    """
    try:
        for folder, folders, files in os.walk(path, onerror=raise_error):
            for name in folders:
                os.stat(os.path.join(folder, name))
            for name in files:
                open(os.path.join(folder, name), "rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as cause:
        return f"{cause.filename or path}: {cause.strerror}"
    raised: BaseException | None = error
    while raised is not None:
        if not isinstance(raised, CONTENT_ERRORS) or NOT_CONTENT.search(str(raised)):
            return short_reason(error)
        raised = raised.__cause__
    return ""


def quarantine(folder: Path, after: int) -> None:
    """Move checkpoints later than a step, which are damaged, out of the way into `damaged` beside the folder.

    Raises WriteError.
    """
    for step in steps(folder):
        if step > after:
            aside = RunDir(folder.parent).damaged
            with writing(aside):
                make_folder(aside)
                target = next(p for i in range(10**6) if not (p := aside / f"{step}.{i}").exists())
                (folder / str(step)).rename(target)


def restore_into(template: Any, tree: Leaves, where: str) -> Any:
    """The leaves in the template's structure. Raises UserError where names, shapes or dtypes differ."""
    flat, structure = jax.tree_util.tree_flatten_with_path(template)
    names = [name_of(path) for path, _ in flat]
    prefixes = {name.split(".")[0] for name in names}
    for name in sorted({n for n in tree if n.split(".")[0] in prefixes} ^ set(names)):
        there, wanted = ("has", "does not") if name in tree else ("lacks", "does")
        raise UserError(
            f"{where} {there} {name}, but the model of config.json {wanted}: it is a checkpoint of another "
            "architecture. Use the folder that it came from."
        )
    for name, (_, leaf) in zip(names, flat, strict=True):
        got = tree[name]
        if got.shape != leaf.shape or got.dtype != leaf.dtype:
            raise UserError(
                f"{where} has {name} as {got.dtype}{list(got.shape)}, but the model of config.json has it as "
                f"{leaf.dtype}{list(leaf.shape)}: it is a checkpoint of another architecture. "
                "Use the folder that it came from."
            )
    return jax.tree_util.tree_unflatten(structure, [tree[name] for name in names])
