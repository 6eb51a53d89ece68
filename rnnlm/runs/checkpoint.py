"""States on disk, by orbax: saved whole and in the background, each leaf with a digest. `restore` reads them back.

orbax commits a step by renaming its folder, so a save that is cut off leaves nothing that counts. It does not notice
a flipped bit in an array; the digests do. It does not sync what it writes; `DurablePath` does.
"""

import asyncio
import contextlib
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from rnnlm.errors import UserError
from rnnlm.files import sync_tree
from rnnlm.nn.leaves import Leaves, named_leaves, to_version_1
from rnnlm.runtime.quiet import silence_orbax


class LatestAndBest(NamedTuple):
    """Which checkpoints stay: the latest, and the one of lowest score among those that have one."""

    latest: int
    scores: Mapping[int, float]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        steps = [info.step for info in checkpoints]
        best = best_of(steps, self.scores)
        return [step in steps[-self.latest :] or step == best for step in steps]


class DurablePath(ocp.path.atomicity.AtomicRenameTemporaryPath):  # type: ignore[misc]
    """Sync a save to the disk before it gets its name, and its name before older checkpoints are deleted."""

    async def finalize(self) -> None:
        await asyncio.to_thread(sync_tree, Path(self.get()))
        await super().finalize()
        await asyncio.to_thread(sync_tree, Path(self.get_final()))


class Checkpoints:
    """Write the checkpoints of one run into a folder that is there. `close` it, or the last save may be lost.

    One process does this, for all: none waits for another within orbax.
    """

    def __init__(self, folder: Path, keep: int, scores: Mapping[int, float]):
        self.folder = folder
        policy: policies.PreservationPolicy = LatestAndBest(keep, scores)
        me = jax.process_index()
        options = ocp.CheckpointManagerOptions(
            create=False,
            preservation_policy=policy,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
            temporary_path_class=DurablePath,
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}),
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(silence_orbax())
            try:  # it lists what is there, too
                self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
            except OSError as error:
                raise UserError(f"{folder} could not be read or written ({short_reason(error)}).") from error
            self._silence = stack.pop_all()

    def save(self, step: int, state: Any) -> None:
        """Copy the state, a PyTree of numpy arrays, and write it in the background.

        Raises UserError where this save or the one before it could not be written.
        """
        tree = named_leaves(state)
        args = ocp.args.Composite(state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(digests(tree)))
        self._guarded(lambda: self._manager.save(step, args=args, force=True))

    def wait(self) -> None:
        """Until the last save is on disk."""
        self._guarded(self._manager.wait_until_finished)

    def close(self) -> None:
        """Wait for the last save and close orbax's manager. Raises UserError where it could not be written."""
        with self._silence:
            self._guarded(self._manager.close)

    def _guarded(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # whatever storage raises: OSError, XlaRuntimeError, ValueError
            raise UserError(
                f"A checkpoint could not be written to {self.folder} ({short_reason(error)}). "
                f"{last_good(self.folder)} Once it can be written, the same command goes on from there."
            ) from error


def refuse_file(folder: Path) -> None:
    """Raise UserError where the folder of a run's checkpoints is a file."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, but checkpoints go into a folder of that name: move it away.")


def steps(folder: Path) -> list[int]:
    """The steps that a folder of checkpoints names, in order."""
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []


def best_of(steps: Sequence[int], scores: Mapping[int, float]) -> int | None:
    """Return the step of the lowest finite score, the earliest among equals; None where there is none."""
    return min((s for s in steps if math.isfinite(scores.get(s, math.nan))), key=lambda s: scores[s], default=None)


def last_good(folder: Path) -> str:
    """A sentence that names the newest checkpoint."""
    have = steps(folder)
    return f"The last good checkpoint is {folder / str(have[-1])}." if have else "There is no checkpoint yet."


def short_reason(error: Exception) -> str:
    """What storage says, or where that is long its last clause, which is what happened; before it stands where."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 120 else text.rsplit(": ", 1)[-1].split(" [")[0][:120]


def digests(tree: Leaves) -> dict[str, str]:
    """Digest each leaf: sha256 of its dtype, shape and bytes."""
    return {
        name: hashlib.sha256(f"{x.dtype}{x.shape}".encode() + np.ascontiguousarray(x).tobytes()).hexdigest()
        for name, x in tree.items()
    }


def digest(params: Any) -> str:
    """Digest the params of a model, or a tree like them, in the layout of version 1 (`leaves.to_version_1`)."""
    return hashlib.sha256(repr(sorted(digests(to_version_1(named_leaves(params))).items())).encode()).hexdigest()
