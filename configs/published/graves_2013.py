"""The LSTM of seven layers of 700 on enwik8 (Graves 2013, arXiv 1308.0850, section 3.2).

    rnnlm train --config=configs/published/graves_2013.py --workdir=runs/graves_2013
    rnnlm eval --workdir=runs/graves_2013

Published: 1.67 bpc on the last 4 MB, which served as the validation set (1.33 with dynamic evaluation).
Source: excerpts of the paper.
Protocol: carry, reset every 10,000 bytes in training. Split: 96 MB train, the last 4 MB held out (graves_96_4).
Parameters: 21.3 million by a copy of the paper, 27.0 by a table of Ha et al. 2016; 30.5 here, with peepholes and with
connections of the input to all layers and of all layers to the softmax. The three do not agree.
Unverified: plain gradient descent with a rate of 1e-4 and a momentum of 0.9, 4 passes, 7 layers of 700 with skips; that
the loss is a sum over the time steps, clipped to 10 entry by entry.
Differs: 50 lanes are read at once, where the paper reads one sequence; all lanes are reset once an epoch, and at random
every 100 windows.
Cost: 46 minutes on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {"": {"text": "enwik8", "symbols": 205, "split": "test", "bpc": "1.67", "trust": "excerpt"}}


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "enwik8"
    config.data.split = "graves_96_4"

    config.model.layers = 7
    config.model.hidden = 700
    config.model.block = "skip"
    config.model.lstm.peepholes = True
    config.model.init_gain = 1.0

    config.train.batch = 50
    config.train.window = 100
    config.train.steps = 76_800  # 4 passes
    config.train.drop_state = 0.01

    config.optim.name = "sgd"
    config.optim.learning_rate = 1e-4
    config.optim.momentum = 0.9
    config.optim.loss = "sum"
    config.optim.clip_norm = 0.0
    config.optim.clip_value = 10.0

    config.eval.every = 0  # there is no other split
    config.checkpoint.every = 2000
    config.sample.every = 0
    return config
