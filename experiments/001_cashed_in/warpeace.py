"""War and Peace as Karpathy, Johnson and Li (2015) split it, 80/10/10, in 40 minutes on 2 cores.

rnnlm train --config=experiments/001_cashed_in/warpeace.py --workdir=runs/warpeace
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.corpus = "warpeace"
    config.data.split = "0.8/0.1/0.1"

    config.model.layers = 2
    config.model.hidden = 512
    config.model.embedding = 256
    config.model.dropout = 0.2

    config.train.batch = 40
    config.train.window = 64
    config.train.steps = 7500
    config.train.drop_state = 0.02

    config.optim.name = "adamw"
    config.optim.learning_rate = 4e-3
    config.optim.schedule = "cosine"
    config.optim.warmup = 100
    config.optim.final = 0.02
    config.optim.b1, config.optim.b2 = 0.8, 0.99
    config.optim.weight_decay = 0.1

    config.eval.every = config.checkpoint.every = 1500
    config.eval.max_symbols = 0  # all of the validation part
    config.sample.every = 0
    return config
