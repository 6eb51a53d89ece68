"""LSTM, layer-normalized LSTM and HyperLSTM of one layer on enwik8 (Ha, Dai and Le 2016, arXiv 1609.09106, table 4).

    rnnlm train --config=configs/published/ha_2016.py:ln_hyperlstm_1800 --workdir=runs/ha_2016
    rnnlm eval --workdir=runs/ha_2016 --lanes=1

Published, bpc on the test split: lstm_1800 1.470, lstm_2000 1.461, ln_lstm_1800 1.402, hyperlstm_1800 1.391,
ln_hyperlstm_1800 1.353, ln_hyperlstm_2048 1.340.
Source: a copy of the paper; the cells are those of hardmaru/supercell, commit 063b01e, read.
Protocol: static, with the carry. Split: 90/5/5.
Parameters: 14.81, 18.06, 14.82, 18.71, 18.78 and 26.54 million; all are met but that of ln_hyperlstm_1800, where the
present cell has 18.73 million.
Unverified: the length of training, which no source gives (here 50 passes), and that its rate stayed at 1e-3.
Differs: recurrent dropout acts in the hyper LSTM of all HyperLSTMs, there in that of ln_hyperlstm_2048 alone; matrices
start orthogonal gate by gate, W_x of the plain LSTM too; in the layer-normalized cells eps is 1e-5.
Cost: lstm_1800 1.1 hours, lstm_2000 1.2 hours, ln_lstm_1800 1.1 hours, hyperlstm_1800 1.2 hours, ln_hyperlstm_1800 1.2
hours, ln_hyperlstm_2048 1.6 hours on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "lstm_1800": {
        "text": "enwik8",
        "symbols": 205,
        "split": "test",
        "bpc": "1.470",
        "params": "14.81M",
        "trust": "copy",
    },
    "lstm_2000": {
        "text": "enwik8",
        "symbols": 205,
        "split": "test",
        "bpc": "1.461",
        "params": "18.06M",
        "trust": "copy",
    },
    "ln_lstm_1800": {
        "text": "enwik8",
        "symbols": 205,
        "split": "test",
        "bpc": "1.402",
        "params": "14.82M",
        "trust": "copy",
    },
    "hyperlstm_1800": {
        "text": "enwik8",
        "symbols": 205,
        "split": "test",
        "bpc": "1.391",
        "params": "18.71M",
        "trust": "copy",
    },
    "ln_hyperlstm_1800": {
        "text": "enwik8",
        "symbols": 205,
        "split": "test",
        "bpc": "1.353",
        "params": "18.78M",
        "differs": True,
        "trust": "copy",
    },
    "ln_hyperlstm_2048": {
        "text": "enwik8",
        "symbols": 205,
        "split": "test",
        "bpc": "1.340",
        "params": "26.54M",
        "trust": "copy",
    },
}


def get_config(name: str = "lstm_1800") -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "enwik8"
    config.data.split = "std_90_5_5"

    *_, kind, hidden = name.split("_")
    config.model.layers = 1
    config.model.hidden = int(hidden)
    config.model.cell = kind
    config.model.init = "orthogonal_gates"
    config.model.lstm.layer_norm = name.startswith("ln")
    config.model.hyperlstm.layer_norm = name.startswith("ln")
    config.model.hyperlstm.hyper_units = 512 if hidden == "2048" else 256
    config.model.hyperlstm.embedding = 64
    config.model.dropout_candidate = {"lstm_1800": 0.0, "lstm_2000": 0.0, "ln_hyperlstm_2048": 0.15}.get(name, 0.1)

    config.train.batch = 128
    config.train.window = 300 if hidden == "2048" else 250
    config.train.drop_state = 0.0
    config.train.steps = round(50 * 90e6 / config.train.batch / config.train.window)

    config.optim.learning_rate = 1e-3
    config.optim.clip_norm = 1.0

    config.eval.every = config.checkpoint.every = 2812
    config.sample.every = 0
    return config
