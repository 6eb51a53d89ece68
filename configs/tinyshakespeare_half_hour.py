"""tiny-shakespeare in half an hour."""

from ml_collections import ConfigDict

from configs import tinyshakespeare


def get_config() -> ConfigDict:
    config = tinyshakespeare.get_config()
    config.model.layers = 2
    config.model.hidden = 384
    config.model.embedding = 256
    config.model.dropout = 0.4

    config.train.batch = 32
    config.train.steps = 13_500
    config.optim.learning_rate = 4e-3
    config.optim.warmup = 100

    config.eval.every = config.checkpoint.every = 1350
    config.sample.every = 0
    return config
