"""AWD-LSTMs of characters, on enwik8 and Penn Treebank (Merity, Keskar and Socher 2018, arXiv 1803.08240).

    rnnlm train --config=configs/published/awd_lstm_2018.py --workdir=runs/awd_lstm_2018
    rnnlm eval --workdir=runs/awd_lstm_2018 --lanes=1
    rnnlm train --config=configs/published/awd_lstm_2018.py:ptb --workdir=runs/awd_lstm_2018_ptb \
        --config.data.files=ptb.char.train.txt,ptb.char.valid.txt,ptb.char.test.txt

Published: 1.232 bpc on the test split of enwik8, 1.175 on that of Penn Treebank; independent runs had 1.255 and 1.182.
Source: the commands in the README, main.py, model.py, weight_drop.py of salesforce/awd-lstm-lm, commit 1d466ec, read.
Protocol: one lane with the carry, the exact one; 10 streams on the validation split. Split: 90/5/5; Mikolov's files
without the spaces between characters (ha_2016_ptb.py).
Parameters: 47.27 and 13.79 million counted, with two biases, and so here.
Differs: no jitter of the window (there its length is normal around 200, half of that for one in twenty, and the rate is
scaled by it). Biases start at 0 and that of the forget gate too, where PyTorch draws them. The published bpc is divided
by one symbol more than there are targets.
Cost: 3.2 hours, ptb 1 hour on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "": {"text": "enwik8", "symbols": 205, "split": "test", "bpc": "1.232", "params": "47.27M", "trust": "read"},
    "ptb": {"text": "ptb", "symbols": 50, "split": "test", "bpc": "1.175", "params": "13.79M", "trust": "read"},
}


def get_config(text: str = "enwik8") -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    if text == "ptb":
        config.data.files = "ptb.char.train.txt,ptb.char.valid.txt,ptb.char.test.txt"
        config.data.split = "files"
        config.model.sizes = (1000, 1000, 200)
        config.train.window, epochs, train = 150, 500, 5_059_000
        config.model.dropout, config.model.dropout_output, config.model.weight_drop = 0.25, 0.1, 0.5
        config.optim.learning_rate, config.optim.milestones = 2e-3, (300.0, 400.0)
    else:
        config.data.corpus = "enwik8"
        config.data.split = "std_90_5_5"
        config.model.sizes = (1840, 1840, 400)
        config.train.window, epochs, train = 200, 50, 90_000_000
        config.model.dropout, config.model.dropout_output, config.model.weight_drop = 0.1, 0.4, 0.2
        config.optim.learning_rate, config.optim.milestones = 1e-3, (25.0, 35.0)
    epoch = train / 128 / config.train.window

    config.model.embedding = config.model.sizes[-1]
    config.model.tied = True
    config.model.lstm.biases = 2
    config.model.lstm.forget_bias = 0.0
    config.model.init_gain = 1.0
    config.model.init_embedding = 0.1
    config.model.dropout_mask = "window"
    config.model.dropout_input = 0.1

    config.train.batch = 128
    config.train.steps = round(epochs * epoch)
    config.train.drop_state = 0.0

    config.optim.schedule = "milestones"
    config.optim.decay = 0.1
    config.optim.l2_after_clip = 1.2e-6
    config.optim.clip_norm = 0.25

    config.eval.every = config.checkpoint.every = round(epoch)
    config.eval.lanes = 10
    config.eval.warmup = 0
    config.eval.max_symbols = 0
    config.sample.every = 0
    return config
