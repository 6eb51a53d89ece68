"""Multiplicative LSTMs on enwik8 and text8 (Krause et al. 2016, arXiv 1609.07959; with dropout in later versions).

    rnnlm train --config=configs/published/mlstm_2016.py --workdir=runs/mlstm_2016
    rnnlm eval --workdir=runs/mlstm_2016 --protocol=streams
    rnnlm eval --workdir=runs/mlstm_2016 --dynamic=rms --tune

Published, bpc on the test split: large 1.24 on enwik8 (1.08 with dynamic evaluation), text8 1.27 (1.19), both with 46
or 45 million parameters. plain, without dropout, has 1.42 after 4 passes over the first 95 MB. small is the cheaper
variant of the README, without a score.
Source: chainer/train.py, mLSTMWN.py, eval.py and README of benkrause/mLSTM, commit fe32a00, and matlab/*, read.
Protocol: 10 streams with the carry, beside which the exact one is one lane; during training chunks of 1,000 of 500,000
symbols, each from a reset carry. Split: 90/5/5; plain trained on 95 MB.
Parameters: 45.47 million counted, of large, which its weight norm makes 45.50; 20.39 and 22.35 of the others.
Unverified: the optimizer of plain (a step normalized by its root mean square, with a threshold that falls from 10 to
0.01), for which RMSprop stands here, with a clip of 1; the batch of 100.
Differs: one mask of h is drawn for what the next step reads and another for what the softmax reads, there it is one.
The carry is reset every 100 windows there and here with a probability of 0.01. plain trains on 90 MB.
Cost: large 2.4 hours, text8 2.4 hours, small 21 minutes, plain 7.7 minutes on one H100 for all steps, as `rnnlm plan
--accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "large": {
        "text": "enwik8",
        "symbols": 205,
        "split": "test",
        "bpc": "1.24",
        "params": "45.47M",
        "differs": True,
        "trust": "read",
    },
    "text8": {"text": "text8", "symbols": 27, "split": "test", "bpc": "1.27", "params": "45M", "trust": "read"},
    "small": {"text": "enwik8", "symbols": 205, "split": "test", "params": "22.3M", "trust": "read"},
    "plain": {"text": "enwik8", "symbols": 205, "split": "test", "bpc": "1.42", "params": "20.4M", "trust": "read"},
}


def get_config(name: str = "large") -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "text8" if name == "text8" else "enwik8"
    config.data.split = "std_90_5_5"
    config.train.batch = 100
    config.sample.every = 0

    config.model.cell = "mlstm"
    config.model.layers = 1
    config.model.hidden = 2800 if name in ("large", "text8") else 1900
    if name == "plain":
        config.train.window = 100
        config.train.steps = 36_000  # 4 passes
        config.optim.name = "rmsprop"
        config.optim.b2 = 0.99
        config.optim.learning_rate = 1e-3
        config.optim.schedule = "exponential"
        config.optim.decay = 0.18  # to a thousandth in 4 passes
        config.optim.decay_after = 0.0
        config.eval.every = config.checkpoint.every = 3000
        return config

    config.model.embedding = 400
    config.model.mlstm.forget_bias = 3.0
    config.model.init = "orthogonal"
    config.model.init_embedding = 0.2
    config.model.weight_norm = True
    config.model.dropout_mask = "window"
    config.model.dropout_state = config.model.dropout_output = 0.2
    config.model.dropout_input = 0.2 if name == "small" else 0.5

    config.train.window = 100 if name == "small" else 200
    config.train.steps = 90_000 if name == "small" else 180_000

    config.optim.learning_rate = 1e-3
    config.optim.schedule = "linear"
    config.optim.steps = 100_440  # 1e-3 (1 - step / 108,000) is 7e-5 there, and stays
    config.optim.final = 0.07
    config.optim.clip_norm = 0.0

    config.eval.every = config.checkpoint.every = 1000
    return config
