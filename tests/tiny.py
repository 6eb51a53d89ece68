"""The config of a tiny run for tests; --config.data.files gives its text."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.corpus = ""
    config.data.split = "0.8/0.1/0.1"
    config.model.hidden = 12
    config.train.batch = 4
    config.train.window = 8
    config.train.steps = 30
    config.eval.every = 10
    config.eval.warmup = 16
    config.checkpoint.every = 5
    config.optim.learning_rate = 0.01
    config.sample.every = 0
    config.sample.length = 20
    config.log.every = 1
    return config
