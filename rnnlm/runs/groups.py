"""Summarize runs that differ only in their seed: the mean and the spread of their bpc."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rnnlm.config import Config, unknown_key_message
from rnnlm.errors import UserError
from rnnlm.runs.compare import Run, differing_keys, rank
from rnnlm.runs.layout import Row
from rnnlm.schema import fields, flatten

Values = tuple[tuple[str, Any], ...]
"""Config keys with their values."""
T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """Hold runs whose configs are equal but for one key, and the `values` of the keys that tell groups apart."""

    runs: tuple[Run, ...]
    values: Values

    @property
    def bpc(self) -> float:
        """Return the mean bpc."""
        return statistics.fmean(run.bpc for run in self.runs)

    @property
    def spread(self) -> float | None:
        """Return the standard deviation of the bpc between runs, None for a single one."""
        return statistics.stdev(run.bpc for run in self.runs) if len(self.runs) > 1 else None

    @property
    def seconds(self) -> float | None:
        """Return the mean time of training, None where a run has none."""
        times = [run.seconds for run in self.runs]
        return None if None in times else statistics.fmean(time for time in times if time is not None)


def check_key(key: str) -> None:
    """Raise UserError unless runs can differ in a config key of the name."""
    known = [name for name, _, _ in fields(Config)]
    if key not in known:
        raise UserError(unknown_key_message(key, known))


def group_runs(runs: Sequence[Run], key: str = "seed") -> list[Group]:
    """Group runs that differ in one config key only: -> the groups by mean bpc, best first.

    Of runs with equal configs the first one counts: the others tell nothing of the spread. Raises UserError where runs
    cannot be ranked together, or where there is no such key.
    """
    check_key(key)
    flat = {run.name: dict(flatten(run.config.as_dict())) for run in rank(runs)}
    names = [name for name in differing_keys(runs) if name != key]
    different: dict[str, Run] = {}
    for run in runs:
        different.setdefault(repr([flat[run.name].get(name) for name in (*names, key)]), run)
    groups: dict[str, list[Run]] = {}
    for run in different.values():
        groups.setdefault(repr([flat[run.name].get(name) for name in names]), []).append(run)
    made = [Group(tuple(g), tuple((name, flat[g[0].name].get(name)) for name in names)) for g in groups.values()]
    return sorted(made, key=lambda group: group.bpc)


def group_rows(groups: Sequence[Group]) -> list[Row]:
    """Return a row for each group, ready for JSON, with the config keys that tell the groups apart.

    `bpc` is the mean, `spread` the standard deviation between the runs, `lowest` and `highest` their range; where no
    group has several runs, these are left out. What training took is None where the runs of a group differ in it, but
    for the mean seconds. `source` is validation where one of the runs has no evaluation.
    """
    rows = []
    several = any(len(group.runs) > 1 for group in groups)
    for group in groups:
        scores = [run.bpc for run in group.runs]
        between = {"spread": group.spread, "lowest": min(scores), "highest": max(scores)} if several else {}
        rows.append(
            {
                **dict(group.values),
                "runs": len(group.runs),
                "bpc": group.bpc,
                **between,
                "worse_by": group.bpc - groups[0].bpc,
                "parameters": common(run.parameters for run in group.runs),
                "symbols": common(run.symbols for run in group.runs),
                "flops": common(run.flops for run in group.runs),
                "seconds": group.seconds,
                "source": "validation" if any(run.validation for run in group.runs) else "eval",
                "names": [run.name for run in group.runs],
            }
        )
    return rows


def common(values: Iterable[T]) -> T | None:
    """Return the value that all are equal to, None where they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None
