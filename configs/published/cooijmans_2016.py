"""LSTMs beside recurrent batch normalization, on Penn Treebank and text8 (Cooijmans et al. 2016, arXiv 1603.09025).

    rnnlm train --config=configs/published/cooijmans_2016.py --workdir=runs/cooijmans_2016 \
        --config.data.files=ptb.char.train.txt,ptb.char.valid.txt,ptb.char.test.txt
    rnnlm train --config=configs/published/cooijmans_2016.py:text8 --workdir=runs/cooijmans_2016_text8
    rnnlm eval --workdir=runs/cooijmans_2016_text8 --lanes=1

Published, bpc on the test split: 1.38 on Penn Treebank, 1.43 on text8 (16 million parameters). With batch
normalization, which rnnlm does not have, 1.32 and 1.36.
Source: penntreebank.py and its scripts in cooijmanstim/recurrent-batch-normalization, read.
Protocol: one lane with the carry, the exact one. Split: Mikolov's files without the spaces between characters
(ha_2016_ptb.py), and 90/5/5.
Parameters: 16 million on text8; 16.28 here.
Differs: training there reads sequences of 100 and 180 symbols in random order, each from a learned state; here each
lane is reset at each window (drop_state) and starts at 0, in the order of the text. The cell there has another
learned bias of c where h reads it.
Cost: 3.9 minutes, text8 1.2 hours on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "": {"text": "ptb", "symbols": 50, "split": "test", "bpc": "1.38", "trust": "read"},
    "text8": {"text": "text8", "symbols": 27, "split": "test", "bpc": "1.43", "params": "16M", "trust": "read"},
}


def get_config(text: str = "") -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    if text == "text8":
        config.data.corpus = "text8"
        config.data.split = "std_90_5_5"
        config.model.hidden, rate = 2000, 1e-3
        config.train.batch, config.train.window, epoch = 128, 180, 3906
    else:
        config.data.files = "ptb.char.train.txt,ptb.char.valid.txt,ptb.char.test.txt"
        config.data.split = "files"
        config.model.hidden, rate = 1000, 2e-3
        config.train.batch, config.train.window, epoch = 64, 100, 790

    config.model.layers = 1
    config.model.init = "orthogonal"
    config.train.steps = 50 * epoch
    config.train.drop_state = 1.0
    config.optim.learning_rate = rate
    config.optim.clip_norm = 1.0

    config.eval.every = config.checkpoint.every = epoch
    config.eval.max_symbols = 0
    config.sample.every = 0
    return config
