"""Set up a process before jax's backend starts: devices, processes, XLA's flags, memory, compiled programs."""

import contextlib
import ctypes
import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax
from jax._src import xla_bridge  # jax has no public way to ask whether its backend has started

from rnnlm.config import TrainConfig
from rnnlm.errors import UserError
from rnnlm.files import cache_dir
from rnnlm.runtime import peers
from rnnlm.runtime.cpus import core_groups, cores

# For loops of small products XLA's CPU scheduler and fusions cost more than they save (measured on JAX 0.10 at
# 2x256, B=50, T=50: 116 ms a step without these, 87 with them, and half a second less to compile). Vectors of 512 bits
# where the CPU has them: 3 to 8 % of a step on a Zen 5, nothing on a Zen 4. An unknown flag ends the process, so each
# version gets only those that it has been tried with.
CPU_FLAGS = {
    "0.10": "--xla_cpu_enable_concurrency_optimized_scheduler=false --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_prefer_vector_width=512",
    "0.11": "--xla_cpu_enable_concurrency_optimized_scheduler=false --xla_cpu_prefer_vector_width=512",
}

XLA_THREADS = "PJRT_NPROC"
"""The environment variable from which XLA's CPU backend takes the number of its threads; NPROC is read after it."""

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # as in malloc.h


configured: int | None = None
"""The number of CPU devices that `configure` has set in this process; None before it is called."""


def configure(
    cpu_devices: int = 0,
    compile_cache: bool = True,
    coordinator: str = "",
    processes: int = 1,
    process: int = 0,
    lanes: int = 0,
    threads: int = 0,
    join_timeout: int = peers.JOIN_SECONDS,
) -> None:
    """Set devices, XLA flags and the cache of compiled programs, before anything starts jax's backend.

    Without an accelerator the CPU's cores are the devices: `cpu_devices` of them, 0 for as many physical cores as
    divide the `lanes` of a training batch. `compile_cache` keeps compiled programs in the user's cache folder. With a
    `coordinator` (host:port) `processes` processes train as one; "auto" takes address and numbers from the cluster
    (Slurm, a TPU pod), and all must have started within `join_timeout` seconds. `threads` share out large products on a
    CPU, 0 for one a core; their number, not that of the cores, fixes the last bit of a sum. Warns where jax's backend
    has already started with other devices or threads, which then stay. Raises UserError where the processes do not
    come together.
    """
    global configured
    devices = cpu_devices or (1 if coordinator else cores_for(lanes))
    if threads:
        devices = min(devices, threads)  # XLA starts at least as many threads as devices
    if backend_started():
        if coordinator or configured != devices or (threads and threads != product_threads()):
            warnings.warn(
                "rnnlm.configure() came too late: jax has already started its backend, whose devices and flags stay as "
                "they are. Call it before the first jax operation.",
                stacklevel=2,
            )
        return
    if compile_cache:
        enable_compilation_cache()
    flags = CPU_FLAGS.get(jax.__version__.rpartition(".")[0], "")
    if configured is None:
        os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}"
    configured = devices
    if threads:
        os.environ[XLA_THREADS] = str(threads)
    jax.config.update("jax_num_cpu_devices", devices)
    if coordinator:
        peers.join(coordinator, processes, process, join_timeout)


def ensure_configured(lanes: int = 0, threads: int = 0) -> None:
    """Call `configure` unless it has been called or jax's backend has started."""
    if configured is None and not backend_started():
        configure(lanes=lanes, threads=threads)


def product_threads() -> int:
    """Return how many threads share out a large product on a CPU: one a core, or a device, unless configured.

    A long sum is split by their number, so results with another number differ in the last bit.
    """
    given = os.environ.get(XLA_THREADS) or os.environ.get("NPROC") or ""
    return max(int(given) if given.isdecimal() else len(cores()), jax.local_device_count())


def backend_started() -> bool:
    """Return whether jax's backend has started."""
    return xla_bridge.backends_are_initialized()


def check_lanes(training: TrainConfig) -> None:
    """Raise UserError where the lanes of a training batch cannot be split evenly over the devices."""
    lanes, what = training.batch // training.accumulate, f"train.batch={training.batch}"
    if training.accumulate > 1:
        what += f" in train.accumulate={training.accumulate} pieces of {lanes}"
    if lanes % jax.device_count():
        raise UserError(
            f"{what} cannot be split evenly over {jax.device_count()} devices: "
            "choose a multiple of their number, or fewer devices (--cpu_devices, rnnlm.configure)."
        )


def tune_malloc() -> None:
    """Have glibc's malloc, where there is one, keep freed memory for the whole process.

    Otherwise each step gets its large arrays from the kernel again, page by page (a tenth of a step at 2x512).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_ARENA_MAX, 1)  # a thread's own arena has no room for arrays of more than 64 MiB


def enable_compilation_cache() -> None:
    """Have jax keep compiled programs in the user's cache folder, unless jax's own environment variables are set."""
    with contextlib.suppress(RuntimeError):  # no home, no cache
        # A folder for each kind of CPU, since what was compiled for one may not run on another that shares the home.
        settings = {
            "jax_compilation_cache_dir": str(cache_dir() / "compiled" / cpu_kind()),
            "jax_persistent_cache_min_compile_time_secs": 0.1,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
        for name, value in settings.items():
            if not os.environ.get(name.upper()):
                jax.config.update(name, value)


def cpu_kind() -> str:
    """Return a digest of this CPU's model and features, for which programs are compiled and which fix their bits."""
    cpu = Path("/proc/cpuinfo")
    about = cpu.read_text().splitlines() if cpu.exists() else []
    kind = {line for line in about if line.startswith(("model name", "flags", "Features"))}
    text = "\n".join(sorted(kind)) or platform.platform()
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cores_for(lanes: int) -> int:
    """Return the largest number of physical cores of this process that divides a number of lanes."""
    return max(n for n in range(1, len(core_groups()) + 1) if lanes % n == 0)
