"""Simple recurrent units of 8 and 10 layers on enwik8 (Lei et al. 2018, arXiv 1709.02755).

    rnnlm train --config=configs/published/sru_2018.py:8x1312 --workdir=runs/sru_2018
    rnnlm eval --workdir=runs/sru_2018 --lanes=1

Published: 1.19 to 1.21 bpc on the test split with 47 million parameters and projections of 512, which rnnlm's cell does
not have; of these two no score that was seen.
Source: language_model/train_enwik8.py and README of asappresearch/sru, commit 9ddc8da, read.
Protocol: one lane with the carry, the exact one. Split: all but the last 10 MB train, 5 MB each validate and test.
Parameters: 37 million; 37.6 (8x1312) and 37.1 (10x1152) here, with an embedding as wide as the 205 symbols.
Unverified: as far as is remembered, these two have 1.26 to 1.30 bpc. The counts: with projections, 8 layers of 3056
come to 50.9 million parameters here, not to 47.
Differs: masks of the embedding and of the last output last a window, there they are drawn for each step. Matrices start
within sqrt(3 / D) there, in part scaled, and here as model.init has them.
Cost: 8x1312 9.4 hours, 10x1152 11 hours on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "8x1312": {"text": "enwik8", "symbols": 205, "split": "test", "params": "37M", "differs": True, "trust": "read"},
    "10x1152": {"text": "enwik8", "symbols": 205, "split": "test", "params": "37M", "trust": "read"},
}


def get_config(size: str = "8x1312") -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "enwik8"
    config.data.split = "std_90_5_5"

    layers, hidden = map(int, size.split("x"))
    config.model.cell = "sru"
    config.model.block = "highway"
    config.model.layers = layers
    config.model.hidden = hidden
    config.model.embedding = 205
    config.model.init_gain = 1.0
    config.model.dropout_mask = "window"
    config.model.dropout = config.model.dropout_input = 0.2

    config.train.batch = 128
    config.train.window = 100
    config.train.steps = 703_125  # 100 passes
    config.train.drop_state = 0.0

    config.optim.schedule = "noam"
    config.optim.warmup = 32_000
    config.optim.learning_rate = 3 / (hidden * 32_000) ** 0.5  # of --noam --lr 3
    config.optim.l2_after_clip = 1e-7
    config.optim.clip_norm = 0.3

    config.eval.every = config.checkpoint.every = 7031
    config.eval.max_symbols = 0
    config.sample.every = 0
    return config
