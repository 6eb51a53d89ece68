"""The only place that says pmap: devices and processes, what is replicated, what is split by lane, and sums over all.

A function given to `per_device` is written for one device's share. What is replicated it sees as it is; what is split
has a leading device axis [n, lanes / n, ...] outside and none inside.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnlm.config import TrainConfig
from rnnlm.errors import UserError
from rnnlm.files import cache

AXIS = "data"

# For loops of small products XLA's CPU scheduler and fusions cost more than they bring (measured on JAX 0.10 at
# 2x256, B=50, T=50: 116 ms a step without these, 87 with them, and half a second less to compile). An unknown flag
# ends the process, so each version gets only those that it has been tried with.
CPU_FLAGS = {
    "0.10": "--xla_cpu_enable_concurrency_optimized_scheduler=false --xla_cpu_use_fusion_emitters=false",
    "0.11": "--xla_cpu_enable_concurrency_optimized_scheduler=false",
}

COMPILED_BYTES = 2**30
"""What compiled programs may take up in the cache; those longest unused go first."""

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # as in malloc.h


def start(
    training: TrainConfig | None,
    cpu_devices: int = 0,
    compile_cache: bool = True,
    coordinator: str = "",
    processes: int = 1,
    process: int = 0,
) -> None:
    """Choose devices; before anything else touches jax's backend.

    Where a batch is trained on, they must share its lanes out evenly.
    Without an accelerator the CPU's cores are the devices: `cpu_devices` of them, 0 for as many as `cores_for`
    finds. `compile_cache` keeps compiled programs in the user's cache folder. With a coordinator's address
    (host:port) `processes` processes train as one; "auto" leaves all three to what the cluster (Slurm, a TPU pod)
    tells.
    """
    lanes, what = 0, ""
    if training:
        lanes, what = training.batch // training.accumulate, f"train.batch={training.batch}"
        if training.accumulate > 1:
            what += f" in train.accumulate={training.accumulate} parts of {lanes}"
    keep_memory()
    if compile_cache:
        keep_compiled()
    flags = CPU_FLAGS.get(jax.__version__.rpartition(".")[0], "")
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}"
    if coordinator:
        # Preemption notices would swallow SIGTERM; the training loop listens to signals itself.
        jax.config.update("jax_enable_preemption_service", False)
        jax.config.update("jax_num_cpu_devices", cpu_devices or 1)
        try:
            if coordinator == "auto":
                jax.distributed.initialize()
            else:
                jax.distributed.initialize(coordinator, processes, process)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"--coordinator={coordinator} did not bring the processes together ({error}): "
                "give host:port of process 0, or auto under Slurm and on TPUs."
            ) from None
    else:
        jax.config.update("jax_num_cpu_devices", cpu_devices or cores_for(lanes))
    if lanes % jax.device_count():
        raise UserError(
            f"{what} cannot be split evenly over {jax.device_count()} devices: "
            "choose a multiple of their number, or fewer devices (--cpu_devices)."
        )


def keep_memory() -> None:
    """Have glibc's malloc keep what is freed, where there is glibc.

    Else every step gets its large arrays afresh from the kernel, page by page (a tenth of a step at 2x512).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_ARENA_MAX, 1)  # a thread's own arena has no room for arrays of more than 64 MiB


def keep_compiled() -> None:
    """Have jax keep compiled programs in the user's cache folder, unless $JAX_COMPILATION_CACHE_DIR names another."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    # A folder for each kind of CPU, since what was compiled for one may not run on another that shares the home.
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]
    kind = "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    folder = cache() / "compiled" / hashlib.sha256(kind.encode()).hexdigest()[:12]
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def cores_for(lanes: int) -> int:
    """The most physical cores of this process that divide the number of lanes."""
    return max(n for n in range(1, physical_cores() + 1) if lanes % n == 0)


def physical_cores() -> int:
    """Cores that this process may run on, hyper-threads counted once."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else str(cpu))
    return len(cores)


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


def local(function: Callable[..., Any], in_axes: Any, out_axes: Any) -> Callable[..., Any]:
    """The function of this process alone, for some lanes [K, ...] where an axis is 0: split over its devices where
    their number divides K, else on one of them. It holds no collectives."""
    single = jax.jit(function)
    several = jax.pmap(function, in_axes=in_axes, out_axes=out_axes, devices=jax.local_devices())

    def cut(axis: int | None, tree: Any, shape: Callable[[Any], tuple[int, ...]]) -> Any:
        return tree if axis is None else jax.tree.map(lambda x: x.reshape(shape(x)), tree)

    def run(*args: Any) -> Any:
        n = jax.local_device_count()
        lanes = next(jax.tree.leaves(arg)[0].shape[0] for arg, axis in zip(args, in_axes, strict=True) if axis == 0)
        if n == 1 or lanes % n:
            return single(*args)
        split = [
            cut(axis, arg, lambda x: (n, len(x) // n, *x.shape[1:])) for arg, axis in zip(args, in_axes, strict=True)
        ]
        out = several(*split)
        return tuple(cut(axis, each, lambda x: (lanes, *x.shape[2:])) for axis, each in zip(out_axes, out, strict=True))

    return run


def total(tree: Any) -> Any:
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
    return jax.device_put(tree, _sharding(PartitionSpec()))


def shard(tree: Any) -> Any:
    """This process's lanes [lanes, ...] to its devices: [n, lanes / n, ...]."""
    n = jax.local_device_count()
    split = jax.tree.map(lambda x: np.asarray(x).reshape(n, x.shape[0] // n, *x.shape[1:]), tree)
    return jax.device_put(split, _sharding(PartitionSpec(AXIS)))


def host(tree: Any) -> Any:
    """What is replicated, as numpy."""
    return jax.tree.map(np.asarray, jax.device_get(tree))


def gather(tree: Any) -> Any:
    """What is split by lane, from all processes, as numpy in global lane order."""
    local = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), jax.device_get(tree))
    if processes() == 1:
        return local
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(local, tiled=True))


def agree(flag: bool) -> bool:
    """Whether any process raised its flag."""
    if processes() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array([flag]))))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What fails with a UserError in one process fails in all, so that none waits for one that is gone."""
    failed: UserError | None = None
    try:
        yield
    except UserError as error:
        failed = error
    if agree(failed is not None):
        raise failed or UserError("Another process of this run could not start: see what it says.")


def _sharding(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), spec)
