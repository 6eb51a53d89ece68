"""The recurrent highway network of depth 10 on enwik8 and text8 (Zilly et al. 2016, arXiv 1607.03474).

    rnnlm train --config=configs/published/rhn_2016.py --workdir=runs/rhn_2016
    rnnlm train --config=configs/published/rhn_2016.py:text8 --workdir=runs/rhn_2016_text8
    rnnlm eval --workdir=runs/rhn_2016 --lanes=1

Published: 1.27 bpc on the test splits of enwik8 and of text8, with 46 and 45 million parameters.
Source: rhn.py and rhn_train.py (enwik8_sota, text8_sota) of the authors' repository, read.
Protocol: one lane, one symbol at a time, with the carry: the exact one. Split: 90/5/5.
Parameters: 45.99 million counted, 45.99 here.
Unverified: how long it trained; an author names about 100 passes.
Differs: the carry is reset at the end of a lane, which is once an epoch, as there; nothing else is known to.
Cost: 4.9 hours, text8 4.9 hours on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "": {"text": "enwik8", "symbols": 205, "split": "test", "bpc": "1.27", "params": "45.99M", "trust": "read"},
    "text8": {"text": "text8", "symbols": 27, "split": "test", "bpc": "1.27", "params": "45M", "trust": "read"},
}


def get_config(text: str = "enwik8") -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = text
    config.data.split = "std_90_5_5"

    config.model.cell = "rhn"
    config.model.rhn.recurrence_depth = 10
    config.model.rhn.transform_bias = -4.0
    config.model.layers = 1
    config.model.hidden = 1500
    config.model.embedding = 205 if text == "enwik8" else 27
    config.model.init = "uniform"
    config.model.init_scale = 0.04
    config.model.dropout_mask = "window"
    config.model.dropout_embedding = 0.1
    config.model.dropout_input = 0.4
    config.model.dropout_state = 0.1
    config.model.dropout_output = 0.4

    config.train.batch = 128
    config.train.window = 50
    config.train.steps = 1_406_250  # 100 passes
    config.train.drop_state = 0.0

    config.optim.name = "sgd"
    config.optim.momentum = 0.0
    config.optim.learning_rate = 0.2
    config.optim.schedule = "epoch"
    config.optim.decay = 1 / 1.03
    config.optim.decay_after = 4.0
    config.optim.loss = "sum"
    config.optim.l2 = 1e-7
    config.optim.clip_norm = 10.0

    config.eval.every = config.checkpoint.every = 14_062
    config.sample.every = 0
    return config
