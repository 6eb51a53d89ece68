"""rnnlm eval: bits per character on a part of the text."""

import functools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from rnnlm.commands.flags import (
    device_flags,
    given_protocol,
    given_settings,
    given_workdir,
    kept_statistics,
    protocol_flags,
    saved_run,
    settings_flags,
    start_devices,
)
from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError, WriteError
from rnnlm.files import check_writable


def main(argv: list[str]) -> int:
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "a run folder", flag_values=values)
    flags.DEFINE_string("split", "test", "the part to score: train, valid or test", flag_values=values)
    flags.DEFINE_bool("json", False, "print one line of JSON instead", flag_values=values)
    protocol_flags(values)
    flags.DEFINE_integer("symbols_from", 0, "the part's first symbol to score", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("symbols_to", 0, "and the one after the last; 0: its end", lower_bound=0, flag_values=values)
    dynamic_flags(values)
    flags.DEFINE_string("by_block", "", "a file for the curve: bpc of every 10,000 symbols, as CSV", flag_values=values)
    flags.DEFINE_string("step", "best", "the checkpoint: best by validation, latest, or a step", flag_values=values)
    flags.DEFINE_bool("compressors", False, "also show gzip, bzip2 and xz on the same bytes", flag_values=values)
    device_flags(values)
    parse("eval", values, argv)
    refuse_what_does_not_fit(values)
    workdir = given_workdir(values)
    kept = saved_run(workdir)
    start_devices(values, None)

    from rnnlm import language_model
    from rnnlm.data.splits import open_dataset
    from rnnlm.runs import results
    from rnnlm.runtime.console import Console

    protocol = given_protocol(values, kept.config.eval)
    model = language_model.load(workdir, values.step)
    data = open_dataset(kept.config.data, kept.vocabulary, kept.sha256)
    text_slice, only = data.slice(values.split), (values.symbols_from, values.symbols_to)
    console = Console(not values.json)
    score = functools.partial(model.score, text_slice, protocol)
    if values.dynamic:
        score = adapting(values, workdir, model, data, console)
    begun = time.perf_counter()
    found = score(only=only, progress=console.share)
    console.done()
    seconds = time.perf_counter() - begun
    if not math.isfinite(found.tally.nats):
        raise UserError("The cost is no number: the model has diverged. Take a smaller rate, or an earlier --step.")
    line = found.as_dict() | {"step": model.train_step}
    try:
        results.append_result(workdir, result_row(found, model, kept, seconds))
    except WriteError as error:
        print(f"The score is not noted: {error}", file=sys.stderr)
    spread = "" if line["stderr"] is None else f" +- {line['stderr']:.4f}"
    console.say(
        f"split     {line['split']}\nprotocol  {line['protocol']}\nstep      {model.train_step}\n"
        f"count     {line['count']:,} symbols ({kept.config.data.symbols})\nnats      {line['nats']:,.1f}\n"
        f"bpc       {line['bpc']:.4f}{spread} bits per symbol\nbpb       {line['bpb']:.4f} bits per byte"
    )
    if values.json:
        print(json.dumps(line))
    if values.compressors:
        show_compressors(data, values.split, found.bytes, line["bpb"], console)
    if values.by_block:
        write_blocks(Path(values.by_block), found)
    return 0


def refuse_what_does_not_fit(values: flags.FlagValues) -> None:
    """Raises UserError for flags that contradict each other, before anything is done."""
    if values.json and values.compressors:
        raise UserError("--json prints the scores alone: leave out --compressors.")
    if values.compressors and (values.symbols_from or values.symbols_to):
        raise UserError("--compressors reads the whole part: leave out --symbols_from and --symbols_to.")
    if values.by_block:
        check_writable(Path(values.by_block), "--by_block")
    if values.dynamic:
        if values.protocol != "carry":
            raise UserError("--dynamic reads with the carry: leave out --protocol.")
        if values.normalize and values.dynamic != "rms":
            raise UserError("--normalize is for --dynamic=rms, whose pull is relative to a mean.")
    for name in ("segment", "learning_rate", "decay", "tune", "normalize"):
        given = values[name].value
        if given and not values.dynamic:
            raise UserError(f"--{name} is for dynamic evaluation: add --dynamic=rms.")
        if given is not None and values.tune and name in ("segment", "learning_rate", "decay"):
            raise UserError(f"--tune finds segment, rate and decay by itself: leave out --{name}, or --tune.")


def dynamic_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "dynamic", "", ["", "rms", "sgd"], "go on learning from the part, symbol after symbol", flag_values=values
    )
    settings_flags(values)
    flags.DEFINE_enum(
        "normalize",
        None,
        ["tensor", "global"],
        "dynamic rms: the mean that the pull is relative to; tensor unless given",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "tune", False, "dynamic: find segment, rate and decay on the validation part first", flag_values=values
    )


