"""A network that needs no training run: it learns while it codes (`rnnlm compress --online`), as NNCP's does.

    rnnlm compress notes.txt --online --config=configs/online.py -o notes.rnz
    rnnlm decompress notes.rnz -o notes.txt

In one lane War and Peace's last 325,825 bytes become 92,006, and the last 200,000 of enwik8's first 4,150,000 66,520
(experiments/001_compression).

Only `model`, `optim` and `seed` are read. The schedule is over the updates that the text makes, one for each --segment
of symbols in all lanes; fewer lanes and shorter segments make smaller files and take longer.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.layers = 1
    config.model.hidden = 256

    config.optim.learning_rate = 6e-3
    config.optim.schedule = "cosine"
    config.optim.b1, config.optim.b2 = 0.8, 0.99
    return config
