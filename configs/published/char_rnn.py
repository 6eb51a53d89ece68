"""char-rnn's defaults on tiny-shakespeare (Karpathy 2015), with its split, its initial values and its gradient.

    rnnlm train --config=configs/published/char_rnn.py --workdir=runs/char_rnn
    rnnlm eval --workdir=runs/char_rnn --split=valid --protocol=streams --lanes=50

Published: no score; 240,321 parameters (karpathy/char-rnn, issue 38).
Measured: 2.000 bpc (1.386 nats) on the validation split at step 11,000, after 7.8 minutes for all steps on 2 cores
of an AMD EPYC that multiply float32 matrices at 255 GFLOP/s together and also did other work.
Source: train.lua, model/LSTM.lua and util/CharSplitLMMinibatchLoader.lua of karpathy/char-rnn, commit 6f9487a, read.
Protocol: 50 streams from a cold start, which is the exact one but for 50 starts. Split: columns, 95 % train, 5 % valid.
Differs: a piece of a column begins by predicting its first symbol, from the last one of the piece before; char-rnn ends
it by predicting the symbol after it. The carry is reset once an epoch, where char-rnn never resets it. Early checks for
an exploding loss are rnnlm's own.
Unverified: eps of optim.rmsprop is from a copy of torch/optim.
Cost: 1.4 minutes on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {"": {"text": "tinyshakespeare", "symbols": 65, "split": "valid", "params": "240,321", "trust": "read"}}


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "tinyshakespeare"
    config.data.split = "columns_50x50_0.95/0.05/0"

    config.model.layers = 2
    config.model.hidden = 128
    config.model.lstm.biases = 2
    config.model.init = "uniform"
    config.model.init_scale = 0.08

    config.train.batch = config.train.window = 50
    config.train.steps = 21_150  # 50 epochs of 423 windows
    config.train.drop_state = 0.0

    config.optim.name = "rmsprop"
    config.optim.learning_rate = 2e-3
    config.optim.schedule = "epoch"
    config.optim.decay = 0.97
    config.optim.decay_after = 9.0  # learning_rate_decay_after=10: when 10 epochs are over
    config.optim.b2 = 0.95
    config.optim.eps = 1e-8
    config.optim.eps_in_root = False
    config.optim.loss = "sum"
    config.optim.clip_norm = 0.0
    config.optim.clip_value = 5.0

    config.eval.every = config.checkpoint.every = config.sample.every = 1000
    config.eval.lanes = 50
    config.eval.warmup = 0
    config.seed = 123
    return config
