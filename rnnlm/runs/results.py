r"""result.jsonl of a run folder: a line of JSON for each evaluation. This is its schema, version 2.

version        2; lines without it (version 1) are upgraded when they are read
split          train, valid or test
split_spec     the run's data.split, by which the split's symbols are defined
symbols        [from, to): which symbols of the split were scored
kind           kind of the vocabulary: byte, byte_seen or char
protocol       the protocol in words, which are not to be parsed
protocol_name  carry, windows, records or dynamic
lanes, warmup  stretches that were read side by side (dynamic: streams), and symbols read before each
window, stride symbols of a window and how many of them count; null but for windows
separator      the symbol that ends a record; null but for records, and dynamic on a run of records
temperature    what the logits were divided by, 1 unless asked for; null for dynamic
dynamic        null but for dynamic: {method, segment, learning_rate, decay, normalize (rms only), streams}
count          symbols scored
nats           their cost, the sum of -ln p
bpc, bpb       bits per symbol and bits per byte
stderr         standard error of the bpc, or null; lines without interval have that over blocks of 10,000 symbols
interval       [low, high], the 95 % confidence interval of the bpc, or null
no_interval    why there is none, in words; else null
block          symbols of a block: 1, 10, 100 or 1,000, by the count; 10,000 in version 1
blocks         nats of each block in the order of the text; the last block may be shorter
step           the checkpoint's step
params         digest of the params (checkpoint.digest)
trained_as     {config: sha256 of the run's config.json as canonical JSON, parent: the checkpoint that the run began
               with, {path, step, params, config}, the last two as digests, or null}; null in version 1
corpus         sha256 of the text
git            commit of rnnlm, with -dirty if its source tree differed; null outside a checkout
time, seconds  when the evaluation ended, and how long it took
"""

import ast
import contextlib
import json
import re
from pathlib import Path

import numpy as np

from rnnlm.evaluation.protocol import Score
from rnnlm.evaluation.tally import Blocks
from rnnlm.files import append_line, reading
from rnnlm.runs.layout import Row, RunDir, RunInfo
from rnnlm.runs.provenance import provenance

VERSION = 2
VERSION_1_FIELDS = {
    "split", "protocol", "symbols", "kind", "lanes", "warmup", "step", "corpus", "count", "bpc", "stderr", "block",
    "blocks",
}  # fmt: skip
"""Fields without which a line of version 1 is skipped."""
VERSION_2_FIELDS = VERSION_1_FIELDS | {
    "version", "split_spec", "protocol_name", "window", "stride", "separator", "dynamic", "nats", "bpb",
    "params", "trained_as", "git", "time", "seconds",
}  # fmt: skip
"""Fields without which a line of version 2 is skipped: these stay as they are, whatever fields are added."""
LATER_FIELDS = {"interval", "no_interval", "temperature"}
"""Fields that early lines of version 2 lack: the first two are made from the blocks, and the last one was 1."""
FIELDS = VERSION_2_FIELDS | LATER_FIELDS
"""All fields of a line; one that an older line lacks is null when it is read."""


def result_row(score: Score, run: RunInfo, params_digest: str, step: int, seconds: float) -> Row:
    """Make a line of result.jsonl from the score of a run's checkpoint; `seconds` is how long the evaluation took."""
    where = provenance()
    commit = where["git"]
    return score.as_dict() | {
        "version": VERSION,
        "split_spec": run.config.data.split,
        "symbols": [score.begin, score.end],
        "kind": run.vocabulary.kind,
        "lanes": score.protocol.lanes,
        "warmup": score.protocol.warmup,
        **score.protocol.as_fields(),
        "step": step,
        "params": params_digest,
        "trained_as": {"config": run.config_sha256, "parent": run.parent},
        "corpus": run.sha256,
        "git": commit and commit["sha"] + ("-dirty" if commit["diff"] else ""),
        "time": where["time"],
        "seconds": seconds,
        **block_fields(score.blocks),
    }


def append_result(folder: Path, row: Row) -> None:
    """Append a line to the result.jsonl of a run folder. Raises WriteError."""
    append_line(RunDir(folder).results, json.dumps(row).encode())


def read_results(run: RunInfo) -> list[Row]:
    """Read the lines of a run's result.jsonl, old ones upgraded to the present schema.

    A line that was cut off or lacks fields is skipped. Raises UserError if the file cannot be read.
    """
    path, rows = RunDir(run.folder).results, []
    with reading(path):
        lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and row.keys() >= (VERSION_2_FIELDS if "version" in row else VERSION_1_FIELDS):
                rows.append(upgrade_row(row, run.config.data.split))
    return rows


def upgrade_row(row: Row, split_spec: str) -> Row:
    """Return a line in the present schema: fields that it lacks are null.

    In a line of version 1, the protocol's fields are read from its words, and what it did not record is null. Standard
    error and interval of a line that lacks the latter are made from its blocks. `split_spec` is the run's.
    """
    added = {} if "interval" in row else row_blocks(row).uncertainty()
    if "version" not in row:
        added |= {"version": VERSION, "split_spec": split_spec} | parse_protocol(row["protocol"], row["lanes"])
    upgraded = dict.fromkeys(FIELDS) | row | added
    return upgraded if "temperature" in row else upgraded | {"temperature": None if upgraded["dynamic"] else 1.0}


def parse_protocol(words: str, lanes: int) -> Row:
    """Read the protocol's fields from the words of version 1; what the words do not tell is null."""
    fields: Row = dict.fromkeys(("window", "stride", "separator", "dynamic"))
    fields["protocol_name"] = words.replace(",", " ").split()[0]
    if found := re.match(r"windows of (\d+), stride (\d+)", words):
        fields |= {"window": int(found[1]), "stride": int(found[2])}
    elif found := re.match(r"records after (.+), \d+ lane", words):
        fields["separator"] = ast.literal_eval(found[1])
    elif found := re.match(
        r"dynamic (\w+), .*segment (\d+), rate ([^,]+), decay ([^,]+)(?:, (tensor|global) mean)?", words
    ):
        method, segment, rate, decay, normalize = found.groups()
        options = {"method": method, "segment": int(segment), "learning_rate": float(rate), "decay": float(decay)}
        fields["dynamic"] = options | {"normalize": normalize, "streams": lanes}
    return fields


def block_fields(blocks: Blocks) -> Row:
    """Return what a line keeps of the costs of blocks, which `row_blocks` reads."""
    return {"block": blocks.size, "blocks": [round(nats, 3) for nats in blocks.nats.tolist()]}


def row_blocks(row: Row) -> Blocks:
    """Return the blocks of a line in the present schema."""
    return Blocks(np.array(row["blocks"], np.float64), row["count"], row["block"])
