"""rnnlm plan: say what a training will cost before it begins."""

import json

from absl import flags

from rnnlm.commands.flags import configure_devices, device_flags, trust_flag
from rnnlm.commands.overrides import config_flag, parse_overrides, read_config
from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.runtime.signals import exit_on_sigterm


def main(argv: list[str]) -> int:
    """Plan the training of a config, and print the plan."""
    values = flags.FlagValues()
    config_flag(values, "the config file, configs/X.py, or the config.json of a run")
    trial = "seconds of steps that are tried here; 10 unless given, 0: no trial"
    flags.DEFINE_float("trial_seconds", None, trial, flag_values=values)
    accelerator = "estimate for one of these instead: H100, H200, A100, TPUv5e, TPUv5p"
    flags.DEFINE_string("accelerator", "", accelerator, flag_values=values)
    flags.DEFINE_float("price", 0.0, "of an hour of this machine, or of one accelerator", flag_values=values)
    link = "GB/s in one direction between devices or machines; 0: the accelerator's own"
    flags.DEFINE_float("link", 0.0, link, flag_values=values)
    flags.DEFINE_bool("json", False, "print one line of JSON instead", flag_values=values)
    trust_flag(values)
    device_flags(values)
    overrides = parse_overrides("plan", values, argv)
    if not values.config:
        raise UserError("--config is missing: give a config file, as in --config=configs/quickstart.py.")
    config = Config.from_dict(read_config(values.config, overrides, values.trust_code))
    # One device for an accelerator, so that the step that is compiled has the whole batch.
    configure_devices(values, lanes=1 if values.accelerator else config.train.batch // config.train.accumulate)

    from rnnlm import api

    with exit_on_sigterm():
        plan = api.plan(config, values.accelerator, values.trial_seconds, values.price, values.link)
    if values.json:
        print(json.dumps(plan))
        return 0

    from rnnlm.planning import text

    print("\n".join(text.lines_of(plan)))
    return 0
