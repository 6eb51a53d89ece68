"""The peers, one file each, whose functions prepare a task: -> (work(n), which runs n units and waits; facts).

`variants(device, task)` returns the settings to try a peer with; the contest uses the quickest. The "env" of a variant
is added to the environment of its process.
"""

from collections.abc import Callable
from typing import Any

Work = tuple[Callable[[int], None], dict[str, Any]]

# Reuse the memory of large arrays instead of returning it to the kernel at each step, as `devices.tune_malloc` does for
# rnnlm, and as PyTorch's tuning guide recommends with another allocator.
MALLOC_ENV = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_ARENA_MAX": "1"}


def accelerator_memory() -> dict[str, int]:
    """Return {"device_bytes": the peak that jax has allocated on its first device}; {} where that keeps no count."""
    import jax

    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {} if peak is None else {"device_bytes": peak}
