"""Train and compare runs, configure jax, and compress without a trained model: the API besides `rnnlm.load`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnlm.compression import codec
from rnnlm.compression.codec import Compressed, Progress, ignore
from rnnlm.config import Config
from rnnlm.data.corpora import absolute
from rnnlm.runs import compare as comparison
from rnnlm.runs import layout
from rnnlm.runs.layout import Row
from rnnlm.runs.trust import check_trust
from rnnlm.runtime import devices, parallel
from rnnlm.runtime.console import Console
from rnnlm.runtime.devices import configure as configure
from rnnlm.runtime.signals import Signals
from rnnlm.training import loop


def train(
    config: Any,
    workdir: str | Path,
    on_row: Callable[[Row], None] | None = None,
    data: str | Path = "",
    trust_code: bool = False,
    show: bool = True,
) -> Row | None:
    """Train a model in a run folder, or continue the run that it holds: -> what result.json says, None if stopped.

    `config` is a Config, a ConfigDict or a dict; None continues the folder's run with its own config, whose cell is
    imported from another module only with `trust_code`. `on_row` receives each row of metrics.jsonl; `data` says where
    the text of a run to continue lies, if not where it was or near the folder; `show` prints progress. In the main
    thread SIGTERM and Ctrl-C save and stop the run. Raises UserError, with nothing written, where the folder holds a
    run of another config or text.
    """
    workdir = Path(workdir)
    if config is None:
        settings = layout.load_run(workdir).config
        check_trust(workdir, settings.model, trust_code)
    else:
        settings = as_config(config)
    # The run is continued from any working directory.
    settings = replace(settings, data=replace(settings.data, files=absolute(settings.data.files)))
    devices.ensure_configured(settings.train.batch // settings.train.accumulate)
    devices.check_lanes(settings.train)
    return loop.train(settings, workdir, Signals(), Console(show and parallel.is_main()), on_row, str(data))


def as_config(config: Any) -> Config:
    """Build a Config from a Config, a ConfigDict or a dict. Raises UserError that names a wrong entry."""
    if isinstance(config, Config):
        return config
    return Config.from_dict(config if isinstance(config, dict) else config.to_dict())


def compare(
    workdirs: Sequence[str | Path],
    split: str = "test",
    symbols: tuple[int, int] = (0, 0),
    protocol: str = "carry",
    trust_code: bool = False,
) -> list[Row]:
    """Compare runs by the bpc of their newest evaluations of a split: -> a row each, best first.

    `symbols` (from, to; to=0: end) and the beginning of the protocol's name choose the evaluations. Raises UserError
    where a run has none, where they are not of the same symbols read in the same manner, or where a run's cell, which
    tells the FLOPs, is code that is not trusted.
    """
    return comparison.table([comparison.open_run(Path(d), split, symbols, protocol, trust_code) for d in workdirs])


def compress_online(
    data: bytes,
    config: Any,
    segment: int = 20,
    lanes: int = 0,
    verify: bool = True,
    progress: Progress = ignore,
) -> Compressed:
    """Compress bytes with a model that learns from them alone, `segment` at a time, by the model and optim of a config.

    `lanes` are coded side by side, 0 for as many as suit the number of bytes; `rnnlm.decompress` restores the bytes.
    `verify` decompresses the result once. Raises UserError where they do not come back.
    """
    devices.ensure_configured()
    return codec.compress_online(data, as_config(config), segment, lanes, verify, progress)
