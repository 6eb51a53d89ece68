"""rnnlm sample: print text as it is drawn, or whole records, or write long samples to files."""

import contextlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from rnnlm.commands.escapes import text_flag
from rnnlm.commands.flags import data_flag, device_flags, load_model, step_flag, workdir_flags
from rnnlm.commands.overrides import parse
from rnnlm.config import MAX_SEED
from rnnlm.errors import UserError

if TYPE_CHECKING:
    from rnnlm.language_model import LanguageModel


def main(argv: list[str]) -> int:
    """Print the first sample as it is drawn, and the others after it; or records, once all are drawn."""
    values = flags.FlagValues()
    define_flags(values)
    parse("sample", values, argv)
    for name, needs, why in (
        ("novel", values.records, "--novel leaves out records: add --records=N."),
        ("data", values.novel, "--data is where the run's text lies, which only --novel reads: leave it out."),
        ("out", not values.records, "--out is for samples; send records to a file by > FILE."),
    ):
        if values[name].value and not needs:
            raise UserError(why)
    if values.records and values.num is not None:
        raise UserError("--num draws samples and --records draws records: give one of them.")
    temperatures = parse_temperatures(values.temperature)
    if values.records and len(temperatures) > 1:
        raise UserError("Records are drawn at one temperature: give one --temperature.")
    if values.out:
        check_new_folder(Path(values.out))
    lm = load_model(values, values.data)

    from rnnlm.generation.sampler import fresh_seed

    seed = fresh_seed() if values.seed is None else values.seed
    show = print_records if values.records else write_samples if values.out else print_samples
    show(values, lm, temperatures, seed)
    sys.stdout.buffer.flush()
    return 0


def define_flags(values: flags.FlagValues) -> None:
    """Define the flags of the verb."""
    workdir_flags(values)
    text_flag(values, "prompt", "", "what the text, or each record, begins with")
    flags.DEFINE_integer("length", 500, "symbols to draw; of a record at most", lower_bound=1, flag_values=values)
    flags.DEFINE_list(
        "temperature",
        ["1.0"],
        "divides the logits: below 1 likelier symbols, 0 the likeliest each time; several, separated by commas, give "
        "--num samples each, drawn side by side",
        flag_values=values,
    )
    seed = "of the random numbers; unless given another one each time, which standard error tells"
    flags.DEFINE_integer("seed", None, seed, lower_bound=0, upper_bound=MAX_SEED, flag_values=values)
    flags.DEFINE_integer(
        "top_k", 0, "draw from the k likeliest symbols only; 0: all", lower_bound=0, flag_values=values
    )
    flags.DEFINE_float(
        "top_p", 1.0, "draw from the fewest likeliest symbols that have this probability together", flag_values=values
    )
    flags.DEFINE_integer("num", None, "samples, drawn side by side; 1 unless given", lower_bound=1, flag_values=values)
    records = "draw so many whole records in place of samples, of a run with data.separator"
    flags.DEFINE_integer("records", None, records, lower_bound=1, flag_values=values)
    flags.DEFINE_bool("novel", False, "records: leave out those of the training split", flag_values=values)
    flags.DEFINE_string("out", "", "a new folder for the samples, a file each", flag_values=values)
    data_flag(values, "novel: where the run's text lies now, if not where it was or near the run folder")
    step_flag(values)
    device_flags(values)


def parse_temperatures(given: list[str]) -> list[float]:
    """Parse --temperature. Raises UserError for what is no number."""
    try:
        return [float(temperature) for temperature in given]
    except ValueError:
        raise UserError(f"--temperature={','.join(given)}: expected a number, or several such as 0.5,1.0.") from None


