"""Flags that several verbs share, and what they ask for."""

from pathlib import Path
from typing import Any

from absl import flags

from rnnlm import config as configs
from rnnlm.errors import UserError


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
    from rnnlm.runtime import devices

    devices.configure(training, values.cpu_devices, values.compile_cache, *processes)


def protocol_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "protocol", "carry", ["carry", "windows", "records"], "how the part is read; see README", flag_values=values
    )
    lanes = "parts read side by side: 1 is exact, 0 as many as suit the length; eval.lanes of the run unless given"
    flags.DEFINE_integer("lanes", None, lanes, lower_bound=0, upper_bound=10_000, flag_values=values)
    flags.DEFINE_integer(
        "warmup",
        None,
        "symbols read before each lane's part; eval.warmup of the run unless given",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer("window", None, "windows: symbols of each; 512 unless given", flag_values=values)
    flags.DEFINE_integer("stride", None, "windows: how many of them count; half unless given", flag_values=values)
    flags.DEFINE_string("separator", None, "records: the symbol that ends one; \\n unless given", flag_values=values)


def given_protocol(values: flags.FlagValues, own: configs.EvalConfig) -> Any:
    """What the flags say, else the run's own config. Raises UserError for flags of another protocol."""
    from rnnlm.evaluation.evaluator import EvalProtocol

    takes = {"carry": ("lanes", "warmup"), "windows": ("lanes", "window", "stride")}
    takes["records"] = (*takes["carry"], "separator")
    for name in ("lanes", "warmup", "window", "stride", "separator"):
        if values[name].value is not None and name not in takes[values.protocol]:
            raise UserError(
                f"--{name} is not for --protocol={values.protocol}, which takes {', '.join(takes[values.protocol])}."
            )
    lanes = own.lanes if values.lanes is None else values.lanes
    warmup = own.warmup if values.warmup is None else values.warmup
    if values.protocol == "windows":
        window = 512 if values.window is None else values.window
        stride = max(1, window // 2) if values.stride is None else values.stride
        return EvalProtocol("windows", values.lanes or 0, 0, window, stride)
    separator = ""
    if values.protocol == "records":
        given = "\\n" if values.separator is None else values.separator
        separator = given.replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0")
    return EvalProtocol(values.protocol, lanes, warmup, separator=separator)


def given_workdir(values: flags.FlagValues) -> Path:
    if not values.workdir:
        raise UserError("--workdir is missing: name the run folder, as in --workdir=runs/first.")
    workdir = Path(values.workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file: name a new folder, or one that holds a run.")
    return workdir


def saved_run(workdir: Path) -> Any:
    """What a run folder says of its run; an answer before jax is loaded where it holds none."""
    from rnnlm.runs import layout

    return layout.load_run(workdir)


def settings_flags(values: flags.FlagValues) -> None:
    """Of an adaptation."""
    flags.DEFINE_integer(
        "segment", None, "symbols between two updates; 20 unless given or tuned", lower_bound=1, flag_values=values
    )
    flags.DEFINE_float("learning_rate", None, "dynamic: the step along the gradient", flag_values=values)
    flags.DEFINE_float("decay", None, "dynamic: the pull back to the trained params", flag_values=values)


def given_settings(
    values: flags.FlagValues, workdir: Path, params: Any, method: str, normalize: str
) -> tuple[int, float, float]:
    """(segment, learning rate, decay) as the flags say, else as --tune found. Raises UserError where neither does."""
    from rnnlm.runs import adaptation, layout

    path = adaptation.tuned_path(workdir, params, method, normalize)
    given = (values.segment, values.learning_rate, values.decay)
    if given == (None, None, None) and path.exists():
        segment, rate, decay = layout.read_json(path)["settings"]
        return int(segment), rate, decay
    if values.learning_rate is None or values.decay is None:
        missing = [f"--{name}" for name in ("learning_rate", "decay") if values[name].value is None]
        tuned = (
            "leave out all settings for the tuned ones"
            if path.exists()
            else (f"let `rnnlm eval --workdir={workdir} --dynamic={method} --tune` find them on the validation part")
        )
        raise UserError(f"--dynamic is without {' and '.join(missing)}: give both, or {tuned}.")
    return values.segment or 20, values.learning_rate, values.decay


def kept_statistics(workdir: Path, model: Any, segment: int) -> Any:
    """What dynamic evaluation knows of the gradient on a run's training part."""
    from rnnlm.data.splits import open_dataset
    from rnnlm.evaluation import dynamic
    from rnnlm.runs import adaptation

    def train() -> Any:
        kept = saved_run(workdir)
        data = open_dataset(kept.config.data, kept.vocabulary, kept.sha256)
        return data.slice("train")

    adapter = dynamic.Adapter(model.config.model, len(model.vocabulary))
    return adaptation.kept_statistics(workdir, adapter, model.params, train, segment)
