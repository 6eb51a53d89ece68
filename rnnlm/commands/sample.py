"""rnnlm sample: print text as it is drawn."""

import sys

from absl import flags

from rnnlm.commands.flags import device_flags, load_model, step_flag, workdir_flags
from rnnlm.commands.overrides import parse
from rnnlm.config import MAX_SEED


def main(argv: list[str]) -> int:
    """Print the first sample as it is drawn, and the others after it."""
    values = flags.FlagValues()
    workdir_flags(values)
    flags.DEFINE_string("prompt", "", "what the text begins with", flag_values=values)
    flags.DEFINE_integer("length", 500, "symbols to draw", lower_bound=1, flag_values=values)
    flags.DEFINE_float(
        "temperature",
        1.0,
        "divides the logits: below 1 likelier symbols, 0 the likeliest each time",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer("seed", 0, "of the random numbers", lower_bound=0, upper_bound=MAX_SEED, flag_values=values)
    flags.DEFINE_integer(
        "top_k", 0, "draw from the k likeliest symbols only; 0: all", lower_bound=0, flag_values=values
    )
    flags.DEFINE_float(
        "top_p", 1.0, "draw from the fewest likeliest symbols that have this probability together", flag_values=values
    )
    flags.DEFINE_integer("num", 1, "samples, drawn side by side", lower_bound=1, flag_values=values)
    step_flag(values)
    device_flags(values)
    parse("sample", values, argv)
    options = values.prompt, values.length, values.temperature, values.seed, values.top_k, values.top_p
    samples = load_model(values).stream(*options, values.num)
    out, later = sys.stdout.buffer, [b""] * values.num

    def begin(i: int) -> None:
        heading = f"----- sample {i + 1} -----\n" if values.num > 1 else ""
        out.write((heading + values.prompt).encode("utf-8", "surrogateescape"))

    begin(0)
    for texts in samples:  # the first appears as it is drawn, the others after it
        out.write(texts[0])
        out.flush()
        later = [before + text for before, text in zip(later, texts, strict=True)]
    for i in range(1, values.num):
        out.write(b"\n")
        begin(i)
        out.write(later[i])
    out.write(b"\n")
    out.flush()
    return 0
