"""tiny-shakespeare in a minute and a bit.

    rnnlm train --config=configs/tinyshakespeare.py --workdir=runs/shakespeare

Validation 2.160 bpc (1.497 nats) on the last 111,540 characters, 71 s after the command was typed, on 2 cores of an
AMD EPYC that multiply float32 matrices at 208 GFLOP/s together (JAX 0.10.2). The settings were chosen by this very
split, so the figure is a little flattered. For scale: nanoGPT's README reports 1.88 nats after three minutes on a CPU,
by its own estimate from random windows.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.corpus = "tinyshakespeare"
    config.data.split = "0.9/0.1/0"  # the peers' split: 1,003,854 characters train, 111,540 validate

    config.model.layers = 1
    config.model.hidden = 224
    config.model.embedding = 224

    config.train.batch = 16
    config.train.window = 64
    config.train.steps = 4000

    config.optim.name = "adamw"
    config.optim.learning_rate = 1.4e-2
    config.optim.schedule = "cosine"
    config.optim.warmup = 50
    config.optim.final = 0.02
    config.optim.b1, config.optim.b2 = 0.8, 0.99
    config.optim.weight_decay = 0.1

    config.eval.every = config.checkpoint.every = config.sample.every = 1000
    config.eval.max_symbols = 55_770  # settings and checkpoints are chosen by the first half, so that the second judges
    return config
