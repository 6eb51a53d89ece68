"""The config of online compression: a network that learns while it codes, as in NNCP.

    rnnlm compress notes.txt --online --config=configs/online.py -o notes.rnz
    rnnlm decompress notes.rnz -o notes.txt

In one lane the last 325,825 bytes of War and Peace are compressed to 89,163 bytes, and the last 200,000 of the first
4,150,000 bytes of enwik8 to 64,538 (experiments/001_compression).

Only `model`, `optim` and `seed` are read. The learning-rate schedule covers all updates; there is one update for each
--segment of symbols in all lanes. Fewer lanes and shorter segments make smaller files and take longer.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.model.layers = 1
    config.model.hidden = 256

    config.optim.learning_rate = 6e-3
    config.optim.schedule = "cosine"
    config.optim.b1, config.optim.b2 = 0.8, 0.99
    return config
