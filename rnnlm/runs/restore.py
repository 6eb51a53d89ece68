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
    folder: Path, wanted: Sequence[int], report: Callable[[str], None], every_process: bool = False, group: str = ""
) -> tuple[int, Leaves]:
    """Load the first of the wanted steps that is sound: -> (step, leaves by name in the present layout).

    A `group`, such as "params", restricts to its leaves what is read and checked. Damaged checkpoints are reported and
    skipped. With `every_process`, all processes of the run call this with the same steps and get the same checkpoint.
    Raises UserError if none is sound, if one cannot be read but is not proven damaged, or if processes read different
    leaves.
    """
    if not wanted:
        raise UserError(
            f"There is no checkpoint in {folder}: wait for the first one if the run is training, else go on with it "
            "(rnnlm train --workdir=...)."
        )
    for i, step in enumerate(wanted):
        path, tree, fault = folder / str(step), None, ""
        leaf_digests: dict[str, str] = {}
        with parallel.sync_errors() if every_process else contextlib.nullcontext():
            try:
                tree, leaf_digests = read(path, group)
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


def read(path: Path, group: str = "") -> tuple[Leaves, dict[str, str]]:
    """Read the checkpoint of a step, or one group of its leaves: -> (leaves by name, their digests).

    Raises DamagedError if two reads in a row prove damage, and UserError if the folder cannot be read: out of memory,
    too many open files, a disk that does not answer.
    """
    with silence_orbax():
        with contextlib.suppress(DamagedError):
            return read_once(path, group)
        return read_once(path, group)


def read_once(path: Path, group: str = "") -> tuple[Leaves, dict[str, str]]:
    """Read a checkpoint once, as `read` does and raising as it does."""
    try:
        tree, recorded = read_by_orbax(path, group)
        leaf_digests = digests(tree)
        expected = {name: digest for name, digest in recorded.items() if is_of(group, name)}
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


def is_of(group: str, name: str) -> bool:
    """Return whether a leaf is of a group, the first word of its name; all are of the group ""."""
    return group in ("", name.partition(".")[0])


def read_by_orbax(path: Path, group: str) -> tuple[Leaves, dict[str, str]]:
    """Read a group of leaves through orbax, in this process alone: -> (leaves by name, recorded digests of all)."""
    handler = ocp.CompositeCheckpointHandler(state=ocp.PyTreeCheckpointHandler(), meta=ocp.JsonCheckpointHandler())
    alone = ocp.options.MultiprocessingOptions(primary_host=None, active_processes={jax.process_index()})
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        path = path.absolute()
        recorded = dict(reader.restore(path, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"])
        saved = reader.metadata(path).item_metadata["state"]
        if saved is None:
            raise FileNotFoundError(path / "state")
        names = [name for name in saved.tree if is_of(group, name)]
        if not names:
            return {}, recorded
        as_numpy = dict.fromkeys(names, ocp.RestoreArgs(restore_type=np.ndarray))
        args = ocp.args.PyTreeRestore(item=dict.fromkeys(names, 0), restore_args=as_numpy, partial_restore=True)
        leaves = reader.restore(path, args=ocp.args.Composite(state=args))["state"]
        return {name: np.asarray(leaf) for name, leaf in leaves.items()}, recorded


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
