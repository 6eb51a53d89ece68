"""rnnlm compress and decompress: a file in the bits that a model says it has, and the way back."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
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

    from rnnlm import language_model
    from rnnlm.compression import coder
    from rnnlm.files import write_atomic
    from rnnlm.runtime.console import Console

    console, begun = Console(not values.json), time.perf_counter()
    model = None if values.online else language_model.load(values.workdir, values.step)
    header, lanes = prediction_header(values, given, model, len(data))
    vocabulary, fingerprint, make = make_coder(header, values.workdir, model)
    header |= {"fingerprint": fingerprint}
    predictors = make()
    packed, tally = coder.compress(data, vocabulary, predictors.fresh, lanes, header, console.share)
    coded = packed.to_bytes()
    if values.verify:
        again = coder.CompressedFile.from_bytes(coded, str(out))
        if coder.decompress(again, vocabulary, predictors.fresh, str(out), console.share) != data:
            raise UserError(f"{path} does not come back from what was coded: nothing is written.")
    console.done()
    write_atomic(out, [coded])
    lanes, seconds = packed.header["lanes"], time.perf_counter() - begun
    if values.json:
        found = {"bytes": len(data), "packed": len(coded), "nats": tally.nats, "count": tally.count, "lanes": lanes}
        found["beside"] = len(packed.side)
        print(json.dumps(found | {"how": describe(header), "verified": values.verify, "seconds": seconds}))
        return 0
    share = f"{8 * len(coded) / len(data):.4f} bits per byte" if data else "an empty file"
    beside = f", and {len(packed.side):,} bytes for what its vocabulary lacks" if packed.side else ""
    console.say(
        f"{path}  {len(data):,} bytes\n{out}  {len(coded):,} bytes, {share}\n"
        f"the model's bits  {tally.bits / 8:,.0f} bytes for {tally.count:,} symbols{beside}\n"
        f"lanes  {lanes}, {describe(header)}\n"
        f"{seconds:.1f} s, {'verified' if values.verify else 'not verified'}"
    )
    return 0


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

    from rnnlm import language_model
    from rnnlm.compression import coder
    from rnnlm.files import write_atomic
    from rnnlm.runtime.console import Console

    packed, model = coder.CompressedFile.from_bytes(coded, path), None
    if "online" not in packed.header:
        saved_run(given_workdir(values))
    start_devices(values, None)
    if "online" not in packed.header:
        model = language_model.load(values.workdir, packed.header["fingerprint"].get("step", "best"))
    vocabulary, fingerprint, make = make_coder(packed.header, values.workdir, model)
    coder.refuse_other(packed.header["fingerprint"], fingerprint, path)
    console, begun = Console(), time.perf_counter()
    data = coder.decompress(packed, vocabulary, make().fresh, path, console.share)
    console.done()
    write_atomic(out, [data])
    console.say(f"{out}  {len(data):,} bytes in {time.perf_counter() - begun:.1f} s")
    return 0


def prediction_header(
    values: flags.FlagValues, given: dict[str, Any], model: Any, size: int
) -> tuple[dict[str, Any], int]:
    """-> (what the header says of how the text is predicted, so that a decoder needs no flags; lanes, 0: any)."""
    if values.online:
        from rnnlm.compression import coder

        config, segment = configs.Config.from_dict(given), values.segment or 20
        lanes = min(values.lanes or coder.default_lanes(size, learning=True), max(1, size))
        if config.model.dropout or config.model.dropout_input or config.model.dropout_output or config.optim.ema:
            raise UserError("--online reads each symbol once: leave dropout and ema out of its config.")
        updates = coder.lane_length(size, lanes) // segment
        parts = {"model": asdict(config.model), "optim": asdict(config.optim), "seed": config.seed}
        return {"online": parts | {"segment": segment, "updates": updates}}, lanes
    if values.dynamic:
        settings = given_settings(values, Path(values.workdir), model.params, "rms", "tensor")
        return {"dynamic": settings}, values.lanes
    return {}, values.lanes


def describe(header: dict[str, Any]) -> str:
    if "online" in header:
        return f"learning online, segment {header['online']['segment']}"
    if "dynamic" not in header:
        return "static"
    segment, rate, decay = header["dynamic"]
    return f"dynamic rms, segment {segment}, rate {rate:g}, decay {decay:g}"


def make_coder(header: dict[str, Any], workdir: str, model: Any) -> tuple[Any, dict[str, Any], Callable[[], Any]]:
    """-> (the vocabulary, the fingerprint, what makes the predictors) of what the header asks for."""
    from rnnlm.compression import coder, predictors
    from rnnlm.data.vocabulary import Vocabulary
    from rnnlm.evaluation import dynamic
    from rnnlm.runs import checkpoint

    if "online" in header:
        told = header["online"]
        network = configs.build(configs.ModelConfig, told["model"], "model.")
        learning = configs.build(configs.OptimConfig, told["optim"], "optim.")
        numbers = told["segment"], told["seed"], told["updates"]
        about = {"optax": metadata.version("optax")}
        bytes_ = Vocabulary("byte", tuple(range(256)))
        return bytes_, coder.fingerprint(**about), lambda: predictors.online(network, learning, 256, *numbers)
    vocabulary, network = model.vocabulary, model.config.model
    about = {"params": checkpoint.digest(model.params)[:12], "step": model.train_step}
    size = len(vocabulary)
    if "dynamic" not in header:
        return vocabulary, coder.fingerprint(**about), lambda: predictors.static(network, size, model.params)
    how = dynamic.Adaptation("rms", *header["dynamic"])
    rms = kept_statistics(Path(workdir), model, how.segment)
    about["statistics"] = checkpoint.digest(rms)[:12]
    return vocabulary, coder.fingerprint(**about), lambda: predictors.dynamic(network, size, model.params, rms, how)


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
