"""rnnlm train: train, or go on with the run that a folder holds."""

from dataclasses import replace

from absl import flags

from rnnlm import config as configs
from rnnlm.commands.flags import device_flags, given_workdir, start_devices
from rnnlm.commands.overrides import parse_config
from rnnlm.errors import UserError


def main(argv: list[str]) -> int:
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the run folder, new or to be gone on with", flag_values=values)
    device_flags(values)
    flags.DEFINE_string(
        "coordinator", "", "host:port of process 0, or auto under Slurm and on TPUs", flag_values=values
    )
    flags.DEFINE_integer("processes", 1, "processes that train together", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("process", 0, "which of them this is, from 0", lower_bound=0, flag_values=values)
    config = configs.Config.from_dict(parse_config("train", values, argv))
    workdir = given_workdir(values)
    if values.process >= values.processes or (values.processes > 1 and not values.coordinator):
        raise UserError(
            f"--process={values.process} of --processes={values.processes} with --coordinator={values.coordinator!r}: "
            "processes are numbered from 0, and train together through the --coordinator=host:port of process 0."
        )

    from rnnlm.data.corpora import absolute

    config = replace(config, data=replace(config.data, files=absolute(config.data.files)))
    start_devices(values, config.train, values.coordinator, values.processes, values.process)

    from rnnlm.runtime import parallel
    from rnnlm.runtime.console import Console
    from rnnlm.runtime.signals import Signals
    from rnnlm.training import loop as training

    result = training.train(config, workdir, Signals(), Console(parallel.is_main()))
    if result is not None and parallel.is_main():
        valid = "" if result["valid_bpc"] is None else f"  valid {result['valid_bpc']:.4f} bpc"
        print(f"done: step {result['step']}{valid}  {result['seconds']:.1f} s  run folder {workdir}")
    return 0
