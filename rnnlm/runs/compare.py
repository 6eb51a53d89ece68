"""Compare runs by bpc on the same symbols, with 95 % confidence intervals of the differences."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.evaluation.protocol import EvalProtocol
from rnnlm.evaluation.tally import Blocks
from rnnlm.nn import size
from rnnlm.runs.layout import Row, RunDir, RunInfo, load_run
from rnnlm.runs.metrics import read_rows
from rnnlm.runs.results import parse_protocol, read_results, row_blocks
from rnnlm.runs.status import find_runs
from rnnlm.runs.trust import check_trust
from rnnlm.schema import flatten

WARM = 512
"""Warm-up symbols from which on lanes read side by side give the bpc of one lane, to 1e-3."""


@dataclass(frozen=True)
class Run:
    """Hold one evaluation of a run (`result`, a line of result.jsonl) and what its training took up to that step.

    `validation` is true where it is the last validation of the training, which keeps no blocks.
    """

    name: str
    config: Config
    result: Row
    parameters: int
    symbols: int
    flops: float
    seconds: float | None
    validation: bool = False
    parent: str = ""
    """The checkpoint that the run began with, as DIR@STEP; "" for none."""
    text: str = ""
    """The name of the run's text."""

    @property
    def bpc(self) -> float:
        """Return the bits per symbol."""
        return float(self.result["bpc"])

    @property
    def blocks(self) -> Blocks | None:
        """Return the costs in blocks; None for a validation."""
        return None if self.validation else row_blocks(self.result)

    @property
    def interval(self) -> float | None:
        """Return half the 95 % confidence interval of the bpc, None where there is none."""
        return self.blocks.half_interval() if self.blocks else None

    @property
    def comparison_key(self) -> tuple[str, ...]:
        """Return what must be equal in runs that are ranked: the text, its split, the symbols and the protocol."""
        row = self.result
        return (
            f"corpus {row['corpus'][:12]}",
            f"split {row['split']} of {row['split_spec']}",
            f"symbols {row['symbols'][0]}..{row['symbols'][1]} ({row['kind']})",
            f"protocol {protocol_key(row)}",
        )

    @property
    def title(self) -> tuple[str, ...]:
        """Return the comparison key in words for people, with the name of the text."""
        corpus, *others = self.comparison_key
        return (f"{self.text} ({corpus})", *others)


def protocol_key(row: Row) -> str:
    """Return a result's protocol without what does not change its bpc: lanes that are exact, or warm enough."""
    tempered = f"temperature {row['temperature']:.6g}, " if row.get("temperature", 1) not in (1, None) else ""
    if row["protocol_name"] == "windows":
        return f"{tempered}windows of {row['window']}, stride {row['stride']}"
    dynamic = row["dynamic"]
    key: str = tempered + row["protocol_name"]
    if row["separator"]:
        key += f" after {row['separator']!r}"
    if dynamic:
        key += f" {dynamic['method']}"
    # Streams of dynamic evaluation adapt each on its own, so their number matters however warm they are.
    if row["lanes"] > 1 and (dynamic or row["warmup"] < WARM):
        key += f", {row['lanes']} {'streams' if dynamic else 'lanes'}, {row['warmup']} warm-up"
    return key


def find_ended_runs(workdirs: Sequence[str | Path]) -> list[Path]:
    """List run folders: those named, and of a folder that holds runs, such as that of a sweep, those that have ended.

    Raises UserError where none of a folder's runs has.
    """
    found: list[Path] = []
    for workdir in map(Path, workdirs):
        runs = [workdir] if RunDir(workdir).run.exists() or not workdir.is_dir() else find_runs(workdir)
        ended = [run for run in runs if run == workdir or RunDir(run).result.exists()]
        if not ended:
            raise UserError(f"None of the {len(runs)} runs in {workdir} has ended: rnnlm status {workdir} tells more.")
        found += ended
    return found


def open_runs(
    workdirs: Sequence[Path], split: str | None, symbols: tuple[int, int], protocol: str, trust_code: bool = False
) -> list[Run]:
    """Open an evaluation of each run on a split: if it is None, on test, or on valid where only that has one of all.

    Raises UserError as `open_run`.
    """
    if split is None:
        saved = [load_run(workdir) for workdir in workdirs]
        have = (s for s in ("test", "valid") if all(find_result(run, s, symbols, protocol) for run in saved))
        split = next(have, "test")
    return [open_run(workdir, split, symbols, protocol, trust_code) for workdir in workdirs]


def open_run(workdir: Path, split: str, symbols: tuple[int, int], protocol: str, trust_code: bool = False) -> Run:
    """Open a run's newest evaluation on `symbols` = (from, to) of a split, to=0 for its end.

    `protocol` is what the protocol's words begin with, "" for the run's own. Where there is no such evaluation, it is
    the last validation of the training if that fits. Raises UserError if there is neither, or if the run's cell, which
    tells the FLOPs, is code that is not trusted.
    """
    run = load_run(workdir)
    check_trust(workdir, run.config.model, trust_code)
    result = find_result(run, split, symbols, protocol)
    if result is None:
        if split not in run.splits:
            raise UserError(f"{workdir} has no split {split!r}: it has {', '.join(run.splits)} (--split).")
        rows, scored = read_results(run), scored_symbols(run, split, symbols)
        have = sorted({f"{r['split']} {r['symbols'][0]}..{r['symbols'][1]} {protocol_key(r)}" for r in rows})
        raise UserError(
            f"{workdir} has no evaluation on {split}, symbols {scored[0]}..{scored[1]}, under "
            f"{protocol or EvalProtocol.of_run(run.config).name}: it has "
            f"{'; '.join(have[:5]) or 'none'}{' and others' if len(have) > 5 else ''}. Make one with rnnlm eval."
        )
    trained = result["step"] * run.symbols_per_step
    flops = 3 * size.flops_per_symbol(run.config.model, len(run.vocabulary)) * trained
    logged, _ = read_rows(RunDir(workdir).metrics, result["step"])
    seconds = logged[-1]["seconds"] if logged else None
    parent = "{path}@{step}".format(**run.parent) if run.parent else ""
    no_blocks = result["blocks"] is None
    amounts = run.parameters, trained, flops, seconds
    return Run(str(workdir), run.config, result, *amounts, no_blocks, parent, run.corpus.name)


