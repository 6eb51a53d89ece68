"""minGRU and minLSTM of 3 layers of 384 on tiny-shakespeare (Feng et al. 2024, "Were RNNs All We Needed?").

    rnnlm train --config=configs/published/minimal_2024.py:mingru --workdir=runs/mingru
    rnnlm train --config=configs/published/minimal_2024.py:minlstm --workdir=runs/minlstm

Published: 1.548 nats (minGRU), 1.555 (minLSTM) on the held-out tenth, estimated on random windows of nanoGPT's harness;
Mamba 1.575 and a Transformer 1.547 there.
Measured: mingru 2.192 bpc (1.519 nats) at step 550 and minlstm 2.196 bpc (1.522 nats) at step 500, the best of 750
steps; from there on they overfit. That is 26 and 24 minutes on 2 cores of an AMD EPYC that multiply float32 matrices at
233 GFLOP/s together (experiments/006_minimal).
Source: a copy of the paper; no code of its language model is published.
Protocol: windows of 256 of a held-out tenth; the exact one is the carry. Split: 90/10 of tiny-shakespeare.
Unverified: all of the training but 3 layers of 384: here it is that of nanoGPT's config/train_shakespeare_char.py
(batch 64, windows of 256, dropout 0.2, 5,000 steps of AdamW from 1e-3 to 1e-4), read. The block, too, is as remembered
of the paper's appendix C: normalization, convolution, minGRU, MLP.
Differs: nanoGPT reads random windows; here the carry goes from window to window, but for one lane in a hundred that is
reset there.
Cost: mingru 2.8 minutes, minlstm 2.8 minutes on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "mingru": {"text": "tinyshakespeare", "symbols": 65, "split": "valid", "nats": "1.548", "trust": "copy"},
    "minlstm": {"text": "tinyshakespeare", "symbols": 65, "split": "valid", "nats": "1.555", "trust": "copy"},
}


def get_config(cell: str = "mingru") -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "tinyshakespeare"
    config.data.split = "0.9/0.1/0"

    config.model.cell = cell
    config.model.block = "prenorm"
    config.model.layers = 3
    config.model.hidden = 384
    config.model.embedding = 384
    config.model.dropout = 0.2
    config.model.init_gain = 1.0

    config.train.batch = 64
    config.train.window = 256
    config.train.steps = 5000

    config.optim.name = "adamw"
    config.optim.learning_rate = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup = 100
    config.optim.final = 0.1
    config.optim.b2 = 0.99
    config.optim.weight_decay = 0.1
    config.optim.decay_vectors = False

    config.eval.every = config.checkpoint.every = 250
    config.eval.max_symbols = 0
    config.sample.every = 0
    return config
