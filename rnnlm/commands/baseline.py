"""rnnlm baseline: score n-grams and general compressors on the same held-out symbols."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from rnnlm.commands.flags import data_flag, saved_run
from rnnlm.commands.overrides import parse
from rnnlm.config import DataConfig
from rnnlm.errors import UserError

if TYPE_CHECKING:
    from rnnlm.data.splits import Dataset


def main(argv: list[str]) -> int:
    """Print bpc, bits per byte and bytes of each baseline."""
    values = parse_flags(argv)

    from rnnlm import api
    from rnnlm.baselines import compressors
    from rnnlm.runtime.console import Console

    dataset = open_text(values)
    console, scored = Console(not values.json), dataset.slice(values.split)
    count, size, learned = len(scored), sum(map(len, scored.raw())), len(dataset.slice("train"))
    console.say(
        f"{dataset.corpus.name}, {values.split} of {dataset.split_spec}: {count:,} symbols "
        f"({dataset.text.vocabulary.kind}) in {size:,} bytes, after {learned:,} to learn from\n"
        f"{'':29}    bpc  +- 95 %     bpb   bytes"
    )
    for row in api.baseline(dataset, values.split, values.order):
        half = f"{row['interval'][1] - row['bpc']:.4f}" if row["interval"] else ""
        console.say(f"{row['name']:29} {row['bpc']:6.4f}  {half:>7}  {row['bpb']:6.4f}  {row['bytes']:,.0f}")
        if values.json:
            print(json.dumps(row))
    if "ppmd -o 8" not in compressors.available():
        console.say("(no PPMd: there is no 7z here; Debian's p7zip-full has it)")
    return 0


def parse_flags(argv: list[str]) -> flags.FlagValues:
    """Parse the flags. Raises UserError for flags that contradict each other."""
    values = flags.FlagValues()
    flags.DEFINE_string("corpus", "", "a corpus by name (rnnlm data lists them)", flag_values=values)
    flags.DEFINE_string("files", "", "or files, folders, globs", flag_values=values)
    spec = f"train/valid/test, as in data.split; {DataConfig.split} unless given"
    flags.DEFINE_bool("binary", False, "take the files as they are, as data.binary does", flag_values=values)
    flags.DEFINE_string("split_spec", None, spec, flag_values=values)
    flags.DEFINE_string(
        "symbols", None, f"byte, byte_seen or char; {DataConfig.symbols} unless given", flag_values=values
    )
    workdir = "or a run folder, whose text, split spec and symbols are taken"
    flags.DEFINE_string("workdir", "", workdir, flag_values=values)
    data_flag(values)
    flags.DEFINE_string("split", "test", "the split to score: valid or test", flag_values=values)
    flags.DEFINE_integer("order", 20, "of the longest n-gram", lower_bound=1, upper_bound=100, flag_values=values)
    flags.DEFINE_bool("json", False, "print one line of JSON a row instead", flag_values=values)
    parse("baseline", values, argv)
    if sum(map(bool, (values.corpus, values.files, values.workdir))) != 1:
        raise UserError("Give one text: --corpus=NAME, --files=PATH, or --workdir=DIR for that of a run.")
    if values.workdir and (values.split_spec or values.symbols):
        raise UserError("--workdir has the split spec and symbols of its run: leave out --split_spec and --symbols.")
    if values.binary and not values.files:
        raise UserError("--binary says how files are opened: add --files.")
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
    split_spec, symbols = values.split_spec or DataConfig.split, values.symbols or DataConfig.symbols
    config = DataConfig(values.corpus, values.files, split_spec, symbols, binary=values.binary)
    return open_dataset(config)
