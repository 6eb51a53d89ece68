"""Fast-slow LSTMs on enwik8 and on the characters of Penn Treebank (Mujika et al. 2017, arXiv 1705.08639).

    rnnlm train --config=configs/published/fs_lstm_2017.py:large --workdir=runs/fs_lstm_2017
    rnnlm eval --workdir=runs/fs_lstm_2017 --lanes=1
    rnnlm train --config=configs/published/fs_lstm_2017.py:ptb_2 --workdir=runs/fs_lstm_2017_ptb \
        --config.data.files=ptb.char.train.txt,ptb.char.valid.txt,ptb.char.test.txt

Published, bpc on the test split: fs_2 1.290 and fs_4 1.277 (27 million parameters), large 1.245 (47 million; 1.198 is
the mean of two), ptb_2 1.190 (7.2 million) and ptb_4 1.193 (6.5 million).
Source: three versions of configs.py, FSRNN.py, LNLSTM.py and main.py of amujika/Fast-Slow-LSTM, read: large and ptb_2
are of the version that its README names, fs_4 and fs_2 of older ones whose sizes give 27 million.
Protocol: one lane with the carry, the exact one; the validation there reads 20 streams. Split: 90/5/5, and Mikolov's
files without the spaces between characters (ha_2016_ptb.py).
Parameters: 27.0, 27.3, 48.06, 7.23 and 6.56 million here. "47 million" is cut, not rounded.
Unverified: that fs_2, fs_4 and ptb_4 are those of the paper; with the 600 fast units of a stored ptb_4 it would have
8.7 million, and 500, which are taken here, give the published 6.5.
Differs: layer normalization has an eps of 1e-5 in place of 1e-3; fast LSTMs above the second there read a zero.
Cost: fs_2 1.8 hours, fs_4 1.2 hours, large 1.8 hours, ptb_2 10 minutes, ptb_4 9.6 minutes on one H100 for all steps, as
`rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

SIZES = {
    "fs_2": (2, 900, 1500, 128, 64, 100, 0.1, 0.05, 0.25, 1e-3, 30),
    "fs_4": (4, 730, 1500, 256, 128, 150, 0.2, 0.05, 0.3, 1e-3, 35),
    "large": (4, 1200, 1500, 256, 128, 100, 0.25, 0.05, 0.3, 1e-3, 35),
    "ptb_2": (2, 700, 400, 128, 128, 150, 0.35, 0.1, 0.5, 2e-3, 200),
    "ptb_4": (4, 500, 400, 128, 128, 150, 0.5, 0.1, 0.5, 2e-3, 200),
}
"""Fast LSTMs, their units, slow units, embedding, batch, window, dropout, zoneout of h and of c, learning rate, passes
over the training split."""

PUBLISHED = {
    "fs_2": {"text": "enwik8", "symbols": 205, "split": "test", "bpc": "1.290", "params": "27M", "trust": "copy"},
    "fs_4": {"text": "enwik8", "symbols": 205, "split": "test", "bpc": "1.277", "params": "27M", "trust": "copy"},
    "large": {
        "text": "enwik8",
        "symbols": 205,
        "split": "test",
        "bpc": "1.245",
        "params": "47M",
        "differs": True,
        "trust": "read",
    },
    "ptb_2": {"text": "ptb", "symbols": 50, "split": "test", "bpc": "1.190", "params": "7.2M", "trust": "read"},
    "ptb_4": {
        "text": "ptb",
        "symbols": 50,
        "split": "test",
        "bpc": "1.193",
        "params": "6.5M",
        "differs": True,
        "trust": "read",
    },
}


def get_config(name: str = "large") -> ConfigDict:
    """Return the config."""
    fast, hidden, slow, embedding, batch, window, dropout, zoneout_h, zoneout_c, rate, epochs = SIZES[name]
    config = base.get_config()
    if name.startswith("ptb"):
        config.data.files = "ptb.char.train.txt,ptb.char.valid.txt,ptb.char.test.txt"
        config.data.split = "files"
        train = 5_059_000
    else:
        config.data.corpus = "enwik8"
        config.data.split = "std_90_5_5"
        train = 90_000_000
    epoch = train / batch / window

    config.model.cell = "fsrnn"
    config.model.fsrnn.fast = fast
    config.model.fsrnn.slow = slow
    config.model.fsrnn.layer_norm = True
    config.model.layers = 1
    config.model.hidden = hidden
    config.model.embedding = embedding
    config.model.init = "orthogonal"
    config.model.dropout = config.model.dropout_input = config.model.dropout_inner = dropout
    config.model.zoneout_h = zoneout_h
    config.model.zoneout_c = zoneout_c

    config.train.batch = batch
    config.train.window = window
    config.train.steps = round(epochs * epoch)
    config.train.drop_state = 0.0

    config.optim.learning_rate = rate
    config.optim.decay = 0.1
    if name.startswith("ptb"):
        config.optim.schedule = "milestones"
        config.optim.milestones = (181.0,)  # `if i == 180` after a pass, counted from 0
    else:
        config.optim.schedule = "plateau"
        config.optim.patience = 1 if name == "large" else 0  # the second validation in a row that is no better, or any
    config.optim.loss = "sum"
    config.optim.clip_norm = 1.0

    config.eval.every = config.checkpoint.every = round(epoch)
    config.eval.max_symbols = 0
    config.sample.every = 0
    return config
