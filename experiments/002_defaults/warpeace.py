"""An LSTM of two layers of 256 on War and Peace, to choose defaults by.

rnnlm train --config=experiments/002_defaults/warpeace.py --workdir=runs/defaults/warpeace
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    """Return the config."""
    config = quickstart.get_config()
    config.data.corpus = "warpeace"
    config.data.shuffle = "none"
    config.data.split = "0.8/0.1/0.1"
    config.model.layers = 2
    config.train.steps = 6000
    config.eval.every = config.checkpoint.every = 6000
    config.sample.every = 0
    return config
