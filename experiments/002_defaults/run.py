"""Train and evaluate the trials that are missing from results.jsonl; run it again after an interruption.

    python experiments/002_defaults/run.py drop_state
    python experiments/002_defaults/run.py decay_vectors

Run folders are in runs/defaults. Each line of results.jsonl is one evaluation of the validation split.
"""

import json
import subprocess
import sys
from pathlib import Path

from rnnlm.files import read_lines

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
CONFIGS = {
    "tiny-shakespeare": "configs/tinyshakespeare.py",
    "standard library": "experiments/002_defaults/stdlib.py",
    "War and Peace": "experiments/002_defaults/warpeace.py",
}
READINGS = {"1 lane": ["--lanes=1"], "64 lanes": ["--lanes=64"], "windows": ["--protocol=windows"]}
WORST = 10  # blocks of 1,000 symbols


def trials(question: str) -> list[tuple[str, str, float, int]]:
    """List the trials of a question: (text, key, value, seed)."""
    if question == "drop_state":
        seeds = {"tiny-shakespeare": (0, 1, 2), "standard library": (0,), "War and Peace": (0,)}
        values = (0.0, 0.01, 0.02)
        return [(text, "train.drop_state", v, seed) for text in CONFIGS for seed in seeds[text] for v in values]
    return [("tiny-shakespeare", "optim.decay_vectors", v, seed) for seed in (0, 1, 2) for v in (True, False)]


def run(text: str, key: str, value: float, seed: int) -> None:
    """Train one trial, and append its evaluations."""
    workdir = f"runs/defaults/{key}={value},{text.replace(' ', '_')},{seed}"
    defaults = {"train.drop_state": 0.0, "model.init_gain": 1.0}  # as they were at that time
    settings = defaults | {key: value, "seed": seed, "sample.every": 0}
    overrides = [f"--config.{name}={setting}" for name, setting in settings.items()]
    rnnlm = [sys.executable, "-m", "rnnlm"]
    subprocess.run([*rnnlm, "train", f"--config={CONFIGS[text]}", f"--workdir={workdir}", *overrides], check=True)
    rows = []
    for reading, flags in READINGS.items():
        command = [*rnnlm, "eval", f"--workdir={workdir}", "--split=valid", "--step=latest", "--json", *flags]
        line = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        result = json.loads((Path(workdir) / "result.jsonl").read_text().splitlines()[-1])
        nats, size = result["blocks"], result["block"]
        worst = max(sum(nats[i : i + WORST]) for i in range(0, len(nats) - WORST + 1, WORST))
        trial = {"text": text, "key": key, "value": value, "seed": seed, "reading": reading}
        rows.append(trial | line | {"worst_nats": worst, "worst_count": WORST * size})
    with RESULTS.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def main() -> None:
    """Run what is missing."""
    done = read_lines(RESULTS)
    for trial in trials(sys.argv[1]):
        if not any((row["text"], row["key"], row["value"], row["seed"]) == trial for row in done):
            run(*trial)


if __name__ == "__main__":
    main()
