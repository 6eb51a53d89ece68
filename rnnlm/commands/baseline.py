"""rnnlm baseline: score n-grams and general compressors on the same held-out symbols."""

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from rnnlm.commands.flags import saved_run
from rnnlm.commands.overrides import parse
from rnnlm.config import DataConfig
from rnnlm.errors import UserError

if TYPE_CHECKING:
    from rnnlm.data.splits import Dataset
    from rnnlm.evaluation.tally import Tally


def main(argv: list[str]) -> int:
    """Print bpc, bits per byte and bytes of each baseline."""
    values = parse_flags(argv)

    from rnnlm.baselines import compressors, ngram
    from rnnlm.evaluation.tally import Tally
    from rnnlm.runtime.console import Console

    data = open_text(values)
    console, vocabulary = Console(not values.json), data.text.vocabulary
    slices = [data.slice(name) for name in ("train", values.split)]
    train, scored = (s.text.encode(np.arange(s.begin, s.end)).astype(np.int64) for s in slices)
    count, size = len(scored), sum(map(len, data.raw(values.split)))
    console.say(
        f"{data.corpus.name}, {values.split} of {data.split_spec}: {count:,} symbols ({vocabulary.kind}) in {size:,} "
        f"bytes, after {len(train):,} to learn from\n{'':29}    bpc     bpb   bytes"
    )

    def print_row(name: str, tally: "Tally") -> None:
        bpc, bpb = tally.bpc, tally.per(size)
        console.say(f"{name:29} {bpc:6.4f}  {bpb:6.4f}  {tally.bits / 8:,.0f}")
        if values.json:
            row = {"name": name, "count": count, "nats": tally.nats, "bpc": bpc, "bpb": bpb, "bytes": tally.bits / 8}
            print(json.dumps(row))

    for order, nats in enumerate(ngram.nats(train, scored, len(vocabulary), values.order), 1):
        print_row(f"{order}-gram", Tally(nats, count))
    tools = compressors.available()
    alone = compressors.sizes(data.raw(values.split), tools)
    primer = compressors.sizes(data.raw("train"), tools)
    both = compressors.sizes(itertools.chain(data.raw("train"), data.raw(values.split)), tools)
    for name in tools:
        print_row(name, Tally.of_bits(8 * alone[name], count))
        print_row(f"{name}, after train", Tally.of_bits(8 * (both[name] - primer[name]), count))
    if "ppmd -o 8" not in tools:
        console.say("(no PPMd: there is no 7z here; Debian's p7zip-full has it)")
    return 0


def parse_flags(argv: list[str]) -> flags.FlagValues:
    """Parse the flags. Raises UserError for flags that contradict each other."""
    values = flags.FlagValues()
    flags.DEFINE_string("corpus", "", "a corpus by name (rnnlm data lists them)", flag_values=values)
    flags.DEFINE_string("files", "", "or files, folders, globs", flag_values=values)
    spec = "train/valid/test, as in data.split; 0.8/0.1/0.1 unless given"
    flags.DEFINE_string("split_spec", None, spec, flag_values=values)
    flags.DEFINE_string("symbols", None, "byte, byte_seen or char; byte_seen unless given", flag_values=values)
    workdir = "or a run folder, whose text, split spec and symbols are taken"
    flags.DEFINE_string("workdir", "", workdir, flag_values=values)
    data = "--workdir: where the run's text is now: a file, folder or glob, checked by digest"
    flags.DEFINE_string("data", "", data, flag_values=values)
    flags.DEFINE_string("split", "test", "the split to score: valid or test", flag_values=values)
    flags.DEFINE_integer("order", 20, "of the longest n-gram", lower_bound=1, upper_bound=100, flag_values=values)
    flags.DEFINE_bool("json", False, "print one line of JSON a row instead", flag_values=values)
    parse("baseline", values, argv)
    if sum(map(bool, (values.corpus, values.files, values.workdir))) != 1:
        raise UserError("Give one text: --corpus=NAME, --files=PATH, or --workdir=DIR for that of a run.")
    if values.workdir and (values.split_spec or values.symbols):
        raise UserError("--workdir has the split spec and symbols of its run: leave out --split_spec and --symbols.")
    if values.data and not values.workdir:
        raise UserError("--data is for the text of a run: add --workdir, or name the text by --files.")
    if values.split == "train":
        raise UserError("--split=train is what the n-grams are made from: score valid or test.")
    return values


def open_text(values: flags.FlagValues) -> "Dataset":
    """Open the text that the flags name. Raises UserError if there is none."""
    from rnnlm.data.splits import open_dataset

    if values.workdir:
        dataset: Dataset = saved_run(Path(values.workdir)).open_dataset(values.data)
        return dataset
    split_spec, symbols = values.split_spec or "0.8/0.1/0.1", values.symbols or "byte_seen"
    config = DataConfig(values.corpus, values.files, split_spec, symbols)
    config.check()
    return open_dataset(config)
