"""rnnlm compress and decompress: a file in the bits that a model says it has, and the way back."""

import time
from pathlib import Path
from typing import Any

from absl import flags

from rnnlm import config as configs
from rnnlm.errors import UserError
from rnnlm.overrides import parse, parse_config
from rnnlm.verbs.common import device_flags, given_workdir, saved_run, start_devices


def main(argv: list[str]) -> int:
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the run folder whose model codes", flag_values=values)
    flags.DEFINE_string("o", None, "the file to write", flag_values=values)
    flags.DEFINE_integer(
        "lanes",
        0,
        "parts coded side by side; 0: one for each 20,000 symbols, 64 at most",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_bool("dynamic", False, "learn while coding, from --learning_rate and --decay", flag_values=values)
    flags.DEFINE_float("learning_rate", 2e-5, "dynamic: the step along the gradient", lower_bound=0, flag_values=values)
    flags.DEFINE_float("decay", 1e-3, "dynamic: the pull back", lower_bound=0, upper_bound=1, flag_values=values)
    flags.DEFINE_bool(
        "online", False, "no trained model: a network of --config learns while it codes", flag_values=values
    )
    flags.DEFINE_integer(
        "segment", 20, "dynamic, online: symbols between two updates", lower_bound=1, flag_values=values
    )
    flags.DEFINE_bool("verify", True, "decode before success is reported", flag_values=values)
    flags.DEFINE_string("step", "best", "the checkpoint: best by validation, latest, or a step", flag_values=values)
    device_flags(values)
    online = any(word in ("--online", "--online=true") for word in argv)
    source = words(argv)
    given: dict[str, Any] = {}
    if online:
        given = parse_config("compress", values, source[1])
    else:
        parse("compress", values, source[1])
    path, out = source[0], Path(values.o or f"{source[0]}.rnz")
    if online and (values.dynamic or values.workdir):
        raise UserError("--online starts from nothing: leave out --workdir and --dynamic.")
    data = read(path)
    kept: Any = None if online else saved_run(given_workdir(values))
    start_devices(values, None)

    from rnnlm import compress
    from rnnlm.console import Console
    from rnnlm.files import store
    from rnnlm.symbols import Vocabulary

    console, begun = Console(), time.perf_counter()
    header: dict[str, Any]
    if online:
        config = configs.Config.of(given)
        vocabulary = Vocabulary("byte", tuple(range(256)))
        lanes = min(values.lanes or compress.default_lanes(len(data)), max(1, len(data)))
        updates = compress.lane_length(len(data), lanes) // values.segment
        header = {"online": {"config": config.as_dict(), "segment": values.segment, "updates": updates}}
    else:
        vocabulary = kept.vocabulary
        lanes = values.lanes
        header = {}
        if values.dynamic:
            header = {"dynamic": [values.segment, values.learning_rate, values.decay]}
    predictors, print_of = prepare(header, values.workdir, values.step)
    packed, tally = compress.compress(
        data, vocabulary, predictors.fresh, lanes, header | {"fingerprint": print_of}, console.share
    )
    coded = packed.to_bytes()
    if values.verify:
        again = compress.decompress(
            compress.Packed.of(coded, str(out)), vocabulary, predictors.fresh, str(out), console.share
        )
        assert again == data
    console.done()
    store(out, [coded])
    seconds = time.perf_counter() - begun
    share = f"{8 * len(coded) / len(data):.4f} bits per byte" if data else "an empty file"
    console.say(
        f"{path}  {len(data):,} bytes\n{out}  {len(coded):,} bytes, {share}\n"
        f"the model's bits  {tally.bits / 8:,.0f} bytes for {tally.count:,} symbols in {packed.header['lanes']} lanes\n"
        f"{seconds:.1f} s, {'verified' if values.verify else 'not verified'}"
    )
    return 0


def decompress(argv: list[str]) -> int:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "workdir", None, "the run folder that it was packed with; not needed after --online", flag_values=values
    )
    flags.DEFINE_string("o", None, "the file to write", flag_values=values)
    device_flags(values)
    path, rest = words(argv)
    parse("decompress", values, rest)
    if not values.o:
        raise UserError("-o is missing: name the file to write, as in -o text.txt.")
    coded = read(path)

    from rnnlm import compress
    from rnnlm.console import Console
    from rnnlm.files import store
    from rnnlm.symbols import Vocabulary

    packed = compress.Packed.of(coded, path)
    if "online" in packed.header:
        vocabulary = Vocabulary("byte", tuple(range(256)))
    else:
        vocabulary = saved_run(given_workdir(values)).vocabulary
    start_devices(values, None)
    step = packed.header["fingerprint"].get("step", "best")
    predictors, print_of = prepare(packed.header, values.workdir, step)
    compress.refuse_other(packed.header["fingerprint"], print_of, path)
    console, begun = Console(), time.perf_counter()
    data = compress.decompress(packed, vocabulary, predictors.fresh, path, console.share)
    console.done()
    store(Path(values.o), [data])
    console.say(f"{values.o}  {len(data):,} bytes in {time.perf_counter() - begun:.1f} s")
    return 0


def prepare(header: dict[str, Any], workdir: str, step: str | int) -> tuple[Any, dict[str, Any]]:
    """What predicts, and the fingerprint of all that its predictions depend on."""
    from rnnlm import checkpoint, compress, dynamic, lm, predict

    if "online" in header:
        told = header["online"]
        config = configs.Config.of(told["config"])
        predictors = predict.online(config.model, config.optim, 256, told["segment"], config.seed, told["updates"])
        return predictors, compress.fingerprint()
    model = lm.load(workdir, step)
    about = {"params": checkpoint.digest(model.params)[:16], "step": model.train_step}
    told = header.get("dynamic")
    if told is None:
        predictors = predict.static(model.config.model, len(model.vocabulary), model.params)
        return predictors, compress.fingerprint(**about)
    how = dynamic.Adaptation("rms", *told)
    rms = statistics(Path(workdir), model, how.segment)
    predictors = predict.dynamic(model.config.model, len(model.vocabulary), model.params, rms, how)
    return predictors, compress.fingerprint(**about, statistics=checkpoint.digest(rms)[:16])


def read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def words(argv: list[str]) -> tuple[str, list[str]]:
    """The file, which stands alone, and the flags; `-o FILE` as --o=FILE."""
    flagged, files = [], []
    rest = iter(argv)
    for word in rest:
        if word in ("-o", "--o"):
            flagged.append(f"--o={next(rest, '')}")
        elif word.startswith("-") and word != "-":
            flagged.append(word)
        else:
            files.append(word)
    if len(files) != 1 and not {"--help", "-h"} & set(argv):
        raise UserError(f"One file is needed, and {len(files)} are given: flags are written --name=value.")
    return files[0] if files else "", flagged


def statistics(workdir: Path, model: Any, segment: int) -> Any:
    """What dynamic evaluation knows of the gradient on a run's training part."""
    from rnnlm import dynamic
    from rnnlm.dataset import open_dataset

    kept = saved_run(workdir)
    data = open_dataset(kept.config.data, kept.vocabulary, kept.sha256)
    adapter = dynamic.Adapter(model.config.model, len(model.vocabulary))
    return dynamic.kept_statistics(workdir, adapter, model.params, data.text, data.part("train"), segment)
