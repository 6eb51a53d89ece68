"""rnnlm published: list the configs of published models beside what is known of them."""

import json
from typing import TYPE_CHECKING

from absl import flags

from rnnlm.commands.overrides import parse

if TYPE_CHECKING:
    from rnnlm.runs.layout import Row

PREFIX = "configs/published/"


def main(argv: list[str]) -> int:
    """Print a line for each config: its published score, the parameters there and here, and what was measured here."""
    values = flags.FlagValues()
    flags.DEFINE_bool("json", False, "print one line of JSON a config instead", flag_values=values)
    parse("published", values, argv)

    from rnnlm import api
    from rnnlm.planning import published

    rows = api.published()
    if values.json:
        for row in rows:
            print(json.dumps(row))
        return 0
    print(f"{PREFIX:32} {'published':>16} {'params':>8} {'here':>10} seen as")
    for row in rows:
        print(line_of(row))
        for result in row["measured"]:
            print(f"{'':6}measured here: {describe_result(result, row['unit'])}")
    print(f"\nNAME:VARIANT is --config={PREFIX}NAME.py:VARIANT in the folder")
    print(f"{published.SOURCE}; its docstring has source, protocol and split,")
    print("what is unverified and what differs")
    return 0


def line_of(row: "Row") -> str:
    """Return a config, its score, its parameters there and here, and how its source was seen, in a line."""
    name = row["config"].removeprefix(PREFIX).replace(".py", "")
    score, params = row["score_there"] or "", row["parameters_there"] or ""
    return f"{name:32} {score:>16} {params:>8} {row['parameters']:>10,} {row['trust']}"


def describe_result(result: "Row", unit: str | None) -> str:
    """Return what an evaluation here gave, in the unit of the published score."""
    in_nats = f"{result['nats'] / result['count']:.4f} nats, " if unit == "nats" else ""
    return f"{in_nats}{result['bpc']:.4f} bpc on {result['split']}, {result['protocol']}"
