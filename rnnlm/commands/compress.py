"""rnnlm compress and decompress: code a file in the bits that a model gives it, and restore it."""

import json
import textwrap
import time
from pathlib import Path

from absl import flags

from rnnlm.commands.flags import (
    adaptation_flags,
    configure_devices,
    data_flag,
    device_flags,
    force_flag,
    given_adaptation,
    load_model,
    run_dir,
    step_flag,
    workdir_flags,
)
from rnnlm.commands.overrides import config_flag, parse, parse_overrides, read_config
from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.files import check_absent, check_writable, reading


def main(argv: list[str]) -> int:
    """Compress a file and print what it took."""
    values, path, config = parse_args(argv)
    with reading(Path(path)):
        data = Path(path).read_bytes()
    out = Path(values.o or f"{path}.rnz")
    check_writable(out, "-o", Path(path))
    check_absent(out, "-o", values.force)

    from rnnlm.files import write_atomic
    from rnnlm.runtime.console import Console

    console = Console(not values.json)
    options = values.lanes, values.verify, console.share
    if config:
        configure_devices(values)

        from rnnlm import api
        from rnnlm.compression.codec import SEGMENT

        begin = time.perf_counter()
        with console:
            coded = api.compress_online(data, config, values.segment or SEGMENT, *options)
    else:
        lm = load_model(values, values.data)
        adaptation = given_adaptation(values, lm, "rms", "tensor") if values.dynamic else None
        begin = time.perf_counter()
        with console:
            coded = lm.compress(data, adaptation, *options)
    write_atomic(out, [coded])
    seconds, escapes, tally = time.perf_counter() - begin, coded.escapes, coded.tally
    if values.json:
        line: dict[str, float | str] = {
            "bytes": len(data),
            "packed": len(coded),
            "nats": tally.nats,
            "count": tally.count,
        }
        line |= {"lanes": coded.lanes, "beside": escapes, "how": coded.prediction}
        print(json.dumps(line | {"verified": values.verify, "seconds": seconds}))
        return 0
    share = f"{8 * len(coded) / len(data):.4f} bits per byte" if data else "an empty file"
    beside = f", and {escapes:,} bytes for what its vocabulary lacks" if escapes else ""
    console.say(
        f"{path}  {len(data):,} bytes\n{out}  {len(coded):,} bytes, {share}\n"
        f"the model's bits  {tally.bits / 8:,.0f} bytes for {tally.count:,} symbols{beside}\n"
        f"lanes  {coded.lanes}, {coded.prediction}\n"
        f"{textwrap.fill(f'needs  {coded.needs}', 80, subsequent_indent=' ' * 7)}\n"
        f"{seconds:.1f} s, {'verified' if values.verify else 'not verified'}"
    )
    return 0


def parse_args(argv: list[str]) -> tuple[flags.FlagValues, str, Config | None]:
    """Parse the command line of compress: -> (flags, the file, the config if --online). Raises UserError."""
    values = flags.FlagValues()
    workdir_flags(values, "the run folder whose model codes")
    flags.DEFINE_string("o", None, "the file to write; FILE.rnz unless given", flag_values=values)
    force_flag(values)
    lanes = "stretches coded side by side; 0: one for each 20,000 symbols (online 200,000), 64 at most"
    flags.DEFINE_integer("lanes", 0, lanes, lower_bound=0, upper_bound=10_000, flag_values=values)
    flags.DEFINE_bool("dynamic", False, "adapt while coding, all lanes together, by the rms rule", flag_values=values)
    flags.DEFINE_bool(
        "online", False, "no trained model: a network of --config learns while it codes", flag_values=values
    )
    config_flag(values, "online: the config file, configs/X.py")
    adaptation_flags(values)
    flags.DEFINE_bool("verify", True, "decompress before success is reported", flag_values=values)
    step_flag(values)
    data_flag(values)
    flags.DEFINE_bool("json", False, "print one line of JSON instead", flag_values=values)
    device_flags(values)
    path, rest = split_positional(values, argv)
    usage = "FILE --workdir=DIR [-o OUT.rnz]\n           or FILE --online --config=configs/X.py [-o OUT.rnz]"
    overrides = parse_overrides("compress", values, rest, usage)
    if values.online and (values.dynamic or values.workdir):
        raise UserError("--online starts from nothing: leave out --workdir and --dynamic.")
    for name in ("segment", "learning_rate", "decay"):
        if values[name].value is not None and not (values.dynamic or (values.online and name == "segment")):
            raise UserError(
                f"--{name} is for --dynamic: the model of a run does not learn without, and the rates of "
                "--online are its config's."
            )
    if values.online and values.data:
        raise UserError("--data is where the text of a run lies, and --online has no run.")
    if values.online and values.step != "best":
        raise UserError("--step is a run's checkpoint, and --online has no run.")
    if not values.online:
        if values.config or overrides:
            raise UserError("--config is for --online: the model of a run has its own config.")
        return values, path, None
    if not values.config:
        raise UserError("--config is missing: give a config file, as in --config=configs/online.py.")
    return values, path, Config.from_dict(read_config(values.config, overrides, values.trust_code))


