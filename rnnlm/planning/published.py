"""List the configs of published models: the score and parameters there, the parameters here, what was measured here."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.files import import_file, read_lines
from rnnlm.nn import size, width
from rnnlm.runs.layout import Row

SOURCE = Path(__file__).resolve().parents[2]
"""The checkout of rnnlm, where it is installed from one in editable form."""
FOLDER = Path("configs") / "published"
MEASURED = Path("experiments") / "published.jsonl"
"""Results of these configs, a line each, beside the folder `configs`."""


def list_published(root: str | Path = "") -> list[Row]:
    """Return a row for each model of a checkout's configs/published, in the order of their files.

    A row has the config as `--config` takes it, the `text` and its number of `symbols`, the `split`, the published
    `score` in `unit` (bpc, nats or bytes; null where none is known) and in words as `score_there`, `trust` (how its
    source was seen: read, counted, copy or excerpt), the published `parameters_there` in words and the number of
    `parameters` here, and `measured`, the lines of experiments/published.jsonl for it. `root` is the checkout, whose
    configs are run, by default that of rnnlm's own source. Raises UserError where there are no such configs, or unsound
    ones.
    """
    place = Path(root) if root else SOURCE
    measured, paths = read_lines(place / MEASURED), sorted((place / FOLDER).glob("*.py"))
    rows = [row for path in paths for row in list_models(place, path, measured)]
    if not rows:
        raise UserError(
            f"There are no configs of published models in {place / FOLDER}: they are not installed with the package, "
            "so clone rnnlm and install it from there in editable form."
        )
    return rows


def list_models(root: Path, path: Path, measured: list[Row]) -> list[Row]:
    """Return a row for each model of a config file of a checkout. Raises UserError where the file is unsound."""
    rows = []
    try:
        module = import_config(root, path)
        for variant, facts in module.PUBLISHED.items():
            name = f"{FOLDER / path.name}{variant and ':'}{variant}"
            config = Config.from_dict(module.get_config(*([variant] if variant else [])).to_dict())
            unit = next((unit for unit in ("bpc", "nats", "bytes") if unit in facts), None)
            rows.append(
                {
                    "config": name,
                    **{key: facts[key] for key in ("text", "symbols", "split", "trust")},
                    "score": float(facts[unit].replace(",", "")) if unit else None,
                    "score_there": f"{facts[unit]} {unit}" if unit else None,
                    "unit": unit,
                    "parameters_there": facts.get("params"),
                    "parameters": size.count_params(width.solve(config.model, facts["symbols"]), facts["symbols"]),
                    "measured": [row for row in measured if row["config"] == name],
                }
            )
    except (Exception, SystemExit) as error:  # a config file is a program, so it can fail in any way
        raise UserError(f"{path} is no sound config file ({type(error).__name__}: {error}): fix it.") from error
    return rows


def import_config(root: Path, path: Path) -> Any:
    """Import a config of a checkout: -> the module."""
    with first_on_path(root):
        return import_file(str(path))


@contextlib.contextmanager
def first_on_path(folder: Path) -> Iterator[None]:
    """Let modules be found in a folder before all others."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
