"""One contestant in a process of its own: it makes ready, then works when told to and says how long it took.

    python benchmarks/worker.py TASK_JSON

TASK_JSON names the peer, what it does and its settings. Each line "n" on standard input asks for n units of work;
the answer is a line with the seconds. The line before the first says what there is to know besides.
"""

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    task = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print, in C too
    work, facts = getattr(importlib.import_module(f"benchmarks.peers.{task['peer']}"), task["what"])(task)
    work(2)  # compiled, and warm
    answers.write(json.dumps(facts) + "\n")
    answers.flush()
    for line in sys.stdin:
        start = time.perf_counter()
        work(int(line))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answers.write(json.dumps({"seconds": seconds, "peak_bytes": peak}) + "\n")
        answers.flush()


main()
