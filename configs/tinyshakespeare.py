"""x"""

from configs import base
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.corpus = "tinyshakespeare"
    config.data.split = "0.9/0.1/0"  # the peers' split: 1,003,854 characters train, 111,540 validate
    config.model.layers = 1
    config.model.hidden = 320
    config.model.embedding = 320
    config.train.batch = 16
    config.train.window = 48
    config.train.steps = 2900
    config.optim.name = "adamw"
    config.optim.learning_rate = 4e-3
    config.optim.schedule = "cosine"
    config.optim.warmup = 50
    config.optim.final = 0.02
    config.optim.b2 = 0.99
    config.eval.every = config.checkpoint.every = config.sample.every = 1450
    return config
