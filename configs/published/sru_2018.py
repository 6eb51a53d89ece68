"""Simple recurrent units of 8 to 12 layers on enwik8 (Lei et al. 2018, arXiv 1709.02755).

    rnnlm train --config=configs/published/sru_2018.py:12x2048 --workdir=runs/sru_2018
    rnnlm eval --workdir=runs/sru_2018 --lanes=1

Published: 1.19 bpc on the test split by 12x2048, whose layers above the first read through projections of 512. Of the
others, 8x3056 (with projections, too), 8x1312 and 10x1152, no score was seen.
Source: the score from an excerpt of the paper; language_model/train_enwik8.py, its README and sru_functional.py of
asappresearch/sru, read.
Protocol: one lane with the carry, the exact one. Split: all but the last 10 MB train, 5 MB each validate and test.
Parameters: 47 million (8x3056) and 37 million (8x1312, 10x1152); 47.1, 37.6 and 37.1 here. The README says 47 of
12x2048, too, which has 48.8 here. The embedding is as wide as there are symbols, 205, in 12x2048 256.
Unverified: as far as is remembered, 8x3056 has 1.21 bpc, 10x1152 1.27 and 8x1312 1.26 to 1.30.
Differs: dropout of a layer acts on c there, before the gate weighs it and the input, and here on what the next layer
reads; masks of the embedding and of the last output last a window, there they are drawn for each step. Matrices start
within sqrt(3 / D) there, in part scaled, and here as model.init has them.
Cost: 12x2048 24 hours, 8x3056 11 hours, 8x1312 9.4 hours, 10x1152 11 hours on one H100 for all steps, as `rnnlm plan
--accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "12x2048": {"text": "enwik8", "symbols": 205, "split": "test", "bpc": "1.19", "trust": "excerpt"},
    "8x3056": {"text": "enwik8", "symbols": 205, "split": "test", "params": "47M", "trust": "read"},
    "8x1312": {"text": "enwik8", "symbols": 205, "split": "test", "params": "37M", "differs": True, "trust": "read"},
    "10x1152": {"text": "enwik8", "symbols": 205, "split": "test", "params": "37M", "trust": "read"},
}


def get_config(size: str = "12x2048") -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "enwik8"
    config.data.split = "std_90_5_5"

    layers, hidden = map(int, size.split("x"))
    projected, long = size in ("12x2048", "8x3056"), size == "12x2048"
    config.model.cell = "sru"
    config.model.block = "highway"
    config.model.layers = layers
    config.model.hidden = hidden
    config.model.embedding = 256 if long else 205
    config.model.input_projection = 512 if projected else 0
    config.model.init_gain = 1.0
    config.model.dropout_mask = "window"
    config.model.dropout = config.model.dropout_input = 0.3 if projected else 0.2

    config.train.batch, config.train.window, epoch = (64, 256, 5493) if long else (128, 100, 7031)
    config.train.steps = 100 * epoch
    config.train.drop_state = 0.0

    config.optim.schedule = "noam"
    config.optim.warmup = 32_000
    config.optim.learning_rate = 3 / (hidden * 32_000) ** 0.5  # of --noam --lr 3
    config.optim.l2_after_clip = 1e-7
    config.optim.clip_norm = 0.3

    config.eval.every = config.checkpoint.every = epoch
    config.eval.max_symbols = 0
    config.sample.every = 0
    return config
