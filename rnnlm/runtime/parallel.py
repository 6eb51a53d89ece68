"""The only place that says pmap: what is replicated, what is split by lane, and sums over all.

A function given to `per_device` is written for one device's share. What is replicated it sees as it is; what is split
has a leading device axis [n, lanes / n, ...] outside and none inside.
"""

import contextlib
import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from rnnlm.errors import UserError

AXIS = "data"


def processes() -> int:
    return jax.process_count()


def is_main() -> bool:
    """Whether this process writes the records."""
    return jax.process_index() == 0


def device_names() -> list[str]:
    """All devices of all processes, as kind and count."""
    kinds = [device.device_kind for device in jax.devices()]
    return [f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))]


def count() -> int:
    """Devices over all processes."""
    return jax.device_count()


def per_device(
    function: Callable[..., Any], in_axes: Any, out_axes: Any, donate: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """The function on every device at once; axis 0 is split (`shard`), None replicated (`replicate`)."""
    mapped = jax.pmap(function, axis_name=AXIS, in_axes=in_axes, out_axes=out_axes, donate_argnums=donate)
    # gloo deadlocks when a process with several CPU devices has two collectives under way.
    if processes() > 1 and jax.default_backend() == "cpu" and jax.local_device_count() > 1:
        return lambda *args: jax.block_until_ready(mapped(*args))
    return mapped


def shard_local(function: Callable[..., Any], in_axes: Any, out_axes: Any) -> Callable[..., Any]:
    """The function of this process alone, without collectives: lanes [K, ...], where an axis is 0, are split over as
    many of its devices as divide their number. What is called more than once is better spread before (`put_lanes`)."""

    @functools.cache
    def over(n: int) -> Callable[..., Any]:
        ins, outs = (tuple(_sharding(axis, n).spec for axis in axes) for axes in (in_axes, out_axes))
        return jax.jit(jax.shard_map(function, mesh=_mesh(n), in_specs=ins, out_specs=outs, check_vma=False))

    def run(*args: Any) -> Any:
        lanes = jax.tree.leaves([arg for arg, axis in zip(args, in_axes, strict=True) if axis == 0])[0].shape[0]
        return over(math.gcd(lanes, jax.local_device_count()))(*args)

    return run


def put_lanes(lanes: int, axis: int | None, tree: Any) -> Any:
    """Put arrays on the devices that `shard_local` uses for so many lanes: split by lane (axis 0) or whole (None)."""
    return jax.device_put(tree, _sharding(axis, math.gcd(lanes, jax.local_device_count())))


def psum(tree: Any) -> Any:
    """Inside `per_device`: the sum over all devices."""
    return jax.lax.psum(tree, AXIS)


def first_lane(lanes: int) -> jax.Array:
    """Inside `per_device`: the global number of this device's first lane, where each has `lanes`."""
    return jax.lax.axis_index(AXIS) * lanes


def local_lanes(lanes: int) -> slice:
    """Of that many lanes over all processes, those that this process reads."""
    share = lanes // processes()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def replicate(tree: Any) -> Any:
    """Host arrays to every local device."""
    return jax.device_put(tree, _sharding(None))


def shard(tree: Any) -> Any:
    """This process's lanes [lanes, ...] to its devices: [n, lanes / n, ...]."""
    n = jax.local_device_count()
    split = jax.tree.map(lambda x: np.asarray(x).reshape(n, x.shape[0] // n, *x.shape[1:]), tree)
    return jax.device_put(split, _sharding(0))


def to_numpy(tree: Any) -> Any:
    """What is replicated, as numpy."""
    return jax.tree.map(np.asarray, jax.device_get(tree))


def gather(tree: Any) -> Any:
    """What is split by lane, from all processes, as numpy in global lane order."""
    local = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), jax.device_get(tree))
    if processes() == 1:
        return local
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(local, tiled=True))


def any_process(flag: bool) -> bool:
    """Return whether any process of the run passes True. Raises UserError where processes cannot be reached."""
    return any_process_of([flag])[0]


def any_process_of(flags: Sequence[bool]) -> list[bool]:
    """Return for each flag whether any process of the run passes True. Raises UserError as `any_process` does."""
    return [bool(flag) for flag in np.any(gather_from_processes(np.array(flags)), axis=0).tolist()]


def same_everywhere(value: object) -> bool:
    """Return whether all processes of the run pass values of equal repr. Raises UserError as `any_process` does."""
    digest = np.frombuffer(hashlib.sha256(repr(value).encode()).digest(), np.uint8)
    return bool(np.all(gather_from_processes(digest) == digest))


def gather_from_processes(array: NDArray[Any]) -> NDArray[Any]:
    """Gather an array [...] of each process: -> [processes, ...]. Raises UserError where they cannot be reached."""
    if processes() == 1:
        return array[None]
    try:
        return np.asarray(multihost_utils.process_allgather(array))
    except (RuntimeError, ValueError) as error:  # as jax and gloo say it
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"The processes of this run cannot reach each other ({reason}): one of them may be gone. See what each of "
            "them says, and start all of them again."
        ) from error


@contextlib.contextmanager
def sync_errors() -> Iterator[None]:
    """Fail in every process where the block fails in one, so that none waits for one that is gone.

    All processes run the block, which holds no collective. One that failed raises its own error, the others a
    UserError.
    """
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        failed = error
    if failed is not None:
        with contextlib.suppress(UserError):  # what failed here tells more than that another is not reached
            any_process(True)
        raise failed
    if any_process(False):
        raise UserError("Another process of this run failed, so this one ends too: see what that one says.")


def _mesh(n: int) -> Mesh:
    return Mesh(np.array(jax.local_devices()[:n]), (AXIS,))


def _sharding(axis: int | None, n: int | None = None) -> NamedSharding:
    return NamedSharding(_mesh(n or jax.local_device_count()), PartitionSpec(AXIS) if axis == 0 else PartitionSpec())
