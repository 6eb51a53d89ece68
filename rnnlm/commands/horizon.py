"""rnnlm horizon: bpc of runs where the context of each symbol is cut to the last k symbols."""

import json
from pathlib import Path

from absl import flags

from rnnlm.commands.flags import configure_devices, data_flag, device_flags, step_flag, trust_flag
from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError
from rnnlm.files import check_writable


def main(argv: list[str]) -> int:
    """Print a table for each run, and plot them all."""
    values, workdirs, contexts = parse_flags(argv)
    configure_devices(values)

    from rnnlm import language_model
    from rnnlm.inside import horizon
    from rnnlm.runtime.console import Console

    console, runs = Console(not values.json), {}
    for workdir in workdirs:
        lm = language_model.load(workdir, values.step, values.data, values.trust_code)
        with console:
            rows = runs[workdir] = lm.horizon(values.split, contexts, values.targets, console.share)
        console.say(f"{workdir}, {values.split}, {rows[0]['count']:,} symbols\ncontext     bpc  worse by  +- 95 %")
        for row in rows:
            half = (row["interval"][1] - row["interval"][0]) / 2
            console.say(f"{row['context']:7,}  {row['bpc']:.4f}  {row['worse_by']:8.4f}  {half:.4f}")
            if values.json:
                print(json.dumps({"workdir": workdir, "split": values.split, **row}))
    if values.plot:
        horizon.plot(Path(values.plot), runs)
    return 0


def parse_flags(argv: list[str]) -> tuple[flags.FlagValues, list[str], list[int] | None]:
    """Parse the command line: -> (flags, run folders, contexts if given). Raises UserError."""
    values = flags.FlagValues()
    flags.DEFINE_string("split", "valid", "the split to read: train, valid or test", flag_values=values)
    contexts = "numbers of symbols, separated by commas; 1,2,5,10 ... 1000 unless given"
    flags.DEFINE_list("contexts", [], contexts, flag_values=values)
    targets = "symbols that are predicted; 0: 2,000, or all where there are fewer"
    flags.DEFINE_integer("targets", 0, targets, lower_bound=0, flag_values=values)
    flags.DEFINE_string("plot", "", "a file for the curves: .png, .svg or .pdf", flag_values=values)
    flags.DEFINE_bool("json", False, "print one line of JSON a context instead", flag_values=values)
    step_flag(values)
    data_flag(values)
    trust_flag(values)
    device_flags(values)
    workdirs = parse("horizon", values, argv, positional=1000, usage="DIR ...")
    if not workdirs:
        raise UserError("Name the run folders, as in rnnlm horizon runs/a runs/b.")
    if values.plot:
        from rnnlm.runs.plot import check_figure

        check_writable(Path(values.plot), "--plot")
        check_figure(Path(values.plot))
    try:
        return values, workdirs, [int(context) for context in values.contexts] or None
    except ValueError:
        raise UserError(f"--contexts={','.join(values.contexts)}: expected numbers, such as 1,10,100.") from None