def scored_symbols(run: RunInfo, split: str, symbols: tuple[int, int]) -> list[int]:
    """Return the [from, to) that is asked for by `symbols`, where to=0 is the end of the split."""
    begin, end = run.splits.get(split, (0, 0))
    return [symbols[0], min(symbols[1] or end - begin, end - begin)]


def find_result(run: RunInfo, split: str, symbols: tuple[int, int], protocol: str) -> Row | None:
    """Return the result that `open_run` opens, None where there is none; a validation has no blocks."""
    scored = scored_symbols(run, split, symbols)
    protocol = protocol or EvalProtocol.of_run(run.config).name
    rows = [r for r in read_results(run) if (r["split"], r["symbols"]) == (split, scored)]
    matching = [r for r in rows if r["protocol"].startswith(protocol)]
    return matching[-1] if matching else last_validation(run, split, symbols, protocol)


def last_validation(run: RunInfo, split: str, symbols: tuple[int, int], protocol: str) -> Row | None:
    """Return the last validation of a run's training as a line of results without blocks; None if it does not fit.

    Unless some symbols are asked for, it may be of the first `eval.max_symbols` of the split.
    """
    validations = [row for row in read_rows(RunDir(run.folder).metrics)[0] if "valid_bpc" in row]
    if split != "valid" or not validations:
        return None
    row = validations[-1]
    words, count = row["valid_protocol"], row["valid_count"]
    if not words.startswith(protocol) or (any(symbols) and scored_symbols(run, split, symbols) != [0, count]):
        return None
    found = re.search(r"(\d+) lanes, (\d+) warm-up", words)
    lanes, warmup = (int(found[1]), int(found[2])) if found else (1, 0)
    return {
        **parse_protocol(words, lanes),
        **{name: row[f"valid_{name}"] for name in ("protocol", "count", "nats", "bpc", "bpb")},
        "split": split,
        "split_spec": run.config.data.split,
        "symbols": [0, count],
        "kind": run.vocabulary.kind,
        "lanes": lanes,
        "warmup": warmup,
        "step": row["step"],
        "corpus": run.sha256,
        "blocks": None,
    }


def rank(runs: Sequence[Run]) -> list[Run]:
    """Sort runs by bpc, best first. Raises UserError if their comparison keys differ."""
    first, *others = runs
    for other in others:
        if other.comparison_key != first.comparison_key:
            differ = [f"{a} / {b}" for a, b in zip(first.comparison_key, other.comparison_key, strict=True) if a != b]
            raise UserError(
                f"{first.name} and {other.name} cannot be ranked together: {'; '.join(differ)}. Evaluate both alike "
                "(rnnlm eval), or compare each with its own kind."
            )
    return sorted(runs, key=lambda run: run.bpc)


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Return the config keys in which runs differ, in the order of the first one's config."""
    flat = [dict(flatten(run.config.as_dict())) for run in runs]
    return [name for name in flat[0] if len({repr(values.get(name)) for values in flat}) > 1]


def table(runs: Sequence[Run]) -> list[Row]:
    """Return one row a run, best first, ready for JSON, with the config keys in which the runs differ.

    `worse_by` is the paired difference from the best run in bpc, `interval` its 95 % confidence interval, and
    `bpc_interval` that of the bpc itself. `source` is eval, or validation where the bpc is that of the last validation
    of the training; this has no intervals. `scored` are the [from, to) of the symbols of the split. A row has the
    `parent` that the run began with where some run has one.
    """
    ranked = rank(runs)
    flat = [dict(flatten(run.config.as_dict())) for run in ranked]
    differing = [name for name in differing_keys(ranked) if name != "train.init_from"]  # `parent` says it with the step
    rows = []
    for run, values in zip(ranked, flat, strict=True):
        delta_bpc, interval = compare_pair(run, ranked[0])
        own = run.blocks.uncertainty() if run.blocks else dict.fromkeys(("stderr", "interval"))
        rows.append(
            {
                "run": run.name,
                "bpc": run.bpc,
                "bpc_interval": own["interval"],
                "stderr": own["stderr"],
                "worse_by": delta_bpc,
                "interval": interval,
                "parameters": run.parameters,
                "symbols": run.symbols,
                "flops": run.flops,
                "seconds": run.seconds,
                "symbols_per_second": run.symbols / run.seconds if run.seconds else None,
                "protocol": run.result["protocol"],
                "step": run.result["step"],
                **({"parent": run.parent or None} if any(other.parent for other in ranked) else {}),
                "source": "validation" if run.validation else "eval",
                "text": run.text,
                "split": run.result["split"],
                "scored": run.result["symbols"],
                **{name: values.get(name) for name in differing},
            }
        )
    return rows


def compare_pair(run: Run, other: Run) -> tuple[float, list[float] | None]:
    """Return (own bpc minus another run's on the same symbols, its 95 % interval or None), blocks paired."""
    if run.blocks is None or other.blocks is None:
        return run.bpc - other.bpc, None
    difference = run.blocks.difference(other.blocks)
    interval = difference.interval()
    return difference.tally.bpc, None if interval is None else list(interval)
