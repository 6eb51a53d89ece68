"""How much memory there is for the devices of this process."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

CGROUPS = Path("/sys/fs/cgroup")


def device_bytes() -> int | None:
    """Return the bytes that each device of this process can get at most; None if nothing tells.

    The devices of a CPU share what the machine has available.
    """
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    host = host_bytes()
    return None if host is None else host // sharing()


def sharing() -> int:
    """Return how many devices of this process share one memory: those of a CPU do."""
    return jax.local_device_count() if jax.local_devices()[0].platform == "cpu" else 1


def host_bytes(proc: Path = Path("/proc"), cgroups: Path = CGROUPS) -> int | None:
    """Return the bytes that this process can still get, swap included; None where there is no /proc/meminfo.

    This is what the machine has available or what the limits of its cgroups leave, whichever is less.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        swap = 1024 * kilobytes["SwapFree"]
        return min([1024 * kilobytes["MemAvailable"], *cgroup_bytes(proc, cgroups)]) + swap
    except (OSError, ValueError, KeyError, IndexError):
        return None


def cgroup_bytes(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield the bytes that each memory limit of this process's cgroups leaves; files in the page cache do not count."""
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = cgroups / controllers
        names = (
            ("memory.max", "memory.current") if not controllers else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(root):
                break
            try:
                limit, used = ((group / name).read_text().strip() for name in names)
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # a container may not see its own group, and the root group has no limit
                continue
            if limit != "max":
                prefix = "total_" if controllers else ""
                cached = sum(int(stat.get(f"{prefix}{name}", 0)) for name in ("active_file", "inactive_file"))
                yield int(limit) - int(used) + cached


class ProcessBytes(NamedTuple):
    """Hold the bytes of this process that are resident in memory, now and at their peak."""

    resident: int
    peak: int


def process_bytes(proc: Path = Path("/proc")) -> ProcessBytes | None:
    """Return the resident memory of this process; None where /proc does not tell."""
    try:
        lines = (proc / "self" / "status").read_text().splitlines()
        kilobytes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
        return ProcessBytes(1024 * int(kilobytes["VmRSS"]), 1024 * int(kilobytes["VmHWM"]))
    except (OSError, ValueError, KeyError, IndexError):
        return None
