"""What a process sets up before jax's backend starts: devices, processes, XLA's flags, memory, compiled programs."""

import contextlib
import ctypes
import hashlib
import os
import platform
from pathlib import Path

import jax

from rnnlm.config import TrainConfig
from rnnlm.errors import UserError
from rnnlm.files import cache_dir

# For loops of small products XLA's CPU scheduler and fusions cost more than they bring (measured on JAX 0.10 at
# 2x256, B=50, T=50: 116 ms a step without these, 87 with them, and half a second less to compile). Vectors of 512 bits
# where the CPU has them: 3 to 8 % of a step on a Zen 5, nothing on a Zen 4. An unknown flag ends the process, so each
# version gets only those that it has been tried with.
CPU_FLAGS = {
    "0.10": "--xla_cpu_enable_concurrency_optimized_scheduler=false --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_prefer_vector_width=512",
    "0.11": "--xla_cpu_enable_concurrency_optimized_scheduler=false --xla_cpu_prefer_vector_width=512",
}

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # as in malloc.h


def configure(
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
    tune_malloc()
    if compile_cache:
        enable_compilation_cache()
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


def tune_malloc() -> None:
    """Have glibc's malloc keep what is freed, where there is glibc.

    Else every step gets its large arrays afresh from the kernel, page by page (a tenth of a step at 2x512).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_ARENA_MAX, 1)  # a thread's own arena has no room for arrays of more than 64 MiB


def enable_compilation_cache() -> None:
    """Have jax keep compiled programs in the user's cache folder, but where jax's own variables say otherwise."""
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
    """A digest of what this CPU is and can do: programs compiled for another one may not run here, or not give the
    same bits."""
    cpu = Path("/proc/cpuinfo")
    about = cpu.read_text().splitlines() if cpu.exists() else []
    kind = {line for line in about if line.startswith(("model name", "flags", "Features"))}
    text = "\n".join(sorted(kind)) or platform.platform()
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cores() -> set[int]:
    """The numbers of those that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores_for(lanes: int) -> int:
    """The most physical cores of this process that divide the number of lanes."""
    return max(n for n in range(1, physical_cores() + 1) if lanes % n == 0)


def physical_cores() -> int:
    """Cores that this process may run on, hyper-threads counted once."""
    physical = set()
    for cpu in cores():
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        physical.add(siblings.read_text() if siblings.exists() else str(cpu))
    return len(physical)
