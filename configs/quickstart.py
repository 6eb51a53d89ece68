"""The config of a first run, on the source code of Python's standard library, which every machine has.

    make run

It reaches BPC bits per byte on the test split, N bytes of files of Python 3.11.7's library that are chosen at random (alone
on these bytes, bzip2 -9 has B and xz -9e X).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.shuffle = "files"  # the last files by name are another kind of program than the first

    config.model.layers = 1
    config.model.hidden = 256
    config.model.embedding = 256

    config.train.batch = 32
    config.train.window = 64
    config.train.steps = 3300

    config.optim.name = "adamw"
    config.optim.learning_rate = 1e-2
    config.optim.schedule = "cosine"
    config.optim.warmup = 50
    config.optim.final = 0.02
    config.optim.b1, config.optim.b2 = 0.8, 0.99
    config.optim.weight_decay = 0.1

    config.eval.every = config.checkpoint.every = config.sample.every = 1100
    config.eval.max_symbols = 100_000
    return config
