"""LSTM, GRU and tanh RNN beside a convolutional network, on Penn Treebank and text8 (Bai, Kolter and Koltun 2018).

    rnnlm train --config=configs/published/bai_2018.py:lstm --workdir=runs/bai_2018 \
        --config.data.files=ptb.char.train.txt,ptb.char.valid.txt,ptb.char.test.txt
    rnnlm train --config=configs/published/bai_2018.py:lstm_text8 --workdir=runs/bai_2018_text8

Published, bpc on the test split: lstm 1.36, gru 1.37, rnn 1.48 with about 3 million parameters; on text8 lstm 1.50, gru
1.53, rnn 1.69 with about 5 million.
Source: README of locuslab/TCN, read. Its recipe of these three is in the paper's appendix, of which we have no copy;
the author says that it is not in the repository (issue 18).
Protocol: not known; the exact one is the carry. Split: Mikolov's files without the spaces between characters
(ha_2016_ptb.py), and 90/5/5.
Unverified: all but the number of parameters. Two layers, their width from that budget, and the training of the
repository's convolutional network (batch 32, windows of 400, clip 0.15) but for Adam in place of plain descent.
Cost: lstm 23 minutes, gru 23 minutes, rnn 23 minutes, lstm_text8 7.4 hours, gru_text8 7.4 hours, rnn_text8 7.4 hours on
one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    f"{cell}{text and '_'}{text}": {
        "text": text or "ptb",
        "symbols": 27 if text else 50,
        "split": "test",
        "bpc": bpc,
        "trust": "read",
    }
    for text, cells in {
        "": {"lstm": "1.36", "gru": "1.37", "rnn": "1.48"},
        "text8": {"lstm": "1.50", "gru": "1.53", "rnn": "1.69"},
    }.items()
    for cell, bpc in cells.items()
}


def get_config(name: str = "lstm") -> ConfigDict:
    """Return the config."""
    cell, _, text = name.partition("_")
    config = base.get_config()
    if text:
        config.data.corpus = text
        config.data.split = "std_90_5_5"
        config.model.params = 5e6
        epoch = 7031
    else:
        config.data.files = "ptb.char.train.txt,ptb.char.valid.txt,ptb.char.test.txt"
        config.data.split = "files"
        config.model.params = 3e6
        epoch = 395

    config.model.cell = cell
    config.model.layers = 2
    config.model.embedding = 100
    config.model.init_gain = 1.0
    config.model.dropout = 0.1

    config.train.batch = 32
    config.train.window = 400
    config.train.drop_state = 0.0
    config.train.steps = 100 * epoch
    config.optim.learning_rate = 1e-3
    config.optim.clip_norm = 0.15

    config.eval.every = config.checkpoint.every = epoch
    config.eval.max_symbols = 0
    config.sample.every = 0
    return config
