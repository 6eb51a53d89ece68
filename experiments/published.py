"""Write what the configs of published models cost into their docstrings, and record what was measured with them.

    python experiments/published.py costs
    python experiments/published.py record CONFIG RUN_FOLDER "HARDWARE"

The first command estimates all steps on one H100 as `rnnlm plan` does, on synthetic texts of the published sizes and
numbers of symbols, which is all that the estimate depends on. The second appends the evaluations of a run, which
result.jsonl holds, to published.jsonl, which `rnnlm published` shows.
"""

import json
import re
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from rnnlm import api
from rnnlm.planning.published import FOLDER, MEASURED, import_config

ROOT = Path(__file__).resolve().parents[1]
SIZES = {
    "enwik8": [100_000_000],
    "text8": [100_000_000],
    "ptb": [5_059_000, 396_000, 446_000],
    "linux_input.txt": [6_206_996],
    "warpeace": [3_258_246],
    "tinyshakespeare": [1_115_394],
}
"""Bytes of the files of each text."""
FIELDS = ("split", "protocol", "count", "nats", "bpc", "interval", "step")
"""What a line of published.jsonl keeps of a line of result.jsonl."""


def write_texts(folder: Path, text: str, symbols: int) -> str:
    """Write random texts of the sizes of a published one: -> their paths, as data.files takes them."""
    paths = [folder / f"{text}_{symbols}_{i}" for i in range(len(SIZES[text]))]
    for path, size in zip(paths, SIZES[text], strict=True):
        if not path.exists():
            drawn = np.random.default_rng(0).integers(0, symbols, size, np.uint8)
            drawn[:symbols] = np.arange(symbols)
            path.write_bytes(drawn.tobytes())
    return ",".join(map(str, paths))


def estimate_hours(folder: Path, module: Any, variant: str) -> float:
    """Return the hours of all steps of a config on one H100."""
    config, facts = module.get_config(*([variant] if variant else [])), module.PUBLISHED[variant]
    config.data.corpus, config.data.binary = "", True
    config.data.files = write_texts(folder, facts["text"], facts["symbols"])
    return float(api.plan(config, "H100", 0.0)["hours"])


def describe(hours: float) -> str:
    """Return a time in words, to two digits."""
    number, unit = (f"{hours:.2g}", "hour") if hours >= 1 else (f"{60 * hours:.2g}", "minute")
    return f"{number} {unit}{'' if number == '1' else 's'}"


def write_costs() -> None:
    """Write the line Cost of each docstring again."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((ROOT / FOLDER).glob("*.py")):
            module = import_config(ROOT, path)
            costs = {v: describe(estimate_hours(Path(folder), module, v)) for v in module.PUBLISHED}
            words = ", ".join(f"{variant} {cost}".strip() for variant, cost in costs.items())
            line = f"Cost: {words} on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates."
            text = re.sub(
                r'^Cost: .*?(?=\n""")',
                lambda _, line=line: textwrap.fill(line, 120),
                path.read_text(),
                flags=re.M | re.S,
            )
            path.write_text(text)
            sys.stdout.write(f"{path.name}: {words}\n")


def record(config: str, folder: Path, hardware: str) -> None:
    """Append the evaluations of a run to published.jsonl."""
    seconds = json.loads((folder / "result.json").read_text())["seconds"]
    with (ROOT / MEASURED).open("a") as file:
        for line in (folder / "result.jsonl").read_text().splitlines():
            row = json.loads(line)
            kept = {name: row[name] for name in FIELDS}
            file.write(json.dumps({"config": config, **kept, "seconds": round(seconds), "hardware": hardware}) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["costs"]:
        write_costs()
    elif sys.argv[1:2] == ["record"] and len(sys.argv) == 5:
        record(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        sys.exit(__doc__)
