"""rnnlm trace: write a model's states, gates and logits while it reads a text to a file of arrays."""

from pathlib import Path

from absl import flags

from rnnlm.commands.flags import data_flag, device_flags, force_flag, load_model, step_flag, workdir_flags
from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError
from rnnlm.files import check_absent, check_writable


def main(argv: list[str]) -> int:
    """Write the file, and print the name, shape and size of its arrays."""
    values = parse_flags(argv)
    out = Path(values.o)
    lm = load_model(values, values.data)

    from rnnlm.runtime.console import Console

    console, file = Console(), Path(values.file) if values.file else None
    with console:
        shapes = lm.trace(
            out,
            None if file else values.split or "valid",
            path=file,
            symbols=(values.symbols_from, values.symbols_to),
            layers=values.layers or None,
            progress=console.share,
        )
    for name, shape in sorted(shapes.items()):
        console.say(f"{name:24} {' x '.join(f'{n:,}' for n in shape)}")
    console.say(f"{out}  {out.stat().st_size:,} bytes")
    return 0


def parse_flags(argv: list[str]) -> flags.FlagValues:
    """Parse the flags. Raises UserError for flags that contradict each other, and for a file that cannot be written."""
    values = flags.FlagValues()
    workdir_flags(values)
    flags.DEFINE_string("o", None, "the file to write, which ends in .npz or .safetensors", flag_values=values)
    force_flag(values)
    flags.DEFINE_string("split", None, "the split to read: train, valid unless given, or test", flag_values=values)
    flags.DEFINE_string("file", "", "or a file to read", flag_values=values)
    flags.DEFINE_integer("symbols_from", 0, "the first symbol to read", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("symbols_to", 0, "and the one after the last; 0: the end", lower_bound=0, flag_values=values)
    flags.DEFINE_multi_integer("layers", [], "a layer to keep, from 0; all unless given", flag_values=values)
    step_flag(values)
    data_flag(values)
    device_flags(values)
    parse("trace", values, argv)
    if not values.o:
        raise UserError("-o is missing: name the file to write, as in -o trace.npz.")
    if values.file and values.split:
        raise UserError("--file is read in place of a split: leave out --split.")
    check_writable(Path(values.o), "-o", *([Path(values.file)] if values.file else []))
    check_absent(Path(values.o), "-o", values.force)
    return values
