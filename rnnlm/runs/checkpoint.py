"""Save training states through orbax, in the background and with a digest of each leaf; `restore` reads them back.

orbax commits a checkpoint by renaming its folder, so an interrupted save leaves no checkpoint. It does not detect a
flipped bit in an array; the digests do. It does not sync its files to the disk; `DurablePath` does.
"""

import asyncio
import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from numpy.typing import NDArray
from orbax.checkpoint import checkpoint_managers as policies

from rnnlm.errors import UserError
from rnnlm.files import sync_tree
from rnnlm.nn.leaves import Leaves, named_leaves, to_version_1
from rnnlm.runtime.quiet import silence_orbax


class LatestAndBest(NamedTuple):
    """Preserve the latest checkpoints and the best, which has the lowest score."""

    latest: int
    scores: Mapping[int, float]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        steps = [info.step for info in checkpoints]
        best = best_of(steps, self.scores)
        return [step in steps[-self.latest :] or step == best for step in steps]


class DurablePath(ocp.path.atomicity.AtomicRenameTemporaryPath):  # type: ignore[misc]
    """Sync a checkpoint to the disk before it gets its final name, and the name before older ones are deleted."""

    async def finalize(self) -> None:
        await asyncio.to_thread(sync_tree, Path(self.get()))
        await super().finalize()
        await asyncio.to_thread(sync_tree, Path(self.get_final()))


class DigestHandler(ocp.JsonCheckpointHandler):  # type: ignore[misc]
    """Compute the digests of a checkpoint's leaves in the background, and write them as JSON.

    orbax commits the checkpoint after this has ended, and raises its errors with those of the arrays.
    """

    async def async_save(
        self, directory: Any, item: Any = None, args: "DigestSave | None" = None
    ) -> list[ocp.future.Future]:
        assert args is not None
        return [ocp.future.CommitFutureAwaitingContractedSignals(self._write(directory, args.leaves), name="digests")]

    async def _write(self, directory: Any, leaves: Leaves) -> None:
        (directory / "metadata").write_text(json.dumps(digests(leaves)))


@ocp.args.register_with_handler(DigestHandler, for_save=True)
@dataclass
class DigestSave(ocp.args.CheckpointArgs):  # type: ignore[misc]
    """Ask orbax to save the digests of leaves, which nobody changes meanwhile."""

    leaves: Leaves


class Checkpoints:
    """Write the checkpoints of a run into an existing folder; without `close`, the last save may be lost.

    One process writes for all, so that no process waits for another inside orbax. Raises UserError if the folder
    cannot be read or written.
    """

    def __init__(self, folder: Path, keep: int, scores: Mapping[int, float]):
        self.folder = folder
        policy: policies.PreservationPolicy = LatestAndBest(keep, scores)
        me = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})
        options = ocp.CheckpointManagerOptions(
            create=False,
            preservation_policy=policy,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
            temporary_path_class=DurablePath,
            multiprocessing_options=alone,
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(silence_orbax())
            # `save` makes the one copy that arrays and digests are written from.
            arrays = ocp.type_handlers.create_type_handler_registry(
                (np.ndarray, ocp.type_handlers.NumpyHandler(deepcopy_host_arrays=False))
            )
            state = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone, type_handler_registry=arrays)
            handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
            handlers.add("state", ocp.args.PyTreeSave, state)
            handlers.add("meta", DigestSave, DigestHandler(multiprocessing_options=alone))
            try:  # the manager also lists the folder
                self._manager = ocp.CheckpointManager(folder.absolute(), options=options, handler_registry=handlers)
            except OSError as error:
                raise UserError(f"{folder} could not be read or written ({short_reason(error)}).") from error
            self._silence = stack.pop_all()

    def save(self, step: int, state: Any) -> None:
        """Copy the state, a PyTree of numpy arrays, then hash and write it in the background.

        Raises UserError if this save or the one before it could not be written.
        """
        self.wait()  # so that there is one copy at a time
        leaves = {name: leaf.copy() for name, leaf in named_leaves(state).items()}
        args = ocp.args.Composite(state=ocp.args.PyTreeSave(leaves), meta=DigestSave(leaves))
        self._guarded(lambda: self._manager.save(step, args=args, force=True))

    def wait(self) -> None:
        """Wait until the last save is on disk. Raises UserError if it could not be written."""
        self._guarded(self._manager.wait_until_finished)

    def close(self) -> None:
        """Wait for the last save and close orbax's manager. Raises UserError if it could not be written."""
        with self._silence:
            self._guarded(self._manager.close)

    def _guarded(self, act: Callable[[], Any]) -> None:
        """Run a write, and raise any error of the storage as UserError."""
        try:
            act()
        except Exception as error:  # storage raises OSError, XlaRuntimeError and ValueError, among others
            raise UserError(
                f"A checkpoint could not be written to {self.folder} ({short_reason(error)}). "
                f"{last_good(self.folder)} Once it can be written, the same command goes on from there."
            ) from error


def refuse_file(folder: Path) -> None:
    """Raise UserError if a file has the path of the checkpoint folder."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, but checkpoints go into a folder of that name: move it away.")


def steps(folder: Path) -> list[int]:
    """List the steps of a checkpoint folder, ascending."""
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []


def best_of(steps: Sequence[int], scores: Mapping[int, float]) -> int | None:
    """Return the step of the lowest finite score, the earliest among equals; None if no score is finite."""
    return min((s for s in steps if math.isfinite(scores.get(s, math.nan))), key=lambda s: scores[s], default=None)


def last_good(folder: Path) -> str:
    """Name the newest checkpoint in a sentence."""
    have = steps(folder)
    return f"The last good checkpoint is {folder / str(have[-1])}." if have else "There is no checkpoint yet."


def short_reason(error: Exception) -> str:
    """Shorten a storage error to its last clause, at most 120 characters."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 120 else text.rsplit(": ", 1)[-1].split(" [")[0][:120]


def digests(tree: Leaves) -> dict[str, str]:
    """Return the digest of each leaf by name: the sha256 of its dtype, shape and bytes."""
    return {name: digest_leaf(leaf) for name, leaf in tree.items()}


def digest_leaf(x: NDArray[Any]) -> str:
    """Return the sha256 of an array's dtype, shape and bytes."""
    sha256 = hashlib.sha256(f"{x.dtype}{x.shape}".encode())
    sha256.update(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
    return sha256.hexdigest()


def digest(params: Any) -> str:
    """Return the digest of params, or of a PyTree like them, in the layout of version 1 (`leaves.to_version_1`)."""
    return hashlib.sha256(repr(sorted(digests(to_version_1(named_leaves(params))).items())).encode()).hexdigest()
