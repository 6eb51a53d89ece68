"""`rnnlm <verb>`: flags to a config to one call. jax is imported only once a verb needs it."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import flags

from rnnlm import config as configs
from rnnlm.errors import UserError
from rnnlm.overrides import parse, parse_config

USAGE = """rnnlm: recurrent language models in JAX/Flax

  rnnlm train --config=configs/X.py --workdir=DIR [--config.model.hidden=512 ...]
      train, or go on with the run that DIR holds
  rnnlm eval --workdir=DIR --split=test [--json]
      bits per character on a part of the text
  rnnlm sample --workdir=DIR --prime=TEXT --length=N --temperature=T --seed=S [--num=K]
      text, as it is drawn
  rnnlm data [NAME]
      the corpora, or one of them fetched, checked and described

rnnlm VERB --help lists a verb's flags; configs/base.py explains every config key."""


def main(argv: list[str] | None = None) -> int:
    """Run one command line: -> its exit code, 2 for bad input."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(USAGE)
        return 0 if argv else 2
    try:
        if argv[0] not in VERBS:
            raise UserError(f"There is no verb {argv[0]!r}: use one of {', '.join(VERBS)}, or rnnlm --help.")
        code = VERBS[argv[0]](argv[1:])
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"rnnlm: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"rnnlm: {error.filename or 'The output'} could not be written: {error.strerror}.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return 130


def train(argv: list[str]) -> int:
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the run folder, new or to be gone on with", flag_values=values)
    device_flags(values)
    flags.DEFINE_string(
        "coordinator", "", "host:port of process 0, or auto under Slurm and on TPUs", flag_values=values
    )
    flags.DEFINE_integer("processes", 1, "processes that train together", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("process", 0, "which of them this is, from 0", lower_bound=0, flag_values=values)
    config = configs.Config.of(parse_config("train", values, argv))
    workdir = given_workdir(values)
    if values.process >= values.processes or (values.processes > 1 and not values.coordinator):
        raise UserError(
            f"--process={values.process} of --processes={values.processes} with --coordinator={values.coordinator!r}: "
            "processes are numbered from 0, and train together through the --coordinator=host:port of process 0."
        )

    from rnnlm.corpora import absolute

    config = replace(config, data=replace(config.data, files=absolute(config.data.files)))
    start_devices(values, config.train, values.coordinator, values.processes, values.process)

    from rnnlm import parallel
    from rnnlm import train as training
    from rnnlm.console import Console
    from rnnlm.signals import Signals

    result = training.train(config, workdir, Signals(), Console(parallel.is_main()))
    if result is not None and parallel.is_main():
        valid = "" if result["valid_bpc"] is None else f"  valid {result['valid_bpc']:.4f} bpc"
        print(f"done: step {result['step']}{valid}  {result['seconds']:.1f} s  run folder {workdir}")
    return 0


def evaluate(argv: list[str]) -> int:
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "a run folder", flag_values=values)
    flags.DEFINE_string("split", "test", "the part to score: train, valid or test", flag_values=values)
    flags.DEFINE_bool("json", False, "print one line of JSON instead", flag_values=values)
    flags.DEFINE_integer(
        "lanes", None, "parts side by side; 1: exact, 0: chosen; else the run's own", lower_bound=0, flag_values=values
    )
    flags.DEFINE_integer(
        "warmup", None, "symbols before each part; the run's own unless given", lower_bound=0, flag_values=values
    )
    flags.DEFINE_integer("max_symbols", 0, "score only the first ones; 0: all", lower_bound=0, flag_values=values)
    flags.DEFINE_string("step", "best", "the checkpoint: best by validation, latest, or a step", flag_values=values)
    flags.DEFINE_bool("compressors", False, "also show gzip, bzip2 and xz on the same bytes", flag_values=values)
    device_flags(values)
    parse("eval", values, argv)
    if values.json and values.compressors:
        raise UserError("--json prints the scores alone: leave out --compressors.")
    workdir = given_workdir(values)
    kept = saved_run(workdir)
    start_devices(values, None)

    from rnnlm import folder, lm
    from rnnlm.console import Console
    from rnnlm.dataset import open_dataset

    model = lm.load(workdir, values.step)
    data = open_dataset(kept.config.data, kept.vocabulary, kept.sha256)
    lanes = kept.config.eval.lanes if values.lanes is None else values.lanes
    warmup = kept.config.eval.warmup if values.warmup is None else values.warmup
    part = data.part(values.split)
    console = Console(not values.json)
    found = model.score(data.text, part, values.split, lanes, warmup, values.max_symbols, progress=console.share)
    console.done()
    line = found.as_dict()
    try:
        folder.note_score(workdir, line | {"step": model.train_step})
    except (OSError, UserError) as error:
        print(f"The score is not noted in {workdir}/result.json: {error}", file=sys.stderr)
    if values.json:
        print(json.dumps(line))
        return 0
    console.say(
        f"split     {line['split']}\nprotocol  {line['protocol']}\nstep      {model.train_step}\n"
        f"count     {line['count']:,} symbols ({kept.config.data.symbols})\nnats      {line['nats']:,.1f}\n"
        f"bpc       {line['bpc']:.4f} bits per symbol\nbpb       {line['bpb']:.4f} bits per byte"
    )
    if values.compressors:
        show_compressors(data, values.split, found.bytes, line["bpb"], console)
    return 0


def show_compressors(data: Any, split: str, size: int, bpb: float, console: Any) -> None:
    from rnnlm.baselines import compressors

    if size != sum(len(chunk) for chunk in data.raw(split)):
        raise UserError("--compressors reads the whole part: leave out --max_symbols.")
    console.say(f"\nbits per byte on the same {size:,} bytes (each compressor alone on them)")
    rows = {"rnnlm": bpb} | {name: 8 * n / size for name, n in compressors.sizes(data.raw(split)).items()}
    for name, bits in sorted(rows.items(), key=lambda row: row[1]):
        console.say(f"  {name:9} {bits:.3f}")


def sample(argv: list[str]) -> int:
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "a run folder", flag_values=values)
    flags.DEFINE_string("prime", "", "what the text begins with", flag_values=values)
    flags.DEFINE_integer("length", 500, "symbols to draw", lower_bound=1, flag_values=values)
    flags.DEFINE_float(
        "temperature", 1.0, "below 1 safer, above 1 wilder, 0 the likeliest", lower_bound=0, flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "of the draw", lower_bound=0, upper_bound=configs.MAX_SEED, flag_values=values)
    flags.DEFINE_integer(
        "top_k", 0, "draw from the k likeliest symbols only; 0: all", lower_bound=0, flag_values=values
    )
    flags.DEFINE_float(
        "top_p", 1.0, "draw from the fewest likeliest symbols that have this probability together", flag_values=values
    )
    flags.DEFINE_integer("num", 1, "samples, drawn side by side", lower_bound=1, flag_values=values)
    flags.DEFINE_string("step", "best", "the checkpoint: best by validation, latest, or a step", flag_values=values)
    device_flags(values)
    parse("sample", values, argv)
    workdir = given_workdir(values)
    saved_run(workdir)
    start_devices(values, None)

    from rnnlm import lm
    from rnnlm.sample import Draw

    how = Draw(values.temperature, values.seed, values.top_k, values.top_p)
    model = lm.load(workdir, values.step)
    chunks = model.stream(values.prime, values.length, how, values.num)
    later: list[list[bytes]] = [[] for _ in range(values.num)]
    out = sys.stdout.buffer

    def begin(i: int) -> None:
        heading = f"----- sample {i + 1} -----\n" if values.num > 1 else ""
        out.write((heading + values.prime).encode("utf-8", "surrogateescape"))

    begin(0)
    for chunk in chunks:
        texts = [model.vocabulary.decode(row) for row in chunk]
        out.write(texts[0])
        out.flush()
        for i in range(1, values.num):
            later[i].append(texts[i])
    for i in range(1, values.num):
        out.write(b"\n")
        begin(i)
        out.write(b"".join(later[i]))
    out.write(b"\n")
    out.flush()
    return 0


def data(argv: list[str]) -> int:
    values = flags.FlagValues()
    rest = parse("data", values, argv, positional=1)

    from rnnlm import corpora, dataset, symbols

    if not rest:
        for name in corpora.NAMES:
            if name == "stdlib":
                print(f"{name:16} {'':>13}        here   the running interpreter's own source code")
                continue
            source = corpora.SOURCES[name]
            path = corpora.present(name)
            print(f"{name:16} {source.size:>13,} bytes  {f'here   {path}' if path else f'absent {source.url}'}")
        return 0
    corpus = corpora.named(rest[0])
    seen = symbols.vocabulary_of(corpus.path, "byte_seen")
    print(f"{corpus.name}\npath      {corpus.path}\nbytes     {corpus.size:,}\nsha256    {corpus.sha256}")
    print(f"symbols   256 (byte), {len(seen)} (byte_seen)")
    try:
        print(f"          {len(symbols.vocabulary_of(corpus.path, 'char'))} (char)")
    except UserError as error:
        print(f"          no char: {error}")
    specs = ["graves_96_4", "std_90_5_5"] if corpus.size == 100_000_000 else []
    for spec in [*specs, "0.9/0.05/0.05"]:
        parts = dataset.splits(spec, corpus)
        print(f"{spec:14}" + "  ".join(f"{name} {begin:,}..{end:,}" for name, (begin, end) in parts.items()))
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {"train": train, "eval": evaluate, "sample": sample, "data": data}


def device_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "cpu_devices",
        0,
        "CPU devices; 0: as many physical cores as divide the batch",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "compile_cache", True, "keep compiled programs in the user's cache for the next start", flag_values=values
    )


def start_devices(values: flags.FlagValues, training: configs.TrainConfig | None, *processes: Any) -> None:
    from rnnlm import devices

    devices.start(training, values.cpu_devices, values.compile_cache, *processes)


def given_workdir(values: flags.FlagValues) -> Path:
    if not values.workdir:
        raise UserError("--workdir is missing: name the run folder, as in --workdir=runs/first.")
    workdir = Path(values.workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file: name a new folder, or one that holds a run.")
    return workdir


def saved_run(workdir: Path) -> Any:
    """What a run folder says of its run; an answer before jax is loaded where it holds none."""
    from rnnlm import folder

    return folder.read(workdir)


if __name__ == "__main__":
    sys.exit(main())
