"""Compare rnnlm with its peers in alternating turns: times, and their paired ratios.

    python benchmarks/run.py --what=train,sample,compile,memory,read,quality [--json]
    python benchmarks/run.py --against=DIR [--what=train,sample,compile,read]

Each program is a process of its own that works only in its turns. A peer is first tried with each of its settings, and
the quickest are used. Prints tables, and appends a line of JSON for each to benchmarks/results/bench.jsonl. On a GPU
the shapes are larger.

--against=DIR compares with another checkout of rnnlm only, such as an older commit from `git worktree add DIR COMMIT`.
It is run by DIR/.venv/bin/python if that exists, else by the Python of this checkout. The ratios, time of the other /
time of this one, have the 95 % interval of their median, and go to benchmarks/results/against.jsonl.
"""

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import against, alone, commands, versus
from benchmarks.contest import ROOT, SECONDS, Contestant
from benchmarks.versus import PEERS, SHAPES

WHAT = {
    "train": versus.train,
    "sample": versus.sample,
    "compile": alone.compile_times,
    "memory": alone.memory,
    "read": commands.read,
    "quality": commands.quality,
}


def measure_ceiling() -> tuple[float, dict[str, Any]]:
    """Measure a large float32 matrix product: -> (FLOP/s, facts about the device)."""
    with contextlib.closing(Contestant({"peer": "ours", "what": "ceiling", "size": 2048})) as player:
        return 2 * 2048**3 / player.quickest(SECONDS, turns=5), player.facts


def machine() -> dict[str, Any]:
    """Return the time, the CPU and the number of its cores."""
    cpu = ""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"time": time, "cpu": cpu, "cores": len(os.sched_getaffinity(0))}


def parse_shapes(text: str) -> list[tuple[int, int, int, int]]:
    """Parse LAYERSxHIDDENxBATCHxWINDOW,... Raises ArgumentTypeError."""
    shapes = [tuple(int(n) if n.isdecimal() else 0 for n in each.split("x")) for each in text.split(",")]
    if any(len(shape) != 4 or 0 in shape for shape in shapes):
        raise argparse.ArgumentTypeError(f"{text}: give LAYERSxHIDDENxBATCHxWINDOW, such as 2x512x50x50,1x128x50x50.")
    return shapes


def main() -> None:
    """Parse the command line, and run the benchmarks that it asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", help=f"of {', '.join(WHAT)}; all but the last unless given")
    parser.add_argument("--shapes", type=parse_shapes, help="LAYERSxHIDDENxBATCHxWINDOW,... in place of the usual ones")
    parser.add_argument(
        "--against", type=against.parse_checkout, metavar="DIR", help="another checkout of rnnlm as the peer"
    )
    parser.add_argument("--rounds", type=int, help="turns of each contestant; 9 unless given, 15 with --against")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a turn, with --against")
    parser.add_argument("--quality", nargs="*", default=["tinyshakespeare"], help="configs for --what=quality")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each of --what")
    parser.add_argument("--results", type=Path, help="in place of benchmarks/results/bench.jsonl or against.jsonl")
    args = parser.parse_args()
    allowed = against.WHAT if args.against else WHAT
    args.what = args.what or ",".join(name for name in allowed if name != "quality")
    unknown = sorted(set(args.what.split(",")) - set(allowed))
    if unknown:
        parser.error(f"--what={','.join(unknown)}: choose of {', '.join(allowed)}")
    least = 6 if args.against else 1  # fewer give no 95 % interval
    if (args.rounds is not None and args.rounds < least) or args.seconds <= 0:
        parser.error(
            f"--rounds={args.rounds} --seconds={args.seconds}: give {least} rounds at least, and some seconds."
        )
    args.rounds = args.rounds or (15 if args.against else 9)
    args.results = args.results or ROOT / "benchmarks" / "results" / f"{'against' if args.against else 'bench'}.jsonl"
    if not args.results.parent.is_dir():
        parser.error(f"--results={args.results}: there is no folder {args.results.parent}.")
    ceiling, facts = measure_ceiling()
    sys.stdout.write(f"matmul ceiling, float32 2048^3 on {facts['device']}: {ceiling / 1e9:.0f} GFLOP/s\n\n")
    args.device = "cpu" if facts["backend"] == "cpu" else "gpu"
    args.shapes = args.shapes or SHAPES[args.device]
    about = machine() | facts | {"float32_2048_gflops": ceiling / 1e9}
    if args.against:
        against.main(args, about)
    else:
        beside_peers(args, about | against.provenance(ROOT))


def beside_peers(args: argparse.Namespace, about: dict[str, Any]) -> None:
    """Run the benchmarks of --what, and append a line of JSON for each, with `about`, to the results."""
    args.peers = [name for name in PEERS if importlib.util.find_spec(name)]
    if len(args.peers) < len(PEERS):
        sys.stdout.write(f"Left out because not installed: {', '.join(PEERS.keys() - set(args.peers))}.\n")
    for what in args.what.split(","):
        result = WHAT[what](args)
        with args.results.open("a") as file:
            file.write(json.dumps(result | about) + "\n")
        if args.json:
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
