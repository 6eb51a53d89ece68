"""lstm-compress, an LSTM that compresses a text while it learns it (Knoll, byronknoll/lstm-compress).

    rnnlm compress enwik8 --online --config=configs/published/lstm_compress.py --segment=10 --lanes=1 -o enwik8.rnz

Published, bytes of enwik8: 20,494,577 (1.640 bpc).
Source: README and source of byronknoll/lstm-compress, read: 3 layers of 90 cells, updates every 10 symbols, plain
gradient descent with a rate of 0.05, clipped to 2, all layers read by the softmax; initial values within 0.2.
Protocol: one pass, each symbol coded before it is learned; the size of the file is exact. Split: none.
Unverified: that a later version had 20,318,653 bytes.
Differs: there the errors of the state are clipped entry by entry, here the gradients of the weights; the softmax layer
starts at 0 there and learns at each symbol.
Cost: 3.4 hours on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "": {"text": "enwik8", "symbols": 256, "split": "all", "bytes": "20,494,577", "trust": "read", "online": True}
}


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "enwik8"
    config.data.symbols = "byte"

    config.model.layers = 3
    config.model.hidden = 90
    config.model.block = "skip"
    config.model.init = "uniform"
    config.model.init_scale = 0.2

    config.train.batch = 1
    config.train.window = 10
    config.train.steps = 10_000_000

    config.optim.name = "sgd"
    config.optim.momentum = 0.0
    config.optim.learning_rate = 0.05
    config.optim.loss = "sum"
    config.optim.clip_norm = 0.0
    config.optim.clip_value = 2.0
    return config
