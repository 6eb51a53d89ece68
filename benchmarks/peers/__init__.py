"""One file a peer. A function of it makes a task ready: -> (work(n), which does n units and waits for them; facts).

`variants(device, task)` are the settings that the peer is tried with; the best goes into the contest. "env" of a
variant is for its process.
"""

from collections.abc import Callable
from typing import Any

Work = tuple[Callable[[int], None], dict[str, Any]]

# What `devices.tune_malloc` does for rnnlm, and PyTorch's own tuning guide has users do with another allocator: large
# arrays are not fetched anew from the kernel at each step.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_ARENA_MAX": "1"}
