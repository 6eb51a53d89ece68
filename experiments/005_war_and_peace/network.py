"""LSTM of two layers of 512 on War and Peace, in the columns of char-rnn's loader.

rnnlm train --config=experiments/005_war_and_peace/network.py --workdir=runs/war_and_peace
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "warpeace"
    config.data.split = "columns_100x100_0.8/0.1/0.1"

    config.model.layers = 2
    config.model.hidden = 512
    config.model.lstm.input_gate = "coupled"
    config.model.dropout = 0.4

    config.train.batch = 40
    config.train.window = 64
    config.train.steps = 22_000
    config.train.drop_state = 0.02

    config.optim.name = "adamw"
    config.optim.learning_rate = 4e-3
    config.optim.schedule = "cosine"
    config.optim.warmup = 100
    config.optim.final = 0.02
    config.optim.b1, config.optim.b2 = 0.8, 0.99
    config.optim.weight_decay = 0.1

    config.eval.every = config.checkpoint.every = 2000
    config.eval.max_symbols = 0  # all of the validation split
    config.sample.every = 0
    return config
