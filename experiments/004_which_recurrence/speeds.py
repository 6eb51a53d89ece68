"""Measure the training speed and the memory of every contestant that speeds.jsonl lacks: a line each.

    python experiments/004_which_recurrence/speeds.py [--rounds=5]

The lines in the file stay, since the lengths of runs follow from them: delete a line to measure it again. The processes
take turns of about a second on all cores, with the LSTM among them, in whose steps the time of the others is taken.
`memory` is the peak of a process less what it took before its first step; `carry_bytes` are those of one lane.
"""

import argparse
import dataclasses
import json
import math
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

import contest

from benchmarks.contest import Contestant, close_all, take_turns
from rnnlm.config import Config, ModelConfig
from rnnlm.files import read_lines
from rnnlm.nn import size, width
from rnnlm.nn.stack import blocks_of

VOCAB = 87
"""Kinds of symbols in War and Peace."""
AT_ONCE = 8
"""Processes that take turns, the LSTM always among them: its speed ties the groups together."""


def config_of(entry: str) -> Config:
    """Return the config of a contestant with its width."""
    shared = contest.get_config()
    for key, value in contest.ENTRIES[entry].items():
        shared.update_from_flattened_dict({key: value})
    config = Config.from_dict(shared.to_dict())
    return dataclasses.replace(config, model=dataclasses.replace(width.solve(config.model, VOCAB), params=0.0))


def carry_bytes(config: ModelConfig) -> int:
    """Return the bytes of the carry of one lane."""
    states = [state for block in blocks_of(config, VOCAB) for state in block.carry().values()]
    return sum(math.prod(state.shape) * np.dtype(state.dtype).itemsize for state in states)


def measure(entries: list[str], rounds: int) -> dict[str, tuple[float, int]]:
    """Time steps of some contestants, turn by turn: -> (median seconds of a step, bytes of memory) by name."""
    players: dict[str, Contestant] = {}
    try:
        for entry in entries:
            config = dataclasses.asdict(config_of(entry))
            players[entry] = Contestant({"peer": "ours", "what": "memory", "config": config, "vocab": VOCAB})
            players[entry].wait_until_ready()
        times = dict(zip(players, take_turns(list(players.values()), rounds, 1.0), strict=True))
        memory = {entry: player.peak - player.facts["before_bytes"] for entry, player in players.items()}
    finally:
        close_all(list(players.values()))
    return {entry: (statistics.median(times[entry]), memory[entry]) for entry in entries}


def main() -> None:
    """Measure all contestants, and write speeds.jsonl."""
    file = contest.FOLDER / "speeds.jsonl"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rows = {row["entry"]: row for row in read_lines(file)}
    others = [entry for entry in contest.ENTRIES if entry != "lstm" and entry not in rows]
    found: dict[str, tuple[float, int]] = {}
    reference: list[float] = []
    for begin in range(0, len(others), AT_ONCE - 1):
        group = measure(["lstm", *others[begin : begin + AT_ONCE - 1]], rounds)
        reference.append(group["lstm"][0])
        # In units of the LSTM's step, since the speed of a machine changes while it is measured.
        found |= {entry: (seconds / group["lstm"][0], memory) for entry, (seconds, memory) in group.items()}
    if not found:
        sys.stdout.write(f"{file} is complete.\n")
        return
    symbols = contest.BATCH * contest.WINDOW
    lstm_speed = rows["lstm"]["symbols_per_second"] if "lstm" in rows else symbols / statistics.median(reference)
    for entry, (ratio, memory) in found.items():
        config = config_of(entry)
        rows.setdefault(
            entry,
            {
                "entry": entry,
                "hidden": config.model.hidden,
                "parameters": size.count_params(config.model, VOCAB),
                "symbols_per_second": lstm_speed / ratio,
                "memory": memory,
                "carry_bytes": carry_bytes(config.model),
            },
        )
    file.write_text("".join(json.dumps(rows[entry]) + "\n" for entry in contest.ENTRIES))
    for entry in found:
        sys.stdout.write(f"{entry:20} {rows[entry]['symbols_per_second']:10,.0f} symbols/s\n")


if __name__ == "__main__":
    main()
