"""rnnlm baseline: what n-grams and general compressors make of the same held-out symbols."""

import itertools
import json
from pathlib import Path

import numpy as np
from absl import flags

from rnnlm.commands.flags import saved_run
from rnnlm.commands.overrides import parse
from rnnlm.config import DataConfig
from rnnlm.errors import UserError


def main(argv: list[str]) -> int:
    values = flags.FlagValues()
    flags.DEFINE_string("corpus", "", "a corpus by name (rnnlm data lists them)", flag_values=values)
    flags.DEFINE_string("files", "", "or files, folders, globs", flag_values=values)
    flags.DEFINE_string("parts", None, "what is train, valid and test; 0.8/0.1/0.1 unless given", flag_values=values)
    flags.DEFINE_string("symbols", None, "byte, byte_seen or char; byte_seen unless given", flag_values=values)
    flags.DEFINE_string("workdir", "", "or a run folder, whose text, parts and symbols are taken", flag_values=values)
    flags.DEFINE_string("split", "test", "the part to score: valid or test", flag_values=values)
    flags.DEFINE_integer("order", 20, "of the longest n-gram", lower_bound=1, upper_bound=100, flag_values=values)
    flags.DEFINE_bool("json", False, "print one line of JSON a row instead", flag_values=values)
    parse("baseline", values, argv)
    if sum(map(bool, (values.corpus, values.files, values.workdir))) != 1:
        raise UserError("Give one text: --corpus=NAME, --files=PATH, or --workdir=DIR for that of a run.")
    if values.workdir and (values.parts or values.symbols):
        raise UserError("--workdir has the parts and symbols of its run: leave out --parts and --symbols.")
    if values.split == "train":
        raise UserError("--split=train is what the n-grams are made from: score valid or test.")

    from rnnlm.baselines import compressors, ngram
    from rnnlm.data.splits import open_dataset
    from rnnlm.evaluation.tally import Tally
    from rnnlm.runtime.console import Console

    if values.workdir:
        kept = saved_run(Path(values.workdir))
        data = open_dataset(kept.config.data, kept.vocabulary, kept.sha256)
    else:
        config = DataConfig(values.corpus, values.files, values.parts or "0.8/0.1/0.1", values.symbols or "byte_seen")
        config.check()
        data = open_dataset(config)
    console, vocabulary = Console(not values.json), data.text.vocabulary
    slices = [data.slice(name) for name in ("train", values.split)]
    train, scored = (s.text.encode(np.arange(s.begin, s.end)).astype(np.int64) for s in slices)
    size = sum(map(len, data.raw(values.split)))
    count = len(scored)
    console.say(
        f"{data.corpus.name}, {values.split} of {data.split_spec}: {count:,} symbols ({vocabulary.kind}) "
        f"in {size:,} bytes, after {len(train):,} to learn from\n{'':29}    bpc     bpb   bytes"
    )

    def row(name: str, tally: Tally) -> None:
        bpc, bpb = tally.bpc, tally.per(size)
        console.say(f"{name:29} {bpc:6.4f}  {bpb:6.4f}  {tally.bits / 8:,.0f}")
        if values.json:
            line = {"name": name, "count": count, "nats": tally.nats, "bpc": bpc, "bpb": bpb, "bytes": tally.bits / 8}
            print(json.dumps(line))

    found = ngram.nats(train, scored, len(vocabulary), values.order)
    for order, nats in enumerate(found, 1):
        row(f"{order}-gram", Tally(nats, count))
    tools = compressors.available()
    alone = compressors.sizes(data.raw(values.split), tools)
    primer = compressors.sizes(data.raw("train"), tools)
    both = compressors.sizes(itertools.chain(data.raw("train"), data.raw(values.split)), tools)
    for name in tools:
        row(name, Tally.of_bits(8 * alone[name], count))
        row(f"{name}, after train", Tally.of_bits(8 * (both[name] - primer[name]), count))
    if "ppmd -o 8" not in tools:
        console.say("(no PPMd: there is no 7z here; Debian's p7zip-full has it)")
    return 0
