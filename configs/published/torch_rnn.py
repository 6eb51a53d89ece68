"""torch-rnn's defaults on tiny-shakespeare (Johnson 2016).

    rnnlm train --config=configs/published/torch_rnn.py --workdir=runs/torch_rnn
    rnnlm eval --workdir=runs/torch_rnn --split=valid

Published: no score; 242,945 parameters with 65 symbols, counted.
Source: train.lua, LanguageModel.lua, LSTM.lua and scripts/preprocess.py of jcjohnson/torch-rnn, commit 6e72b86, read.
Protocol: carry, which the exact one equals but for its lanes. Split: 80/10/10, contiguous.
Differs: torch-rnn makes a new state of Adam whenever it halves the rate, here the moments stay; it resets the carry at
the end of an epoch and around each validation, here a lane is reset at the end of an epoch alone; the bias of the
softmax starts at 0.
Cost: 1.2 minutes on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {"": {"text": "tinyshakespeare", "symbols": 65, "split": "valid", "params": "242,945", "trust": "counted"}}


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "tinyshakespeare"
    config.data.split = "0.8/0.1/0.1"

    config.model.layers = 2
    config.model.hidden = 128
    config.model.embedding = 64
    config.model.init = "torch_rnn"
    config.model.init_gain = 1.0

    config.train.batch = config.train.window = 50
    config.train.steps = 17_846  # 50 epochs of 356.9 windows
    config.train.drop_state = 0.0

    config.optim.learning_rate = 2e-3
    config.optim.schedule = "epoch"
    config.optim.decay = 0.5
    config.optim.decay_every = 5.0
    config.optim.decay_after = 0.0
    config.optim.clip_norm = 0.0
    config.optim.clip_value = 5.0

    config.eval.every = config.checkpoint.every = 1000
    config.sample.every = 0
    return config
