"""LSTMs and Mogrifier LSTMs on enwik8, and one on Penn Treebank (Melis et al. 2019, arXiv 1909.01792).

    rnnlm train --config=configs/published/melis_2019.py:mogrifier_48m --workdir=runs/melis_2019
    rnnlm eval --workdir=runs/melis_2019 --lanes=1 --temperature=tune
    rnnlm eval --workdir=runs/melis_2019 --dynamic=rms --tune

Published, bpc on the test split: lstm_48m 1.195, mogrifier_48m 1.146, lstm_96m 1.155 (1.020 with dynamic evaluation),
mogrifier_96m 1.122 (0.988), ptb 1.120 (1.083; another table has 1.131 and 1.088). No one else has reproduced them.
Source: the tuned configs under lamb/experiment/mogrifier of google-deepmind/lamb, commit 254a0b0, read; scores as
quoted elsewhere.
Protocol: at least 100 lines in each of up to 128 streams with the carry, with a softmax temperature tuned on the first
batch of the validation split; here it is tuned on 500,000 symbols. The exact one is one lane without. Split: 90/5/5,
and Mikolov's files without the spaces between characters (ha_2016_ptb.py).
Parameters: 48, 96 and 24 million are budgets, from which the widths follow: 1218, 1160, 1725, 1687 and 1209.
Differs: as melis_2018.py; the gates of the Mogrifier have no biases, and its low-rank matrices start uniform. The 96m
configs sum the gradients of two halves of a batch without halving the sum, so there they and their L2 are twice as
large as here.
Cost: lstm_48m 2 hours, mogrifier_48m 2.2 hours, lstm_96m 4.9 hours, mogrifier_96m 6.1 hours, ptb 45 minutes on one H100
for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs.published.melis_2018 import lamb

RECIPES = {
    "lstm_48m": (
        1218, 0.002516709293528533, 0.16279440026790548, 0.11949666753873665, 0.1036809388104279, 0.13860156332143037,
        2.5181258956042348e-05, 0, 0,
    ),
    "mogrifier_48m": (
        1160, 0.001021423409385794, 0.015496029112930465, 0.008633961431527571, 0.0437288219541186, 0.138307173174503,
        0.000993383826740019, 6, 79,
    ),
    "lstm_96m": (
        1725, 0.001975213597736287, 0.1233672355450206, 0.12636500626697247, 0.13063181510547955, 0.24846692818769148,
        5.853555404849184e-05, 0, 0,
    ),
    "mogrifier_96m": (
        1687, 0.0022480107672343715, 0.015908852824256536, 0.13785990907975867, 0.1648727901535727, 0.2878539844807166,
        4.409390792135428e-05, 5, 61,
    ),
    "ptb": (
        1209, 0.003739598828019367, 0.27860252841733274, 0.0737609984911853, 0.17118611234551975, 0.2347428361918374,
        0.00025558089199237096, 4, 24,
    ),
}  # fmt: skip
"""Width, learning rate, dropout of inputs, between layers, of the state, of outputs, L2, rounds and rank."""

PUBLISHED = {
    "lstm_48m": {
        "text": "enwik8",
        "symbols": 206,
        "split": "test",
        "bpc": "1.195",
        "params": "48M",
        "trust": "excerpt",
    },
    "mogrifier_48m": {
        "text": "enwik8",
        "symbols": 206,
        "split": "test",
        "bpc": "1.146",
        "params": "48M",
        "trust": "excerpt",
    },
    "lstm_96m": {"text": "enwik8", "symbols": 206, "split": "test", "bpc": "1.155", "params": "96M", "trust": "read"},
    "mogrifier_96m": {
        "text": "enwik8",
        "symbols": 206,
        "split": "test",
        "bpc": "1.122",
        "params": "96M",
        "trust": "excerpt",
    },
    "ptb": {"text": "ptb", "symbols": 51, "split": "test", "bpc": "1.120", "params": "24M", "trust": "read"},
}


def get_config(name: str = "lstm_48m") -> ConfigDict:
    """Return the config."""
    hidden, rate, inputs, between, state, outputs, l2, rounds, rank = RECIPES[name]
    config = lamb(hidden, rate, inputs, between, state, outputs, l2)
    if rounds:
        config.model.cell = "mogrifier"
        config.model.mogrifier.rounds = rounds
        config.model.mogrifier.rank = rank
    config.train.window = 500
    config.train.steps = 40_000
    config.optim.average = "patience"
    config.optim.average_patience = 10
    config.optim.average_latest = 80
    config.eval.every = config.checkpoint.every = 400
    if name.endswith("96m"):
        config.train.accumulate = 2
    if name == "ptb":
        config.data.corpus = ""
        config.data.files = "ptb.char.train.txt,ptb.char.valid.txt,ptb.char.test.txt"
        config.data.split = "files"
        config.model.layers = 2
        config.train.batch = 64
        config.train.window = 150
        config.train.steps = 100_000
        config.optim.average_patience = 25
        config.optim.average_latest = 400
        config.eval.every = config.checkpoint.every = 200
    return config