def check_new_folder(path: Path) -> None:
    """Raise UserError unless the path can become a folder, or is an empty one."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"--out={path} is there already and no empty folder: name a new one.")


def name_sample(i: int, num: int, temperatures: list[float]) -> str:
    """Return the name of sample i: its number, its temperature, or both, whichever there are several of."""
    number, temperature = f"sample {i % num + 1}", f"temperature {temperatures[i // num]:g}"
    return " ".join([number] * (num > 1) + [temperature] * (len(temperatures) > 1))


def print_samples(values: flags.FlagValues, lm: "LanguageModel", temperatures: list[float], seed: int) -> None:
    """Print samples, the first while it is drawn."""
    from rnnlm.data.vocabulary import to_bytes

    num = values.num or 1
    samples = lm.stream(values.prompt, values.length, temperatures, seed, values.top_k, values.top_p, num)
    report_seed(values, seed)
    out, later = sys.stdout.buffer, list[list[bytes]]()

    def begin(i: int) -> Callable[[bytes], bytes]:
        name = name_sample(i, num, temperatures)
        out.write(f"----- {name} -----\n".encode() if name else b"")
        show = make_decoder()
        out.write(show(to_bytes(values.prompt)))
        return show

    first = next(samples)  # before anything is printed, since it may fail
    show = begin(0)
    for texts in itertools.chain([first], samples):  # the first text appears as it is drawn, the others after it
        out.write(show(texts[0]))
        out.flush()
        later.append(texts[1:])
    for i, pieces in enumerate(zip(*later, strict=True), 1):
        out.write(b"\n")
        out.write(begin(i)(b"".join(pieces)))
    out.write(b"\n")


def write_samples(values: flags.FlagValues, lm: "LanguageModel", temperatures: list[float], seed: int) -> None:
    """Write each sample to a file of the folder --out while it is drawn, its bytes as they are."""
    from rnnlm.data.vocabulary import to_bytes
    from rnnlm.files import make_folder, writing
    from rnnlm.generation.stepper import CHUNK
    from rnnlm.runtime.console import Console

    num, folder, console = values.num or 1, Path(values.out), Console()
    samples = lm.stream(values.prompt, values.length, temperatures, seed, values.top_k, values.top_p, num)
    report_seed(values, seed)
    names = [name_sample(i, num, temperatures).replace(" ", "_") for i in range(num * len(temperatures))]
    with contextlib.ExitStack() as stack:
        with writing(folder):
            make_folder(folder)
            files = [stack.enter_context((folder / f"{name or 'sample'}.txt").open("wb")) for name in names]
        stack.enter_context(console)
        for file in files:
            file.write(to_bytes(values.prompt))
        for i, texts in enumerate(samples, 1):
            with writing(folder):
                for file, text in zip(files, texts, strict=True):
                    file.write(text)
            console.share(min(1.0, i * CHUNK / values.length))
    report(f"{len(files):,} samples of {values.length:,} symbols in {folder}")


def print_records(values: flags.FlagValues, lm: "LanguageModel", temperatures: list[float], seed: int) -> None:
    """Print records, each followed by the separator, and on standard error what became of those that were drawn."""
    from rnnlm.generation.records import LIMIT
    from rnnlm.runtime.console import Console

    options = values.prompt, values.length, temperatures[0], seed, values.top_k, values.top_p
    console = Console()
    records = lm.records(values.records, values.novel, *options, console.share)
    console.done()
    report_seed(values, seed)
    separator = lm.config.data.separator
    end = separator.encode("utf-8", "surrogateescape") + (b"\n" if sys.stdout.isatty() and separator != "\n" else b"")
    for record in records.raw:
        sys.stdout.buffer.write(make_decoder()(record) + end)
    sys.stdout.buffer.flush()
    new, drawn, cut = len(records.raw), records.drawn, records.cut
    if values.novel:
        limit = f"; no more than {LIMIT} times --records={values.records} are drawn" if new < values.records else ""
        report(f"{new:,} of {drawn:,} records drawn are new, the others are in the training split{limit}")
    if cut:
        report(f"{cut:,} of {new:,} records did not end within --length={values.length} symbols and are cut there")


def report_seed(values: flags.FlagValues, seed: int) -> None:
    """Tell the seed that repeats the draw, where the command line does not give it."""
    if values.seed is None:
        report(f"drawn with --seed={seed}")


def report(text: str) -> None:
    """Print a line to standard error."""
    print(text, file=sys.stderr, flush=True)


def make_decoder() -> Callable[[bytes], bytes]:
    """Make what turns the pieces of one text into what is printed: readable text on a terminal, elsewhere all bytes."""
    from rnnlm.generation.sampler import TextDecoder

    if not sys.stdout.isatty():
        return lambda piece: piece
    decode, encoding = TextDecoder(), sys.stdout.encoding
    return lambda piece: decode(piece).encode(encoding, "replace")
