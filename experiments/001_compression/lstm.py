"""LSTM of two layers of 512 for either text: at most 40 minutes on 2 cores of an AMD EPYC.

    rnnlm train --config=experiments/001_compression/lstm.py:warpeace --workdir=runs/warpeace
    head -c 4150000 enwik8 > enwik8_head.txt
    rnnlm train --config=experiments/001_compression/lstm.py:enwik8_head --workdir=runs/enwik8_head \
        --config.data.files=enwik8_head.txt

Expect 1.620 bpc on the test split of War and Peace after 23 minutes and 1.810 on that of enwik8_head after 32. All
measurements are in README.md beside this file.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(text: str) -> ConfigDict:
    config = base.get_config()
    if text == "warpeace":
        config.data.corpus = "warpeace"
        config.data.split = "0.8/0.1/0.1"
        config.model.dropout = 0.2
    else:
        config.data.corpus = ""
        config.data.split = "3750000/200000/200000"
        config.model.dropout = 0.1

    config.model.layers = 2
    config.model.hidden = 512
    config.model.embedding = 256
    config.model.init_gain = 1.0  # as when these runs were made, before the default was 4

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
    config.eval.max_symbols = 0  # all of the validation split
    config.sample.every = 0
    return config
