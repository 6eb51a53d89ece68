"""The first 4.15 MB of enwik8, of which 3.75 train, 0.2 are for validation and 0.2 for the test, in 40 minutes.

head -c 4150000 enwik8 > enwik8_head.txt
rnnlm train --config=experiments/001_cashed_in/enwik8_head.py --workdir=runs/enwik8_head \
    --config.data.files=enwik8_head.txt
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.corpus = ""
    config.data.split = "3750000/200000/200000"

    config.model.layers = 2
    config.model.hidden = 512
    config.model.embedding = 256
    config.model.dropout = 0.1

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
