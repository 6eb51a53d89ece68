"""rnnlm train: train a model, or continue the run that a folder holds."""

from absl import flags

from rnnlm.commands.flags import configure_devices, data_flag, device_flags, run_dir, workdir_flags
from rnnlm.commands.overrides import apply_overrides, config_flag, parse_overrides, read_config
from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.runtime import peers


def main(argv: list[str]) -> int:
    """Train, and print what the run came to."""
    values = flags.FlagValues()
    config_help = "the config file, configs/X.py, or the config.json of another run; without it that of --workdir"
    config_flag(values, config_help)
    workdir_flags(values, "the run folder, new or with a run to continue")
    data_flag(values)
    device_flags(values)
    flags.DEFINE_string(
        "coordinator", "", "host:port of process 0, or auto under Slurm and on TPUs", flag_values=values
    )
    flags.DEFINE_integer("processes", 1, "processes that train together", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("process", 0, "which of them this is, from 0", lower_bound=0, flag_values=values)
    join_timeout = "seconds in which all of them must have started"
    flags.DEFINE_integer("join_timeout", peers.JOIN_SECONDS, join_timeout, lower_bound=1, flag_values=values)
    config = given_config(values, parse_overrides("train", values, argv))
    workdir = run_dir(values)
    if values.process >= values.processes or (values.processes > 1 and not values.coordinator):
        raise UserError(
            f"--process={values.process} of --processes={values.processes} with --coordinator={values.coordinator!r}: "
            "processes are numbered from 0, and train together through the --coordinator=host:port of process 0."
        )
    configure_devices(
        values,
        coordinator=values.coordinator,
        processes=values.processes,
        process=values.process,
        join_timeout=values.join_timeout,
        lanes=config.train.batch // config.train.accumulate,
    )

    from rnnlm import api
    from rnnlm.runtime import parallel

    result = api.train(config, workdir, data=values.data)
    if result is not None and parallel.is_main():
        if result["valid_bpc"] is not None:
            read = f"{result['valid_count']:,} symbols, {result['valid_protocol']}"
            better = result["best_valid_bpc"] < result["valid_bpc"]
            best = f", best {result['best_valid_bpc']:.4f} at step {result['best_step']}" if better else ""
            print(f"valid {result['valid_bpc']:.4f} bpc ({read}){best}")
        warning = f"  {result['warning']}" if result["warning"] else ""
        print(f"done: step {result['step']}  {result['seconds']:.1f} s  run folder {workdir}{warning}")
    return 0


def given_config(values: flags.FlagValues, overrides: list[str]) -> Config:
    """Read the config that --config names, or else that of the run in --workdir, with overrides applied.

    Raises UserError where there is neither, or where the run's cell is code that is not trusted.
    """
    if values.config:
        return Config.from_dict(read_config(values.config, overrides, values.trust_code))

    from ml_collections import ConfigDict

    from rnnlm.runs import layout

    run = layout.find_run(run_dir(values)) if values.workdir else None
    if run is None:
        raise UserError(
            "--config is missing: give a config file, as in --config=configs/quickstart.py, or a --workdir with a run "
            "to continue."
        )
    from rnnlm.runs.trust import check_trust

    check_trust(run.folder, run.config.model, values.trust_code)
    return Config.from_dict(apply_overrides(ConfigDict(run.config.as_dict()), overrides))
