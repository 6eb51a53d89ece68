"""Define flags that several verbs share, and build what they ask for."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from rnnlm.commands.escapes import text_flag
from rnnlm.errors import UserError

if TYPE_CHECKING:
    from rnnlm.config import Config
    from rnnlm.evaluation.dynamic import Adaptation
    from rnnlm.evaluation.protocol import EvalProtocol
    from rnnlm.language_model import LanguageModel
    from rnnlm.runs.layout import RunInfo


TUNE = "tune"
"""The value of --temperature that has it tuned."""


def device_flags(values: flags.FlagValues) -> None:
    """Define flags for what `configure_devices` sets up."""
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


def configure_devices(values: flags.FlagValues, **options: Any) -> None:
    """Set up this process for computing, as the flags and further options of `rnnlm.configure` say."""
    from rnnlm.runtime import devices

    devices.tune_malloc()
    devices.configure(cpu_devices=values.cpu_devices, compile_cache=values.compile_cache, **options)


def workdir_flags(values: flags.FlagValues, help_text: str = "a run folder") -> None:
    """Define the flags that name a run folder and what of it is used."""
    flags.DEFINE_string("workdir", None, help_text, flag_values=values)
    trust_flag(values)


def trust_flag(values: flags.FlagValues) -> None:
    """Define the flag that allows to import a run's cell from a module that is not rnnlm's."""
    flags.DEFINE_bool("trust_code", False, "import the module of a cell that is not rnnlm's own", flag_values=values)


def force_flag(values: flags.FlagValues) -> None:
    """Define the flag that allows to replace a file."""
    flags.DEFINE_bool("force", False, "replace the file of -o where it exists", flag_values=values)


def step_flag(values: flags.FlagValues) -> None:
    """Define the flag that chooses a checkpoint."""
    flags.DEFINE_string("step", "best", "the checkpoint: best by validation, latest, or a step", flag_values=values)


def data_flag(
    values: flags.FlagValues,
    help_text: str = "where the run's text lies now, if not where it was or near the run folder",
) -> None:
    """Define the flag that says where a run's text lies: a file, folder or glob, which is checked by its digest."""
    flags.DEFINE_string("data", "", help_text, flag_values=values)


def run_dir(values: flags.FlagValues) -> Path:
    """Return the folder that --workdir names. Raises UserError where it is missing or a file."""
    if not values.workdir:
        raise UserError("--workdir is missing: name the run folder, as in --workdir=runs/first.")
    workdir = Path(values.workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file: name a new folder, or one that holds a run.")
    return workdir


def saved_run(workdir: Path) -> "RunInfo":
    """Load what a run folder says of its run. Raises UserError, before jax is imported, where it holds none."""
    from rnnlm.runs import layout

    return layout.load_run(workdir)


def load_model(values: flags.FlagValues, data: str = "") -> "LanguageModel":
    """Set up this process and load the model of --workdir. Raises UserError, without jax where there is no run."""
    workdir = run_dir(values)
    saved_run(workdir)
    configure_devices(values)

    from rnnlm import language_model

    return language_model.load(workdir, values.step, data, values.trust_code)


def protocol_flags(values: flags.FlagValues) -> None:
    """Define the flags of an evaluation protocol."""
    flags.DEFINE_enum(
        "protocol",
        None,
        ["carry", "windows", "records", "streams", "chunks"],
        "how the split is read, see docs/evaluation.md; carry unless given, records for a run with data.separator; as "
        "some papers do: streams, cold lanes (eval.lanes of the run, or 10), or chunks of 1,000, each from the start",
        flag_values=values,
    )
    lanes = (
        "stretches read side by side: 1 is exact; 0 as many as suit the length, but 1 for --dynamic; unless given "
        "eval.lanes of the run for carry and records, 0 for windows and for --dynamic"
    )
    flags.DEFINE_integer("lanes", None, lanes, lower_bound=0, upper_bound=10_000, flag_values=values)
    warmup = (
        "symbols read before each lane's stretch where there are several, for --dynamic up to a whole segment; unless "
        "given eval.warmup of the run; not for windows"
    )
    flags.DEFINE_integer("warmup", None, warmup, lower_bound=0, flag_values=values)
    flags.DEFINE_integer(
        "window", None, "windows: symbols of each; 512 unless given", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer(
        "stride", None, "windows: how many of them count; half unless given", lower_bound=1, flag_values=values
    )
    temperature = (
        "what divides the logits, or tune: the one that is best on the validation split, of up to 500,000 symbols; 1 "
        "unless given; not for --dynamic"
    )
    flags.DEFINE_string("temperature", None, temperature, flag_values=values)
    text_flag(values, "separator", None, "records: the symbol that ends one; data.separator of the run or a line break")


def given_protocol(values: flags.FlagValues, config: "Config") -> "EvalProtocol":
    """Build the protocol that the flags name, by default the run's. Raises UserError for flags of another protocol."""
    from rnnlm.evaluation.protocol import EvalProtocol

    defaults = EvalProtocol.of_run(config, "carry" if values.dynamic else values.protocol or "")
    name = values.protocol or defaults.name
    takes = {"carry": ("lanes", "warmup"), "windows": ("lanes", "window", "stride")}
    takes |= {"records": (*takes["carry"], "separator"), "streams": ("lanes",), "chunks": ("lanes", "window")}
    for flag in ("lanes", "warmup", "window", "stride", "separator"):
        if values[flag].value is not None and flag not in takes[name]:
            raise UserError(f"--{flag} is not for --protocol={name}, which takes {', '.join(takes[name])}.")
    given: dict[str, Any] = {flag: values[flag].value for flag in takes[name] if values[flag].value is not None}
    if "window" in given:
        stride = given["window"] if name == "chunks" else 0  # half of it
        defaults = replace(defaults, window=given["window"], stride=stride)
    if values.temperature not in (None, TUNE):
        given["temperature"] = parse_temperature(values.temperature)
    return replace(defaults, **given)


def parse_temperature(given: str) -> float:
    """Parse --temperature. Raises UserError for what is no number."""
    try:
        return float(given)
    except ValueError:
        raise UserError(f"--temperature={given} is no number: give one above 0, such as 0.95, or {TUNE}.") from None


def adaptation_flags(values: flags.FlagValues) -> None:
    """Define the flags of the settings by which a model adapts."""
    flags.DEFINE_integer(
        "segment", None, "symbols between two updates; 20 unless given or tuned", lower_bound=1, flag_values=values
    )
    flags.DEFINE_float("learning_rate", None, "dynamic: the step along the gradient", flag_values=values)
    flags.DEFINE_float("decay", None, "dynamic: the decay towards the trained params", flag_values=values)


def given_adaptation(values: flags.FlagValues, lm: "LanguageModel", method: str, normalize: str) -> "Adaptation":
    """Build the settings that the flags give, or load the tuned ones where they give none.

    Raises UserError where the flags give some but not all that is needed, or where nothing is tuned.
    """
    from rnnlm.compression.codec import SEGMENT
    from rnnlm.evaluation.dynamic import Adaptation

    if (values.segment, values.learning_rate, values.decay) == (None, None, None):
        return lm.tuned(method, normalize)
    missing = [f"--{name}" for name in ("learning_rate", "decay") if values[name].value is None]
    if missing:
        raise UserError(
            f"--dynamic is without {' and '.join(missing)}: give both, or leave out all settings for the tuned ones."
        )
    return Adaptation(method, values.segment or SEGMENT, values.learning_rate, values.decay, normalize)
