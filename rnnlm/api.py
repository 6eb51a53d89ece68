"""Train, plan and compare runs, score baselines, configure jax, compress untrained: the API besides `load`."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from ml_collections import ConfigDict

from rnnlm.baselines import compressors, ngram
from rnnlm.compression import codec
from rnnlm.compression.codec import SEGMENT, Compressed, Progress, ignore
from rnnlm.config import Config, rename_in_place
from rnnlm.data.corpora import resolve
from rnnlm.data.splits import Dataset
from rnnlm.errors import UserError
from rnnlm.evaluation.tally import Blocks, Tally
from rnnlm.planning.plan import make_plan
from rnnlm.planning.published import list_published
from rnnlm.runs import compare as comparison
from rnnlm.runs import layout
from rnnlm.runs import plot as plots
from rnnlm.runs.compare import Run
from rnnlm.runs.groups import group_rows, group_runs
from rnnlm.runs.layout import Row
from rnnlm.runs.trust import check_trust
from rnnlm.runtime import devices, parallel
from rnnlm.runtime.console import Console
from rnnlm.runtime.devices import configure as configure
from rnnlm.runtime.signals import Signals
from rnnlm.training import resume

ConfigLike: TypeAlias = Config | ConfigDict | Mapping[str, object]
"""A config in any of its forms: read by `as_config`."""


def train(
    config: ConfigLike | None,
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
    thread SIGTERM and Ctrl-C save and stop the run. Raises UserError, with nothing written, for a wrong config and
    where the folder holds a run of another config or text; later where the model diverges or files cannot be written.
    """
    if not str(workdir):
        raise UserError("workdir is empty: name the run folder.")
    workdir = Path(workdir)
    if config is None:
        settings = layout.load_run(workdir).config
        check_trust(workdir, settings.model, trust_code)
    else:
        settings = as_config(config)
    # The run is continued from any working directory.
    parent = settings.train.init_from and os.path.abspath(Path(settings.train.init_from).expanduser())
    settings = replace(settings, data=resolve(settings.data), train=replace(settings.train, init_from=parent))
    devices.ensure_configured(settings.train.batch // settings.train.accumulate)
    parallel.refuse_unequal_devices()
    devices.check_lanes(settings.train)
    return resume.train(settings, workdir, Signals(), Console(show and parallel.is_main()), on_row, str(data))


def plan(
    config: ConfigLike,
    accelerator: str = "",
    trial_seconds: float | None = None,
    price: float = 0.0,
    link: float = 0.0,
) -> Row:
    """Say what the training of a config will take before it begins, as `rnnlm.planning.plan.make_plan` explains.

    The growth of the process is measured where this process has not computed yet.
    """
    settings = as_config(config)
    devices.ensure_configured(1 if accelerator else settings.train.batch // settings.train.accumulate)
    devices.check_lanes(settings.train)
    return make_plan(settings, accelerator, trial_seconds, price, link)


def published(root: str | Path = "") -> list[Row]:
    """Return a row for each config of a published model, as `rnnlm.planning.published.list_published` explains."""
    return list_published(root)


def as_config(config: ConfigLike) -> Config:
    """Build a Config from a Config, a ConfigDict or a dict. Raises UserError that names a wrong entry."""
    if isinstance(config, Config):
        return config
    if not isinstance(config, ConfigDict | Mapping):
        raise UserError(
            f"A config is a Config, a ConfigDict (from get_config() of a file) or a dict, not {type(config).__name__}."
        )
    if isinstance(config, Mapping) and "version" in config:  # of a run's config.json
        return Config.from_saved(config)
    if isinstance(config, ConfigDict):
        config = ConfigDict(config.to_dict())
        rename_in_place(config)
        config = config.to_dict()
    return Config.from_dict(config)


def compare(
    workdirs: Sequence[str | Path],
    split: str | None = None,
    symbols: tuple[int, int] = (0, 0),
    protocol: str = "",
    trust_code: bool = False,
    data: str | Path = "",
    plot: str | Path = "",
    x: str = "",
    group: str = "",
) -> list[Row]:
    """Compare runs by the bpc of their newest evaluations of a split: -> a row each, best first.

    A folder that holds runs, such as that of a sweep, stands for those of them that have ended. With `group`, a config
    key such as seed, a row is the mean and spread of the runs that differ in that key only (see `group_rows`).

    Without `split` it is test where all runs have an evaluation on it, else valid. `symbols` (from, to; to=0: end) and
    the beginning of the protocol's name, by default the runs' own, choose the evaluations. A run without one on valid
    is compared by the last validation of its training: its row has the source "validation" and no intervals. `plot`
    names a .png, .svg or .pdf for the bpc against `x`, costs or config keys as `runs.plot.plot` explains. Raises
    UserError where a run has no evaluation, where they are not of the same symbols read in the same manner, or where a
    run's cell, which tells the FLOPs, is code that is not trusted. If `data` (a file, folder or glob) is given, another
    text there than the runs' raises UserError, too; it is not scored.
    """
    runs = open_runs(workdirs, split, symbols, protocol, trust_code, data)
    if plot:
        plots.plot(runs, Path(plot), x)
    return group_rows(group_runs(runs, group)) if group else comparison.table(runs)


def open_runs(
    workdirs: Sequence[str | Path],
    split: str | None = None,
    symbols: tuple[int, int] = (0, 0),
    protocol: str = "",
    trust_code: bool = False,
    data: str | Path = "",
) -> list[Run]:
    """Open the evaluations that `compare` ranks, one a run. Raises UserError as it does."""
    workdirs = [workdirs] if isinstance(workdirs, str | Path) else workdirs
    if not workdirs:
        raise UserError("There is nothing to compare: name at least one run folder.")
    workdirs = comparison.find_ended_runs(workdirs)
    if data:
        saved = [layout.load_run(Path(workdir)) for workdir in workdirs]
        for run in {run.sha256: run for run in saved}.values():
            run.find_corpus(str(data))
    return comparison.open_runs([Path(workdir) for workdir in workdirs], split, symbols, protocol, trust_code)


def baseline(dataset: Dataset, split: str = "test", order: int = 20) -> Iterator[Row]:
    """Yield the scores of n-grams up to an order and of general compressors on a split: a row each.

    The n-grams learn from the training split; each compressor codes the split alone, then after the training split.
    `LanguageModel.dataset` is the text of a run. A row has name, count (symbols), nats, bpc, bpb, bytes, and stderr,
    interval and no_interval as those of `Score.as_dict`. Raises UserError where the text has no such split.
    """
    slices = dataset.slice("train"), dataset.slice(split)
    train, scored = (s.text.encode(np.arange(s.begin, s.end)).astype(np.int64) for s in slices)
    primer, text = (s.raw for s in slices)
    count, size = len(scored), sum(map(len, text()))

    def row(name: str, tally: Tally, uncertainty: Row) -> Row:
        bpc, bpb = tally.bpc, tally.per(size)
        amounts = {"count": count, "nats": tally.nats, "bpc": bpc, "bpb": bpb, "bytes": tally.bits / 8}
        return {"name": name, **amounts, **uncertainty}

    for length, nats in enumerate(ngram.costs(train, scored, len(dataset.text.vocabulary), order), 1):
        blocks = Blocks.of_costs(nats)
        yield row(f"{length}-gram", blocks.tally, blocks.uncertainty())
    why = "a compressed file has no costs of its symbols"
    none = {"stderr": None, "interval": None, "no_interval": why}
    tools = compressors.available()
    alone = compressors.sizes(text(), tools)
    before = compressors.sizes(primer(), tools)
    both = compressors.sizes(itertools.chain(primer(), text()), tools)
    for name in tools:
        yield row(name, Tally.of_bits(8 * alone[name], count), none)
        yield row(f"{name}, after train", Tally.of_bits(8 * (both[name] - before[name]), count), none)


def compress_online(
    data: bytes,
    config: ConfigLike,
    segment: int = SEGMENT,
    lanes: int = 0,
    verify: bool = True,
    progress: Progress = ignore,
) -> Compressed:
    """Compress bytes with a model that learns from them alone, `segment` at a time, by the model and optim of a config.

    `lanes` are coded side by side, 0 for as many as suit the number of bytes; `rnnlm.decompress` restores the bytes.
    `verify` decompresses the result once. Raises UserError where they do not come back.
    """
    if segment < 1 or lanes < 0:
        raise UserError(f"Cannot code with segment={segment} in lanes={lanes}: a segment has 1 symbol or more.")
    devices.ensure_configured()
    return codec.compress_online(data, as_config(config), segment, lanes, verify, progress)
