"""x"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.corpus = "tinyshakespeare"
    config.data.split = "0.9/0.1/0"  # the peers' split: 1,003,854 characters train, 111,540 validate

    config.model.layers = 1
    config.model.hidden = 192
    config.model.embedding = 192

    config.train.batch = 16
    config.train.window = 64
    config.train.steps = 4800

    config.optim.name = "adamw"
    config.optim.learning_rate = 1.1e-2
    config.optim.schedule = "cosine"
    config.optim.warmup = 50
    config.optim.final = 0.02
    config.optim.b1, config.optim.b2 = 0.8, 0.99
    config.optim.weight_decay = 0.1

    config.eval.every = config.checkpoint.every = config.sample.every = 1200
    return config