def adapting(values: flags.FlagValues, workdir: Path, model: Any, data: Any, console: Any) -> Any:
    """Scores a part by dynamic evaluation, with settings as given or as tuned before."""
    from rnnlm.evaluation import dynamic
    from rnnlm.runs import adaptation, layout

    adapter = dynamic.Adapter(model.config.model, len(model.vocabulary))
    streams, warmup = values.lanes or 1, 512 if values.warmup is None else values.warmup
    normalize = values.normalize or "tensor"

    def how(segment: int, rate: float, decay: float, streams: int) -> Any:
        return dynamic.Adaptation(values.dynamic, segment, rate, decay, normalize, streams, warmup)

    @functools.cache
    def statistics(segment: int) -> Any:
        return model.params if values.dynamic == "sgd" else kept_statistics(workdir, model, segment)

    def score(how: Any, name: str, **options: Any) -> Any:
        return adapter(model.params, statistics(how.segment), data.slice(name), how, **options)

    if values.tune:
        best: tuple[float, list[float]] = (math.inf, [])
        rate, decay = (4e-5, 1e-3) if values.dynamic == "rms" else (0.1, 1e-3)
        for segment in dynamic.TUNED_SEGMENTS:

            def cost(rate: float, decay: float, segment: int = segment) -> float:
                nonlocal best
                bpc = score(how(segment, rate, decay, 1), "valid", only=(0, dynamic.TUNED_SYMBOLS)).tally.bpc
                best = min(best, (bpc, [segment, rate, decay]))
                console.say(f"valid {bpc:.4f} bpc  segment {segment}  rate {rate:.3g}  decay {decay:.3g}")
                return float(bpc)

            rate, decay, _ = dynamic.tune(cost, rate, decay)
            if best[1] != [segment, rate, decay]:
                break
        if not best[1]:
            raise UserError("--tune found no settings under which the cost is a number: the model has diverged.")
        path = adaptation.tuned_path(workdir, model.params, values.dynamic, normalize)
        layout.write_json(path, {"bpc": best[0], "settings": best[1], "symbols": dynamic.TUNED_SYMBOLS})
        found = "segment {:.0f}  rate {:.3g}  decay {:.3g}".format(*best[1])
        console.say(f"tuned: {found}  (valid {best[0]:.4f} bpc)")
    chosen = how(*given_settings(values, workdir, model.params, values.dynamic, normalize), streams)
    statistics(chosen.segment)  # collected before the clock starts
    return functools.partial(score, chosen, values.split)


def result_row(found: Any, model: Any, kept: Any, seconds: float) -> dict[str, Any]:
    """A score with all that it depends on: a line of result.jsonl."""
    from rnnlm.evaluation.tally import BLOCK
    from rnnlm.runs import checkpoint
    from rnnlm.runs.provenance import provenance

    where = provenance()
    return found.as_dict() | {
        "symbols": [found.begin, found.end],
        "kind": kept.vocabulary.kind,
        "lanes": found.protocol.lanes,
        "warmup": found.protocol.warmup,
        "step": model.train_step,
        "params": checkpoint.digest(model.params),
        "corpus": kept.sha256,
        "git": where["git"] and where["git"]["sha"] + ("-dirty" if where["git"]["diff"] else ""),
        "time": where["time"],
        "seconds": seconds,
        "block": BLOCK,
        "blocks": [round(nats, 3) for nats in found.blocks.nats.tolist()],
    }


def write_blocks(path: Path, found: Any) -> None:
    from rnnlm.evaluation.tally import BLOCK
    from rnnlm.files import write_atomic

    blocks = found.blocks
    rows = zip(blocks.counts.tolist(), blocks.nats.tolist(), blocks.bpc.tolist(), strict=True)
    lines = [f"{found.begin + i * BLOCK},{n},{nats:.4f},{bpc:.6f}\n" for i, (n, nats, bpc) in enumerate(rows)]
    write_atomic(path, [b"from,count,nats,bpc\n", *(line.encode() for line in lines)])


def show_compressors(data: Any, split: str, size: int, bpb: float, console: Any) -> None:
    from rnnlm.baselines import compressors

    console.say(f"\nbits per byte on the same {size:,} bytes (each compressor alone on them)")
    rows = {"rnnlm": bpb} | {name: 8 * n / size for name, n in compressors.sizes(data.raw(split)).items()}
    for name, bits in sorted(rows.items(), key=lambda row: row[1]):
        console.say(f"  {name:9} {bits:.3f}")
