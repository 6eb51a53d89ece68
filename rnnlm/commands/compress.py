"""rnnlm compress and decompress: a file in the bits that a model says it has, and the way back."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from rnnlm import config as configs
from rnnlm.commands.flags import (
    device_flags,
    given_settings,
    given_workdir,
    kept_statistics,
    saved_run,
    settings_flags,
    start_devices,
)
from rnnlm.commands.overrides import parse, parse_config
from rnnlm.errors import UserError
from rnnlm.files import check_writable


def main(argv: list[str]) -> int:
    values, path, given = parse_args(argv)
    data, out = read(path), Path(values.o or f"{path}.rnz")
    check_writable(out, "-o", Path(path))
    if not values.online:
        saved_run(given_workdir(values))
    start_devices(values, None)

    from rnnlm.compression import codec
    from rnnlm.evaluation import dynamic
    from rnnlm.files import write_atomic
    from rnnlm.runtime.console import Console

    console, begun = Console(not values.json), time.perf_counter()
    if values.online:
        config = configs.Config.from_dict(given)
        coded = codec.compress_online(data, config, values.segment or 20, values.lanes, values.verify, console.share)
    else:
        trained = load_trained(values.workdir, values.step)
        header = {}
        if values.dynamic:
            settings = given_settings(values, Path(values.workdir), trained.params, "rms", "tensor")
            header = codec.dynamic_header(dynamic.Adaptation("rms", *settings))
        coded = codec.open_codec(header, trained).compress(data, values.lanes, values.verify, console.share)
    console.done()
    write_atomic(out, [coded])
    header, tally, escapes = coded.file.header, coded.tally, len(coded.file.escapes)
    lanes, seconds = header["lanes"], time.perf_counter() - begun
    if values.json:
        found = {"bytes": len(data), "packed": len(coded), "nats": tally.nats, "count": tally.count, "lanes": lanes}
        found |= {"beside": escapes, "how": codec.describe(header), "verified": values.verify, "seconds": seconds}
        print(json.dumps(found))
        return 0
    share = f"{8 * len(coded) / len(data):.4f} bits per byte" if data else "an empty file"
    beside = f", and {escapes:,} bytes for what its vocabulary lacks" if escapes else ""
    console.say(
        f"{path}  {len(data):,} bytes\n{out}  {len(coded):,} bytes, {share}\n"
        f"the model's bits  {tally.bits / 8:,.0f} bytes for {tally.count:,} symbols{beside}\n"
        f"lanes  {lanes}, {codec.describe(header)}\n"
        f"{seconds:.1f} s, {'verified' if values.verify else 'not verified'}"
    )
    return 0


def load_trained(workdir: str, step: str | int) -> Any:
    from rnnlm import language_model
    from rnnlm.compression.codec import TrainedModel

    lm = language_model.load(workdir, step)
    statistics = partial(kept_statistics, Path(workdir), lm)
    return TrainedModel(lm.config.model, lm.vocabulary, lm.params, lm.train_step, statistics)


def parse_args(argv: list[str]) -> tuple[flags.FlagValues, str, dict[str, Any]]:
    """-> (the flags, the file, the config where --online asks for one)."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the run folder whose model codes", flag_values=values)
    flags.DEFINE_string("o", None, "the file to write or replace; FILE.rnz unless given", flag_values=values)
    lanes = "parts coded side by side; 0: one for each 20,000 symbols (online 200,000), 64 at most"
    flags.DEFINE_integer("lanes", 0, lanes, lower_bound=0, upper_bound=10_000, flag_values=values)
    flags.DEFINE_bool("dynamic", False, "adapt while coding, all lanes together, by the rms rule", flag_values=values)
    flags.DEFINE_bool(
        "online", False, "no trained model: a network of --config learns while it codes", flag_values=values
    )
    settings_flags(values)
    flags.DEFINE_bool("verify", True, "decode before success is reported", flag_values=values)
    flags.DEFINE_string("step", "best", "the checkpoint: best by validation, latest, or a step", flag_values=values)
    flags.DEFINE_bool("json", False, "print one line of JSON instead", flag_values=values)
    device_flags(values)
    path, rest = split_positional(argv)
    given: dict[str, Any] = {}
    if any(word.lstrip("-").lower() in ("online", "online=true", "online=1", "online=t") for word in rest):
        given = parse_config("compress", values, rest)
    else:
        parse("compress", values, rest)
    if values.online and (values.dynamic or values.workdir):
        raise UserError("--online starts from nothing: leave out --workdir and --dynamic.")
    for name in ("segment", "learning_rate", "decay"):
        if values[name].value is not None and not (values.dynamic or (values.online and name == "segment")):
            raise UserError(
                f"--{name} is for --dynamic: the model of a run does not learn without, and the rates of "
                "--online are its config's."
            )
    if values.online and values.step != "best":
        raise UserError("--step is a run's checkpoint, and --online has no run.")
    return values, path, given


def decompress(argv: list[str]) -> int:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "workdir", None, "the run folder that it was packed with; not needed after --online", flag_values=values
    )
    flags.DEFINE_string("o", None, "the file to write or replace; FILE without .rnz unless given", flag_values=values)
    device_flags(values)
    path, rest = split_positional(argv)
    parse("decompress", values, rest)
    if not values.o and Path(path).suffix != ".rnz":
        raise UserError("-o is missing: name the file to write, as in -o text.txt.")
    out = Path(values.o or path.removesuffix(".rnz"))
    coded = read(path)
    check_writable(out, "-o", Path(path))

    from rnnlm.compression import codec
    from rnnlm.compression.container import CompressedFile
    from rnnlm.files import write_atomic
    from rnnlm.runtime.console import Console

    header, trained = CompressedFile.from_bytes(coded, path).header, None
    if "online" not in header:
        saved_run(given_workdir(values))
    start_devices(values, None)
    if "online" not in header:
        trained = load_trained(values.workdir, header["fingerprint"].get("step", "best"))
    console, begun = Console(), time.perf_counter()
    data = codec.decompress(coded, trained, path, console.share)
    console.done()
    write_atomic(out, [data])
    console.say(f"{out}  {len(data):,} bytes in {time.perf_counter() - begun:.1f} s")
    return 0


def read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def split_positional(argv: list[str]) -> tuple[str, list[str]]:
    """The file, which stands alone, and the flags; `-o FILE` as --o=FILE."""
    flagged, files = [], []
    rest = iter(argv)
    for word in rest:
        if word in ("-o", "--o"):
            name = next(rest, "")
            if not name or name.startswith("-"):
                raise UserError("-o is without a file: name the one to write, as in -o text.rnz.")
            flagged.append(f"--o={name}")
        elif word.startswith("-") and word != "-":
            flagged.append(word)
        else:
            files.append(word)
    if len(files) != 1 and not {"--help", "-h"} & set(argv):
        raise UserError(f"One file is needed, and {len(files)} are given ({', '.join(files) or 'none'}).")
    return files[0] if files else "", flagged
