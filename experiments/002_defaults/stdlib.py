"""The quickstart on the standard library in the order of its files, as it was when the defaults were chosen.

rnnlm train --config=experiments/002_defaults/stdlib.py --workdir=runs/defaults/stdlib
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    """Return the config."""
    config = quickstart.get_config()
    config.data.shuffle = "none"
    return config
