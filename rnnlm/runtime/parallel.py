"""Run functions on all devices and processes; only this file uses pmap.

A function given to `per_device` is written for one device's share. A replicated array has the same shape outside and
inside it; one that is split by lane is [devices, lanes / devices, ...] outside and [lanes / devices, ...] inside.
"""

import contextlib
import functools
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from rnnlm.errors import LostProcessError, UserError

AXIS = "data"
Axes = tuple[int | None, ...]
"""An axis of each argument or result: 0 for split by lane, None for replicated."""
COMMUNICATION = re.compile(r"gloo|nccl|coordination|connection|heartbeat|UNAVAILABLE|DEADLINE_EXCEEDED", re.IGNORECASE)
"""What an error of communication between processes has in its text."""
LARGE = 1 << 20
"""Entries of an array that is summed over the devices of CPUs by itself."""
Tree = TypeVar("Tree")
"""A PyTree of arrays; a result has the structure of the argument."""


def processes() -> int:
    """Return the number of processes of the run."""
    return jax.process_count()


def is_main() -> bool:
    """Return whether this process writes the run folder."""
    return jax.process_index() == 0


def device_names() -> list[str]:
    """Describe the devices of all processes by count and kind, such as "2 x cpu"."""
    kinds = [device.device_kind for device in jax.devices()]
    return [f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))]


def describe_devices() -> str:
    """Describe the devices of all processes in words, such as "2 CPU cores"."""
    words = []
    for name in device_names():
        number, _, kind = name.partition(" x ")
        words.append(f"{number} CPU core{'s' * (number != '1')}" if kind == "cpu" else name)
    return ", ".join(words)


def count() -> int:
    """Return the number of devices of all processes."""
    return jax.device_count()


def per_device(
    function: Callable[..., Any], in_axes: Axes, out_axes: Axes, donate: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """Return the function that runs on every device; an axis is 0 for split (`shard`), None for replicated."""
    mapped = jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=out_axes, donate_argnums=donate)
    # gloo deadlocks when a process with several CPU devices runs two collectives at once.
    if processes() > 1 and jax.default_backend() == "cpu" and jax.local_device_count() > 1:
        return lambda *args: jax.block_until_ready(mapped(*args))
    return mapped


def shard_local(function: Callable[..., Any], in_axes: Axes, out_axes: Axes) -> Callable[..., Any]:
    """Return a function that runs on this process's devices, without collectives.

    Arguments whose axis is 0 hold lanes [K, ...] and are split over as many of the devices as divide K; for repeated
    calls put them there first (`put_lanes`).
    """

    @functools.cache
    def over(n: int) -> Callable[..., Any]:
        ins, outs = (tuple(_sharding(axis, n).spec for axis in axes) for axes in (in_axes, out_axes))
        return jax.jit(jax.shard_map(function, mesh=_mesh(n), in_specs=ins, out_specs=outs, check_vma=False))

    def run(*args: Any) -> Any:
        lanes = jax.tree.leaves([arg for arg, axis in zip(args, in_axes, strict=True) if axis == 0])[0].shape[0]
        return over(math.gcd(lanes, jax.local_device_count()))(*args)

    return run


def put_lanes(lanes: int, axis: int | None, tree: Tree) -> Tree:
    """Put arrays on the devices that `shard_local` uses for this many lanes: split by lane (axis 0) or whole (None)."""
    return jax.device_put(tree, _sharding(axis, math.gcd(lanes, jax.local_device_count())))


def psum(tree: Tree) -> Tree:
    """Sum over all devices, inside a function given to `per_device`."""
    if jax.device_count() == 1 or jax.default_backend() != "cpu":
        return jax.lax.psum(tree, AXIS)
    # gloo sums one array after the other, and each waits some 4 ms for a core that computes. So small ones travel as
    # one; to copy the large ones would take longer. The devices of one process do the same, so that it trains to the
    # bits that several processes reach.
    leaves, structure = jax.tree.flatten(tree)
    small = {i: leaf for i, leaf in enumerate(leaves) if leaf.size < LARGE}
    vector, unravel = ravel_pytree(small)
    large = {i: leaf for i, leaf in enumerate(leaves) if i not in small}
    total, totals = jax.lax.psum((vector, large), AXIS)
    summed = unravel(total) | totals
    return jax.tree.unflatten(structure, [summed[i] for i in range(len(leaves))])


