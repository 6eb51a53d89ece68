"""rnnlm sample: print text as it is drawn, or whole records."""

import sys
from collections.abc import Callable
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
    ):
        if values[name].value and not needs:
            raise UserError(why)
    if values.records and values.num is not None:
        raise UserError("--num draws samples and --records draws records: give one of them.")
    lm = load_model(values, values.data)

    from rnnlm.generation.sampler import fresh_seed

    seed = fresh_seed() if values.seed is None else values.seed
    (print_records if values.records else print_samples)(values, lm, seed)
    sys.stdout.buffer.flush()
    return 0


def define_flags(values: flags.FlagValues) -> None:
    """Define the flags of the verb."""
    workdir_flags(values)
    text_flag(values, "prompt", "", "what the text, or each record, begins with")
    flags.DEFINE_integer("length", 500, "symbols to draw; of a record at most", lower_bound=1, flag_values=values)
    flags.DEFINE_float(
        "temperature",
        1.0,
        "divides the logits: below 1 likelier symbols, 0 the likeliest each time",
        lower_bound=0,
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
    data_flag(values, "novel: where the run's text lies now, if not where it was or near the run folder")
    step_flag(values)
    device_flags(values)


def print_samples(values: flags.FlagValues, lm: "LanguageModel", seed: int) -> None:
    """Print samples, the first while it is drawn."""
    from rnnlm.data.vocabulary import to_bytes

    num = values.num or 1
    options = values.prompt, values.length, values.temperature, seed, values.top_k, values.top_p
    samples = lm.stream(*options, num)
    report_seed(values, seed)
    out, later = sys.stdout.buffer, [b""] * num

    def begin(i: int) -> Callable[[bytes], bytes]:
        out.write(f"----- sample {i + 1} -----\n".encode() if num > 1 else b"")
        show = make_decoder()
        out.write(show(to_bytes(values.prompt)))
        return show

    show = begin(0)
    for texts in samples:  # the first appears as it is drawn, the others after it
        out.write(show(texts[0]))
        out.flush()
        later = [before + text for before, text in zip(later, texts, strict=True)]
    for i in range(1, num):
        out.write(b"\n")
        out.write(begin(i)(later[i]))
    out.write(b"\n")


def print_records(values: flags.FlagValues, lm: "LanguageModel", seed: int) -> None:
    """Print records, each followed by the separator, and on standard error what became of those that were drawn."""
    from rnnlm.generation.records import LIMIT
    from rnnlm.runtime.console import Console

    options = values.prompt, values.length, values.temperature, seed, values.top_k, values.top_p
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
