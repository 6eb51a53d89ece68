"""min-char-rnn.py: a tanh RNN of 100 units and Adagrad, 112 lines of numpy (Karpathy 2015).

    rnnlm train --config=configs/published/min_char_rnn.py --workdir=runs/min_char_rnn

Published: no score; the program trains until it is stopped, and so does this config, after 10 passes.
Source: a copy of gist.github.com/karpathy/d4dee566867f8291f086.
Protocol: none: the program has no split that it does not train on. Neither has this config; give a text of your own.
Differs: nothing of the step: one lane, loss summed over 25 time steps, clipped to 5 entry by entry.
Cost: 7.4 minutes on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {"": {"text": "tinyshakespeare", "symbols": 65, "split": "train", "trust": "copy"}}


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "tinyshakespeare"
    config.data.split = "1/0/0"

    config.model.cell = "rnn"
    config.model.layers = 1
    config.model.hidden = 100
    config.model.init = "normal"
    config.model.init_scale = 0.01

    config.train.batch = 1
    config.train.window = 25
    config.train.steps = 446_160
    config.train.drop_state = 0.0

    config.optim.name = "adagrad"
    config.optim.learning_rate = 0.1
    config.optim.eps = 1e-8
    config.optim.loss = "sum"
    config.optim.clip_norm = 0.0
    config.optim.clip_value = 5.0

    config.eval.every = 0
    config.checkpoint.every = 10_000
    config.sample.every = 10_000
    config.sample.length = 200
    return config
