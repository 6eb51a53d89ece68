"""States on disk, by orbax: saved whole and in the background, each leaf with a digest, the newest sound one found.

orbax commits a step by renaming its folder, so a save that is cut off leaves nothing that counts. It does not notice
a flipped bit in an array; the digests do.
"""

import hashlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from numpy.typing import NDArray
from orbax.checkpoint import checkpoint_managers as policies

from rnnlm.errors import UserError

Leaves = dict[str, NDArray[Any]]
"""A PyTree by path, such as "params.layer_0.W_x"."""


class Keep(NamedTuple):
    """Which checkpoints stay: the latest, and the one of lowest score among those that have one."""

    latest: int
    scores: Mapping[int, float]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        steps = [info.step for info in checkpoints]
        best = best_of(steps, self.scores)
        return [step in steps[-self.latest :] or step == best for step in steps]


class Checkpoints:
    """The checkpoints of one run, for writing. `close` it, or the last save may be lost."""

    def __init__(self, folder: Path, keep: int, scores: Mapping[int, float]):
        hush()
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file, but checkpoints go into a folder of that name: move it away.")
        self.folder = folder
        policy: policies.PreservationPolicy = Keep(keep, scores)
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy, cleanup_tmp_directories=True, enable_async_checkpointing=True
            ),
        )

    def save(self, step: int, state: Any) -> None:
        """Copy the state, a PyTree of numpy arrays, and write it in the background.

        Raises UserError where this save or the one before it could not be written.
        """
        tree = leaves(state)
        args = ocp.args.Composite(state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(digests(tree)))
        self._guarded(lambda: self._manager.save(step, args=args, force=True))

    def wait(self) -> None:
        """Until the last save is on disk."""
        self._guarded(self._manager.wait_until_finished)

    def close(self) -> None:
        self._guarded(self._manager.close)

    def _guarded(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # whatever storage raises: OSError, XlaRuntimeError, ValueError
            raise UserError(
                f"A checkpoint could not be written to {self.folder} ({reason_of(error)}). "
                f"{last_good(self.folder)} Make room and run the same command to go on from there."
            ) from error


def steps(folder: Path) -> list[int]:
    """The steps that a folder of checkpoints names, in order."""
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []


def best_of(steps: Sequence[int], scores: Mapping[int, float]) -> int | None:
    """Of these steps the one of lowest score; the earliest among equals."""
    return min((step for step in steps if step in scores), key=lambda step: scores[step], default=None)


def last_good(folder: Path) -> str:
    """A sentence that names the newest checkpoint."""
    have = steps(folder)
    return f"The last good checkpoint is {folder / str(have[-1])}." if have else "There is no checkpoint yet."


def load(folder: Path, wanted: Sequence[int], report: Callable[[str], None]) -> tuple[int, Leaves]:
    """The first of the wanted steps that is sound: -> (step, leaves). Damaged ones are reported and passed over.

    Raises UserError where none is left.
    """
    if not wanted:
        raise UserError(f"There is no checkpoint in {folder}: train first (rnnlm train --workdir=...).")
    hush()
    for i, step in enumerate(wanted):
        try:
            return step, read(folder / str(step))
        except Exception as error:  # whatever a damaged file raises in orbax, tensorstore or json
            then = f"using step {wanted[i + 1]} in its place" if i + 1 < len(wanted) else "none is left"
            report(f"The checkpoint {folder / str(step)} is damaged ({reason_of(error)}); {then}.")
    raise UserError(f"No checkpoint in {folder} is sound: restore the folder from a copy, or train anew elsewhere.")


def read(path: Path) -> Leaves:
    """The leaves of a step's folder. Raises where anything is missing or any leaf differs from its digest."""
    handler = ocp.CompositeCheckpointHandler(state=ocp.StandardCheckpointHandler(), meta=ocp.JsonCheckpointHandler())
    args = ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
    with ocp.Checkpointer(handler) as reader:
        restored = reader.restore(path.absolute(), args=args)
    tree = {name: np.asarray(leaf) for name, leaf in restored["state"].items()}
    found, expected = digests(tree), restored["meta"]
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        raise ValueError(f"{wrong[0]} differs from its digest")
    return tree


def hush() -> None:
    """Leave it to us to say what failed. orbax logs it once for each thread, and the reads or writes beside it, still
    under way in C++, report later that their event loop is gone, through the process's exception hooks."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    if getattr(sys.excepthook, "hushed", False):
        return
    excepthook, unraisablehook = sys.excepthook, sys.unraisablehook

    def on_exception(kind: Any, value: Any, trace: Any) -> None:
        if str(value) != "Event loop is closed":
            excepthook(kind, value, trace)

    def on_unraisable(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            unraisablehook(unraisable)

    on_exception.hushed = True  # type: ignore[attr-defined]
    sys.excepthook, sys.unraisablehook = on_exception, on_unraisable


def reason_of(error: Exception) -> str:
    """What storage says, or where that is long its last clause, which is what happened; before it stands where."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text.rsplit(": ", 1)[-1].split(" [")[0][:120]


def set_aside(folder: Path, after: int) -> None:
    """Move checkpoints later than a step, which are damaged, out of the way into `damaged` beside the folder."""
    for step in steps(folder):
        if step > after:
            aside = folder.parent / "damaged"
            aside.mkdir(exist_ok=True)
            target = next(p for i in range(10**6) if not (p := aside / f"{step}.{i}").exists())
            (folder / str(step)).rename(target)


def leaves(tree: Any) -> Leaves:
    """A PyTree by path."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {name_of(path): np.asarray(leaf) for path, leaf in flat}


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


def digests(tree: Leaves) -> dict[str, str]:
    """Of each leaf, over its dtype, shape and bytes."""
    return {
        name: hashlib.sha256(f"{x.dtype}{x.shape}".encode() + np.ascontiguousarray(x).tobytes()).hexdigest()
        for name, x in tree.items()
    }


def digest(tree: Any) -> str:
    """One for all leaves of a PyTree of arrays."""
    return hashlib.sha256(repr(sorted(digests(leaves(tree)).items())).encode()).hexdigest()


def name_of(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