def decompress(argv: list[str]) -> int:
    """Restore a compressed file."""
    values = flags.FlagValues()
    workdir_flags(values, "the run folder that it was compressed with; not needed after --online")
    data_flag(values)
    flags.DEFINE_string("o", None, "the file to write; FILE without .rnz unless given", flag_values=values)
    force_flag(values)
    device_flags(values)
    path, rest = split_positional(values, argv)
    parse("decompress", values, rest, usage="FILE.rnz [--workdir=DIR] [-o OUT]")
    if not values.o and Path(path).suffix != ".rnz":
        raise UserError("-o is missing: name the file to write, as in -o text.txt.")
    out = Path(values.o or path.removesuffix(".rnz"))
    with reading(Path(path)):
        coded = Path(path).read_bytes()
    check_writable(out, "-o", Path(path))
    check_absent(out, "-o", values.force)

    from rnnlm.compression.container import CompressedFile

    configure_devices(values, threads=CompressedFile.from_bytes(coded, path).threads)

    from rnnlm import language_model
    from rnnlm.files import write_atomic
    from rnnlm.runtime.console import Console

    workdir = run_dir(values) if values.workdir else None
    console, begin = Console(), time.perf_counter()
    with console:
        data = language_model.decompress(
            coded, workdir, name=path, progress=console.share, trust_code=values.trust_code, data=values.data
        )
    write_atomic(out, [data])
    console.say(f"{out}  {len(data):,} bytes in {time.perf_counter() - begin:.1f} s")
    return 0


def split_positional(values: flags.FlagValues, argv: list[str]) -> tuple[str, list[str]]:
    """Split a command line: -> (the file, the flags with `-o FILE` as --o=FILE). Raises UserError for several files."""
    flagged, files = [], []
    rest = iter(argv)
    for word in rest:
        if word in ("-o", "--o"):
            name = next(rest, "")
            if not name or name.startswith("-"):
                raise UserError("-o is without a file: name the one to write, as in -o text.rnz.")
            flagged.append(f"--o={name}")
        elif takes_next_word(values, word):
            flagged.append(f"{word}={next(rest, '')}")
        elif word.startswith("-") and word != "-":
            flagged.append(word)
        else:
            files.append(word)
    if len(files) != 1 and not {"--help", "-h"} & set(argv):
        raise UserError(f"One file is needed, and {len(files)} are given ({', '.join(files) or 'none'}).")
    return files[0] if files else "", flagged


def takes_next_word(values: flags.FlagValues, word: str) -> bool:
    """Return whether a word is a flag or an override whose value follows as a word of its own."""
    if not word.startswith("--") or "=" in word:
        return False
    name = word[2:].replace("-", "_")
    return name.startswith("config.") or (name in values and not values[name].boolean)
