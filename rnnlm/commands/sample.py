"""rnnlm sample: text, as it is drawn."""

import sys

from absl import flags

from rnnlm import config as configs
from rnnlm.commands.flags import device_flags, given_workdir, saved_run, start_devices
from rnnlm.commands.overrides import parse


def main(argv: list[str]) -> int:
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

    from rnnlm import language_model
    from rnnlm.generation.sampler import SamplingOptions

    how = SamplingOptions(values.temperature, values.seed, values.top_k, values.top_p)
    model = language_model.load(workdir, values.step)
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
