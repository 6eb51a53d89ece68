"""Count the cores that this process may run on; knows no jax."""

import os
from pathlib import Path


def cores() -> set[int]:
    """Return the CPU ids in this process's affinity mask."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def core_groups() -> list[list[int]]:
    """Return the CPU ids of each physical core of this process, hyper-threads of one core together."""
    groups: dict[str, list[int]] = {}
    for cpu in sorted(cores()):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        groups.setdefault(siblings.read_text() if siblings.exists() else str(cpu), []).append(cpu)
    return list(groups.values())
