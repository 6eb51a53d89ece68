"""The config of char-rnn's defaults (Karpathy 2015, train.lua), on tiny-shakespeare.

    rnnlm train --config=configs/charrnn.py --workdir=runs/charrnn

It reaches 2.317 bpc (1.606 nats) on the validation split, the last 55,770 characters, at step 6,000, and overfits after
that: 2.462 at the end. It takes 11.5 minutes on 2 cores of an AMD EPYC that multiply float32 matrices at 201 GFLOP/s
together (JAX 0.10.2) and also ran other work; undisturbed, a step takes 27 ms, which makes 9.6 minutes.

`decay_after` is 9 where char-rnn has learning_rate_decay_after=10: there the rate of the first 10 epochs is the peak,
and it is multiplied by 0.97 when epoch 10 and each later one ends. char-rnn's gradient is the sum over the 50 time
steps and here it is their mean, so `clip_value` and `eps` are divided by 50.

What differs: char-rnn draws all params from U(-0.08, 0.08), here each module has its own range. Its splits are columns
of each lane, here they are stretches of the text. It never resets the carry while it trains, here a lane is reset when
it starts again. It drops the symbols that do not fill a window, here the lanes are whole.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Return the config."""
    config = base.get_config()
    config.data.corpus = "tinyshakespeare"
    config.data.split = "0.95/0.05/0"

    config.model.layers = 2
    config.model.hidden = 128
    config.model.lstm.biases = 2
    config.model.init_gain = 1.0  # all matrices start within ±0.088, char-rnn's within ±0.08

    config.train.batch = config.train.window = 50
    config.train.steps = 21_192  # 50 epochs of 423.84 windows
    config.train.drop_state = 0.0

    config.optim.name = "rmsprop"
    config.optim.learning_rate = 2e-3
    config.optim.schedule = "epoch"
    config.optim.decay = 0.97
    config.optim.decay_after = 9.0
    config.optim.b2 = 0.95
    config.optim.eps = (1e-8 / 50) ** 2  # it stands inside the square root here
    config.optim.clip_norm = 0.0
    config.optim.clip_value = 5 / 50

    config.eval.every = config.checkpoint.every = config.sample.every = 1000
    config.seed = 123
    return config
