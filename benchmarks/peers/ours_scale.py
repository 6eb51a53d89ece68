"""The training step of rnnlm on its own cores, in one or more processes, with or without its all-reduce."""

import os
from typing import Any

from benchmarks.peers import Work, ours


def train(task: dict[str, Any]) -> Work:
    """Prepare training steps of `ours.train` on the cores `cpus`; without `reduce` each device keeps its gradient."""
    os.sched_setaffinity(0, task["cpus"])
    from rnnlm.runtime import devices, parallel

    devices.configure(task["devices"], compile_cache=False, **task["join"])
    if not task["reduce"]:
        parallel.psum = lambda tree: tree
    return ours.train(task)
