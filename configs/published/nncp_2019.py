"""NNCP's LSTM, which compresses a text while it learns it (Bellard 2019 and 2021).

    rnnlm compress enwik8 --online --config=configs/published/nncp_2019.py --segment=20 --lanes=32 -o enwik8.rnz

Published, bytes of enwik8: 20,500,039 (1.640 bpc) by the small LSTM of 2019, 16,981,765 (1.358) and 16,791,077 (1.343)
by the two large ones.
Source: the scores from copies of the Large Text Compression Benchmark; the settings below of `lstm` in a copy of nncp.c
of 2021, whose score is not known. Of those of 2019 we have 20 time steps, 16 lanes and Adam without its first moment.
Protocol: one pass, each symbol coded before it is learned; the size of the file is exact. Split: none.
Unverified: that these settings give one of the three sizes.
Differs: there all layers read the symbol and those below, the gates are normalized by their root mean square, and h is
o c with a clamped c; here they are connected by block `skip` and normalized as layers. Its vocabulary is one of bytes.
Cost: 9.1 minutes on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {"": {"text": "enwik8", "symbols": 256, "split": "all", "trust": "copy", "online": True}}


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "enwik8"
    config.data.symbols = "byte"

    config.model.layers = 4
    config.model.hidden = 352
    config.model.block = "skip"
    config.model.lstm.layer_norm = True
    config.model.lstm.forget_bias = 0.0

    config.train.batch = 32
    config.train.window = 20
    config.train.steps = 156_250

    config.optim.learning_rate = 4e-3
    config.optim.b1 = 0.0
    config.optim.b2 = 0.9999
    config.optim.eps = 1e-10
    config.optim.clip_norm = 0.0
    return config
