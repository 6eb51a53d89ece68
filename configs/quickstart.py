"""x"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.corpus = "stdlib"

    config.model.layers = 1
    config.model.hidden = 256
    config.model.embedding = 256

    config.train.batch = 32
    config.train.window = 64
    config.train.steps = 3700

    config.optim.name = "adamw"
    config.optim.learning_rate = 8e-3
    config.optim.schedule = "cosine"
    config.optim.warmup = 50
    config.optim.final = 0.02
    config.optim.b2 = 0.99

    config.eval.every = config.checkpoint.every = config.sample.every = 1850
    config.eval.max_symbols = 100_000
    return config
