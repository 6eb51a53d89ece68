"""rnnlm eval: score a split of a run's text in bits per character."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from rnnlm.commands.flags import (
    TUNE,
    adaptation_flags,
    data_flag,
    device_flags,
    given_adaptation,
    given_protocol,
    load_model,
    protocol_flags,
    step_flag,
    workdir_flags,
)
from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError
from rnnlm.files import check_writable

if TYPE_CHECKING:
    from rnnlm.evaluation.dynamic import Adaptation
    from rnnlm.evaluation.protocol import EvalProtocol, Score
    from rnnlm.language_model import LanguageModel
    from rnnlm.runtime.console import Console


def main(argv: list[str]) -> int:
    """Score a split, print the score and append it to result.jsonl."""
    values = flags.FlagValues()
    define_flags(values)
    parse("eval", values, argv)
    refuse_contradictions(values)
    lm = load_model(values, values.data)

    from rnnlm.runtime.console import Console

    console = Console(not values.json)
    if values.tune:
        tune(values, lm, console)
    protocol = given_protocol(values, lm.config)
    ensemble = load_ensemble(values)
    if values.temperature == TUNE:
        protocol = tune_temperature(protocol, lm, ensemble, console)
    with console:
        score = lm.score(
            values.split,
            protocol=None if values.dynamic else protocol,
            dynamic=given_options(values, lm) if values.dynamic else None,
            symbols=(values.symbols_from, values.symbols_to),
            ensemble=ensemble,
            progress=console.share,
            record=not ensemble,
        )
    line = score.as_dict() | {"step": lm.train_step}
    mean = ""
    if ensemble:
        line["ensemble"] = [str(member.workdir) for member in (lm, *ensemble)]
        mean = f"ensemble  {len(ensemble) + 1} runs, mean of their probabilities; not recorded\n"
    half = score.blocks.half_interval()
    interval = "" if half is None else f" +- {half:.4f} (95 % interval)"
    why = f"interval  none: {score.no_interval}\n" if score.no_interval else ""
    console.say(
        f"{mean}split     {line['split']}\nprotocol  {line['protocol']}\nstep      {lm.train_step}\n"
        f"count     {line['count']:,} symbols ({lm.config.data.symbols})\nnats      {line['nats']:,.1f}\n"
        f"bpc       {line['bpc']:.4f}{interval} bits per symbol\n{why}bpb       {line['bpb']:.4f} bits per byte"
    )
    if values.json:
        print(json.dumps(line))
    if values.compressors:
        show_compressors(lm, score, console)
    if values.by_block:
        write_blocks(Path(values.by_block), score)
    return 0


def define_flags(values: flags.FlagValues) -> None:
    """Define the flags of `rnnlm eval`."""
    workdir_flags(values)
    flags.DEFINE_string("split", "test", "the split to score: train, valid or test", flag_values=values)
    flags.DEFINE_bool("json", False, "print one line of JSON instead", flag_values=values)
    protocol_flags(values)
    flags.DEFINE_integer("symbols_from", 0, "the split's first symbol to score", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("symbols_to", 0, "and the one after the last; 0: its end", lower_bound=0, flag_values=values)
    flags.DEFINE_enum(
        "dynamic", "", ["", "rms", "sgd"], "go on learning from the split, segment by segment", flag_values=values
    )
    adaptation_flags(values)
    flags.DEFINE_enum(
        "normalize",
        None,
        ["tensor", "global"],
        "dynamic rms: the mean that the decay is relative to; tensor unless given",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "tune", False, "dynamic: find segment, rate and decay on the validation split first", flag_values=values
    )
    flags.DEFINE_list(
        "ensemble", [], "other run folders, whose probabilities are averaged with this run's", flag_values=values
    )
    flags.DEFINE_bool("verbose", False, "tune: print each trial", flag_values=values)
    flags.DEFINE_string("by_block", "", "a file for the curve: bpc of every 10,000 symbols, as CSV", flag_values=values)
    step_flag(values)
    data_flag(values)
    flags.DEFINE_bool("compressors", False, "also show gzip, bzip2 and xz on the same bytes", flag_values=values)
    device_flags(values)


def load_ensemble(values: flags.FlagValues) -> list["LanguageModel"]:
    """Load the other runs of --ensemble at their best steps."""
    from rnnlm import language_model

    return [language_model.load(workdir, trust_code=values.trust_code) for workdir in values.ensemble]


def tune_temperature(
    protocol: "EvalProtocol", lm: "LanguageModel", ensemble: list["LanguageModel"], console: "Console"
) -> "EvalProtocol":
    """Return the protocol with the temperature that is best on the validation split, and say which."""
    with console:
        temperature = lm.tune_temperature(protocol, ensemble, console.share)
    bound = ", near the bound of the search, 1/2 to 2" if not 0.51 < temperature < 1.96 else ""
    console.say(f"tuned: temperature {temperature:.6g}, on the validation split{bound}")
    return replace(protocol, temperature=temperature)


def refuse_contradictions(values: flags.FlagValues) -> None:
    """Raise UserError for flags that contradict each other, before any work is done."""
    if values.json and values.compressors:
        raise UserError("--json prints the scores alone: leave out --compressors.")
    if values.by_block:
        check_writable(Path(values.by_block), "--by_block")
    if values.dynamic:
        if values.protocol not in (None, "carry"):
            raise UserError("--dynamic reads with the carry: leave out --protocol.")
        if values.temperature or values.ensemble:
            raise UserError("--dynamic adapts one model as it is: leave out --temperature and --ensemble.")
        if values.normalize and values.dynamic != "rms":
            raise UserError("--normalize is for --dynamic=rms, whose decay is relative to a mean.")
    if values.verbose and (values.json or not values.tune):
        raise UserError("--verbose prints each trial of --tune: add --tune, without --json, or leave it out.")
    for name in ("segment", "learning_rate", "decay", "tune", "normalize"):
        given = values[name].value
        if given not in (None, False) and not values.dynamic:
            raise UserError(f"--{name} is for dynamic evaluation: add --dynamic=rms.")
        if given is not None and values.tune and name in ("segment", "learning_rate", "decay"):
            raise UserError(f"--tune finds segment, rate and decay by itself: leave out --{name}, or --tune.")


def given_options(values: flags.FlagValues, lm: "LanguageModel") -> "Adaptation":
    """Build the options of dynamic evaluation that the flags ask for. Raises UserError where none are known."""
    options = given_adaptation(values, lm, values.dynamic, values.normalize or "tensor")
    warmup = lm.config.eval.warmup if values.warmup is None else values.warmup
    return replace(options, streams=values.lanes or 1, warmup=warmup)


def tune(values: flags.FlagValues, lm: "LanguageModel", console: "Console") -> None:
    """Tune dynamic evaluation, showing how far it is, or each trial with --verbose, and the best."""
    from rnnlm.evaluation.dynamic import TUNED_SYMBOLS

    trials: dict[Adaptation, float] = {}
    count = min(TUNED_SYMBOLS, len(lm.dataset.slice("valid")))

    def settings(options: "Adaptation") -> str:
        return f"segment {options.segment}  rate {options.learning_rate:.3g}  decay {options.decay:.3g}"

    def show(options: "Adaptation", bpc: float) -> None:
        trials[options] = bpc
        if values.verbose:
            console.say(f"valid {bpc:.4f} bpc  {count:,} symbols  {settings(options)}")
        else:
            console.search(len(trials), min(trials.values(), key=lambda bpc: (math.isnan(bpc), bpc)))

    with console:
        if not values.verbose:
            console.search(0, math.nan)
        best = lm.tune_dynamic(values.dynamic, values.normalize or "tensor", show)
    console.say(f"tuned: {settings(best)}  (valid {trials[best]:.4f} bpc)")


def write_blocks(path: Path, score: "Score") -> None:
    """Write the bpc of every 10,000 symbols as CSV. Raises WriteError."""
    from rnnlm.evaluation.tally import CURVE_BLOCK
    from rnnlm.files import write_atomic

    blocks = score.blocks.coarsen(CURVE_BLOCK)
    rows = zip(blocks.counts.tolist(), blocks.nats.tolist(), blocks.bpc.tolist(), strict=True)
    lines = [f"{score.begin + i * CURVE_BLOCK},{n},{nats:.4f},{bpc:.6f}\n" for i, (n, nats, bpc) in enumerate(rows)]
    write_atomic(path, [b"from,count,nats,bpc\n", *(line.encode() for line in lines)])


def show_compressors(lm: "LanguageModel", score: "Score", console: "Console") -> None:
    """Show the bits per byte of gzip, bzip2 and xz on the symbols of a score beside the model's."""
    from rnnlm.baselines import compressors

    scored = lm.dataset.slice(score.split).subrange(score.begin, score.end)
    console.say(
        f"\nbits per byte on the same {score.bytes:,} bytes (each compressor alone, without the training split)"
    )
    rows = {"rnnlm": score.tally.per(score.bytes)}
    rows |= {name: 8 * n / score.bytes for name, n in compressors.sizes(scored.raw()).items()}
    for name, bits in sorted(rows.items(), key=lambda row: row[1]):
        console.say(f"  {name:9} {bits:.3f}")