def first_lane(lanes: int) -> jax.Array:
    """Return the global index of this device's first lane, inside `per_device`; each device has `lanes`."""
    return jax.lax.axis_index(AXIS) * lanes


def local_lanes(lanes: int) -> slice:
    """Return which of the lanes of all processes this process reads."""
    share = lanes // processes()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def replicate(tree: Tree) -> Tree:
    """Put host arrays on every local device."""
    return jax.device_put(tree, _sharding(None))


def shard(tree: Any) -> Any:
    """Split this process's lanes [lanes, ...] over its devices: -> [devices, lanes / devices, ...]."""
    n = jax.local_device_count()
    split = jax.tree.map(lambda x: np.asarray(x).reshape(n, x.shape[0] // n, *x.shape[1:]), tree)
    return jax.device_put(split, _sharding(0))


def to_numpy(tree: Tree) -> Tree:
    """Copy replicated arrays to numpy."""
    return jax.tree.map(np.asarray, jax.device_get(tree))


def gather(tree: Tree) -> Tree:
    """Gather arrays that are split by lane from all processes: -> numpy arrays [lanes, ...] in global lane order."""
    local = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), jax.device_get(tree))
    if processes() == 1:
        return local
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(local, tiled=True))


def any_process(flag: bool) -> bool:
    """Return whether any process of the run passes True. Raises LostProcessError if one cannot be reached."""
    return any_process_of([flag])[0]


def any_process_of(flags: Sequence[bool]) -> list[bool]:
    """Return for each flag whether any process passes True. Raises LostProcessError as `any_process` does."""
    return [bool(flag) for flag in np.any(gather_from_processes(np.array(flags)), axis=0).tolist()]


def same_everywhere(value: object) -> bool:
    """Return whether all processes pass values of equal repr. Raises LostProcessError as `any_process` does."""
    digest = np.frombuffer(hashlib.sha256(repr(value).encode()).digest(), np.uint8)
    return bool(np.all(gather_from_processes(digest) == digest))


def refuse_unequal_devices() -> None:
    """Raise UserError if the processes of the run have different numbers of devices; all of them find the same."""
    owners = [device.process_index for device in jax.devices()]
    counts = [owners.count(process) for process in range(processes())]
    if len(set(counts)) > 1:
        raise UserError(
            f"The processes of this run have different numbers of devices ({', '.join(map(str, counts))}): start all "
            "of them with the same --cpu_devices, or on machines with equally many accelerators."
        )


def refuse_difference(workdir: Path, what: str, value: object) -> None:
    """Raise UserError if the processes of the run have different values of `what`."""
    if not same_everywhere(value):
        raise UserError(
            f"The processes of this run have different {what}: start all of them with the same command, with "
            f"{workdir} on a disk that they share."
        )


def gather_from_processes(array: NDArray[Any]) -> NDArray[Any]:
    """Gather an array [...] of each process: -> [processes, ...]. Raises LostProcessError if one cannot be reached."""
    if processes() == 1:
        return array[None]
    with naming_lost_processes():
        return np.asarray(multihost_utils.process_allgather(array))


@contextlib.contextmanager
def naming_lost_processes() -> Iterator[None]:
    """Turn an error of jax's communication between processes in the block into LostProcessError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # the types that jax, gloo and NCCL raise
        if processes() == 1 or not COMMUNICATION.search(str(error)):
            raise
        raise LostProcessError(" ".join(str(error).split())[:120]) from error


@contextlib.contextmanager
def sync_errors() -> Iterator[None]:
    """Fail in every process if the block fails in one, so that none waits for a process that has ended.

    All processes run the block, which contains no collective. A process that failed raises its own error, the others
    raise UserError.
    """
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        failed = error
    if failed is not None:
        with contextlib.suppress(UserError):  # the error of this process tells more than an unreachable one
            any_process(True)
        raise failed
    if any_process(False):
        raise UserError("Another process of this run failed, so this one ends too: see the message of that process.")


def _mesh(n: int) -> Mesh:
    return Mesh(np.array(jax.local_devices()[:n]), (AXIS,))


def _sharding(axis: int | None, n: int | None = None) -> NamedSharding:
    return NamedSharding(_mesh(n or jax.local_device_count()), PartitionSpec(AXIS) if axis == 0 else PartitionSpec())
