"""Four-layer LSTMs on enwik8 (Melis, Dyer and Blunsom 2018, "On the State of the Art of Evaluation").

    rnnlm train --config=configs/published/melis_2018.py:27m --workdir=runs/melis_2018
    rnnlm eval --workdir=runs/melis_2018 --lanes=1

Published, bpc on the test split: 27m 1.31, 46m 1.30.
Source: hps_proto files and enwik8_char.sh of google-deepmind/lamb, commit 254a0b0, read.
Protocol: at least 100 lines in each of up to 128 streams with the carry; the exact one is one lane. Split: 90/5/5.
Parameters: 27 and 46 million, and so here with lamb's 206 symbols.
Differs: the file is read as bytes with their line breaks, which are lamb's end-of-line symbol, so there are 205
symbols. There the rate also drops at turn 450 of 500 where it has not dropped before, and training stops after 15 turns
without a better one; a turn is 400 steps. Streams do not begin at random lines. Dropout of inputs, between layers and
of outputs is drawn for each step, as there; that of the state for each window, as lamb's README says (its loop may draw
it for each step).
Cost: 27m 48 minutes, 46m 1 hour on one H100 for all steps, as `rnnlm plan --accelerator=H100` estimates.
"""

from ml_collections import ConfigDict

from configs import base

PUBLISHED = {
    "27m": {"text": "enwik8", "symbols": 206, "split": "test", "bpc": "1.31", "params": "27M", "trust": "read"},
    "46m": {"text": "enwik8", "symbols": 206, "split": "test", "bpc": "1.30", "params": "46M", "trust": "read"},
}


def get_config(name: str = "27m") -> ConfigDict:
    """Return the config."""
    hidden, rate, inputs, between, state, outputs, l2 = {
        "27m": (911, 0.00203050486743, 0.196795836, 0.030769387, 0.080820523, 0.069519334, 7.50829849494e-06),
        "46m": (1192, 0.00218322896399, 0.033546157, 0.012228928, 0.062295526, 0.279572278, 0.0),
    }[name]
    config = lamb(hidden, rate, inputs, between, state, outputs, l2)
    config.train.window = 50
    config.train.steps = 200_000

    config.optim.b2 = 0.99
    config.optim.eps = 1e-5
    config.optim.schedule = "plateau"
    config.optim.patience = 13
    config.optim.decay = 0.1
    config.eval.every = config.checkpoint.every = 400
    return config


def lamb(
    hidden: int, rate: float, inputs: float, between: float, state: float, outputs: float, l2: float
) -> ConfigDict:
    """Return what the recipes of lamb share: four LSTM layers as wide as their embedding, dropout rates and L2."""
    config = base.get_config()
    config.data.corpus = "enwik8"
    config.data.split = "std_90_5_5"

    config.model.layers = 4
    config.model.hidden = config.model.embedding = hidden
    config.model.block = "skip_output"
    config.model.lstm.input_gate = "capped"
    config.model.mogrifier.input_gate = "capped"
    config.model.init = "lamb"
    config.model.dropout_input = inputs
    config.model.dropout = between
    config.model.dropout_state = state
    config.model.dropout_state_mask = "window"
    config.model.dropout_output = outputs

    config.train.batch = 128
    config.train.drop_state = 0.01

    config.optim.learning_rate = rate
    config.optim.b1 = 0.0
    config.optim.l2 = l2
    config.optim.loss = "sum"
    config.optim.clip_norm = 10.0

    config.eval.max_symbols = 0
    config.sample.every = 0
    return config
