"""Checkpoints read back: the newest sound one, damaged ones passed over, and none taken for damaged that is not."""

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from rnnlm import parallel
from rnnlm.checkpoint import Leaves, digests, name_of, short_reason, silence_orbax, steps
from rnnlm.errors import UserError
from rnnlm.files import make_folder, writing


class DamagedError(Exception):
    """A checkpoint that is proven damaged: a file of it is missing, ends early, or does not have its digest."""


def load(
    folder: Path, wanted: Sequence[int], report: Callable[[str], None], every_process: bool = False
) -> tuple[int, Leaves]:
    """Load the first of the wanted steps that is sound: -> (step, leaves). Damaged ones are reported and passed over.

    With `every_process` all processes of the run call this with the same steps, and get the first that is sound to
    all of them. Raises UserError where none is sound, or where one cannot be read but is not proven damaged.
    """
    if not wanted:
        raise UserError(f"There is no checkpoint in {folder}: train first (rnnlm train --workdir=...).")
    silence_orbax()
    for i, step in enumerate(wanted):
        path, tree, reason = folder / str(step), None, "as another process of this run finds"
        with parallel.sync_errors() if every_process else contextlib.nullcontext():
            try:
                tree = read(path)
            except DamagedError as error:
                reason = str(error)
        damaged = parallel.any_process(tree is None) if every_process else tree is None
        if tree is not None and not damaged:
            return step, tree
        then = f"using step {wanted[i + 1]} in its place" if i + 1 < len(wanted) else "none is left"
        report(f"The checkpoint {path} is damaged ({reason}); {then}.")
    raise UserError(f"No checkpoint in {folder} is sound: restore the folder from a copy, or train anew elsewhere.")


def read(path: Path) -> Leaves:
    """Read the leaves of a step's folder.

    Raises DamagedError where two reads in a row prove damage, and UserError where the folder cannot be read: out of
    memory, too many open files, a disk that does not answer.
    """
    with contextlib.suppress(DamagedError):
        return read_once(path)
    return read_once(path)


def read_once(path: Path) -> Leaves:
    """Read the leaves of a step's folder. Raises DamagedError or UserError, as `read` does."""
    try:
        restored = read_by_orbax(path)
        tree = {name: np.asarray(leaf) for name, leaf in restored["state"].items()}
        found, expected = digests(tree), dict(restored["meta"])
    except Exception as error:  # whatever orbax, tensorstore and json raise
        reason = unreadable(path, error)
        if not reason:
            raise DamagedError(short_reason(error)) from error
        raise UserError(
            f"The checkpoint {path} could not be read ({reason}). That does not prove it damaged, so it stays where it "
            "is: run the same command again once it can be read."
        ) from error
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        raise DamagedError(f"{wrong[0]} differs from its digest")
    return tree


def read_by_orbax(path: Path) -> Any:
    """Read a step's folder through orbax, in this process alone, whatever the others do."""
    handler = ocp.CompositeCheckpointHandler(state=ocp.StandardCheckpointHandler(), meta=ocp.JsonCheckpointHandler())
    args = ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
    alone = ocp.options.MultiprocessingOptions(primary_host=None, active_processes={jax.process_index()})
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        return reader.restore(path.absolute(), args=args)


ABOUT_CONTENT = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")
"""How tensorstore begins a message on what a file holds, or that it is missing; other beginnings are on reading it."""


def unreadable(path: Path, error: Exception) -> str:
    """Say why a folder cannot be read; "" where the error shows that what it holds is wrong or missing.

    orbax takes a file that it cannot ask for as missing, so each is asked for once more.
    """
    try:
        for folder, folders, files in os.walk(path, onerror=_raise):
            for name in folders:
                os.stat(os.path.join(folder, name))
            for name in files:
                open(os.path.join(folder, name), "rb").close()
    except OSError as cause:
        return f"{cause.filename or path}: {cause.strerror}"
    status = re.match(r"([A-Z_]+):", str(error))
    content = isinstance(error, ValueError | KeyError | FileNotFoundError)
    return "" if content and (not status or status[1] in ABOUT_CONTENT) else short_reason(error)


def _raise(error: OSError) -> None:
    raise error


def quarantine(folder: Path, after: int) -> None:
    """Move checkpoints later than a step, which are damaged, out of the way into `damaged` beside the folder.

    Raises WriteError.
    """
    for step in steps(folder):
        if step > after:
            aside = folder.parent / "damaged"
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
