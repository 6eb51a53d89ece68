"""Run one task of a contest in its own process, and time units of work on request.

    python benchmarks/worker.py TASK_JSON

TASK_JSON names the peer, its function and its settings. When the task is ready, a line of JSON gives its facts.
Each line "n" on standard input then runs n units of work, answered by a line of JSON with the seconds.
"""

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Prepare the task of the command line and answer requests until standard input ends."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    task = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # send what libraries print, also from C, to standard error
    work, facts = getattr(importlib.import_module(f"benchmarks.peers.{task['peer']}"), task["what"])(task)
    work(2)  # compile, and warm up
    answers.write(json.dumps(facts) + "\n")
    answers.flush()
    for line in sys.stdin:
        start = time.perf_counter()
        work(int(line))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answers.write(json.dumps({"seconds": seconds, "peak_bytes": peak}) + "\n")
        answers.flush()


try:
    main()
except RuntimeError as error:  # what a library cannot do here, such as a dtype that this machine lacks
    sys.exit(f"RuntimeError: {str(error).partition(chr(10))[0]}")
