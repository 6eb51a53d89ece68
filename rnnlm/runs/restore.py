"""Restore the newest sound checkpoint, and tell a damaged one from one that cannot be read at present."""

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
    """Report a checkpoint that is proven damaged: a file is missing, ends early, or differs from its digest."""


def load(
    folder: Path, wanted: Sequence[int], report: Callable[[str], None], every_process: bool = False
) -> tuple[int, Leaves]:
    """Load the first of the wanted steps that is sound: -> (step, leaves by name in the present layout).

    Damaged checkpoints are reported and skipped. With `every_process`, all processes of the run call this with the
    same steps and get the same checkpoint. Raises UserError if none is sound, if one cannot be read but is not proven
    damaged, or if processes read different leaves.
    """
    if not wanted:
        raise UserError(f"There is no checkpoint in {folder}: train first (rnnlm train --workdir=...).")
    for i, step in enumerate(wanted):
        path, tree, fault = folder / str(step), None, ""
        leaf_digests: dict[str, str] = {}
        with parallel.sync_errors() if every_process else contextlib.nullcontext():
            try:
                tree, leaf_digests = read(path)
            except DamagedError as error:
                fault = f"is damaged ({error})" if path.exists() else "is gone, as where a training deletes it"
        if every_process and not parallel.same_everywhere(sorted(leaf_digests.items())):
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
    """Read the checkpoint of a step: -> (leaves by name, their digests).

    Raises DamagedError if two reads in a row prove damage, and UserError if the folder cannot be read: out of memory,
    too many open files, a disk that does not answer.
    """
    with silence_orbax():
        with contextlib.suppress(DamagedError):
            return read_once(path)
        return read_once(path)


def read_once(path: Path) -> tuple[Leaves, dict[str, str]]:
    """Read the checkpoint of a step once: -> (leaves by name, their digests). Raises as `read` does."""
    try:
        restored = read_by_orbax(path)
        tree = {name: np.asarray(leaf) for name, leaf in restored["state"].items()}
        leaf_digests, expected = digests(tree), dict(restored["meta"])
    except Exception as error:  # orbax, tensorstore and json raise many types
        reason = unreadable(path, error)
        if not reason:
            raise DamagedError(damage_of(error)) from error
        raise UserError(
            f"The checkpoint {path} could not be read ({reason}). That does not prove it damaged, so it stays where it "
            "is: run the same command again once it can be read."
        ) from error
    names = leaf_digests.keys() | expected.keys()
    wrong = sorted(name for name in names if leaf_digests.get(name) != expected.get(name))
    if wrong:
        raise DamagedError(f"{wrong[0]} differs from its digest")
    return tree, leaf_digests


def damage_of(error: Exception) -> str:
    """Describe the damage that an error shows."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | KeyError) or "NOT_FOUND:" in str(error):
        return "a file of it is missing"
    if "OUT_OF_RANGE:" in str(error):
        return "a file of it ends early"
    return f"what it holds is garbled: {short_reason(error)}"


def read_by_orbax(path: Path) -> Any:
    """Read the checkpoint of a step through orbax, in this process alone, without waiting for the others."""
    handler = ocp.CompositeCheckpointHandler(state=ocp.StandardCheckpointHandler(), meta=ocp.JsonCheckpointHandler())
    args = ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
    alone = ocp.options.MultiprocessingOptions(primary_host=None, active_processes={jax.process_index()})
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        return reader.restore(path.absolute(), args=args)


CONTENT_ERRORS = (ValueError, LookupError, TypeError, AttributeError, AssertionError, FileNotFoundError)
"""The types that orbax, tensorstore and json raise if a file is missing or has wrong contents."""
NOT_CONTENT = re.compile(
    r"\b(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAUTHENTICATED|UNAVAILABLE"
    r"|UNIMPLEMENTED|UNKNOWN): "
)
"""The codes of tensorstore for a failed read; its other codes (DATA_LOSS, NOT_FOUND ...) are about the contents."""


def unreadable(path: Path, error: Exception) -> str:
    """Say why a folder cannot be read; "" if the error shows that its contents are wrong or missing.

    orbax reports a file that it cannot open as missing, so each file is opened once more here.
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
    """Move the damaged checkpoints after a step into the folder `damaged` of the run. Raises WriteError."""
    for step in steps(folder):
        if step > after:
            aside = RunDir(folder.parent).damaged
            with writing(aside):
                make_folder(aside)
                target = next(p for i in range(10**6) if not (p := aside / f"{step}.{i}").exists())
                (folder / str(step)).rename(target)


def restore_into(template: Any, tree: Leaves, where: str) -> Any:
    """Arrange leaves in the structure of the template. Raises UserError if names, shapes or dtypes differ."""
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
