"""Every key of a config, once, with its unit and reason. The other configs change a few."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()

    config.data = data = ConfigDict()
    data.corpus = "stdlib"  # a name that `rnnlm data` lists
    data.files = ""  # a corpus of one's own instead: files, folders, globs; several with commas between
    data.split = "0.9/0.05/0.05"  # train/valid/test; or graves_96_4, std_90_5_5
    data.symbols = "byte_seen"  # byte (256), byte_seen, char

    config.model = model = ConfigDict()
    model.cell = "lstm"  # rnn, lstm, gru (cuDNN's), gru_before (char-rnn's)
    model.layers = 2
    model.hidden = 128  # units in each layer
    model.sizes = ()  # units layer by layer, in place of `layers` times `hidden`
    model.embedding = 0  # width; 0 feeds symbols one-hot
    model.tied = False  # output weights = embedding, which must be as wide as the last layer
    model.forget_bias = 1.0  # lstm only; a cell remembers before it has learned to
    model.dropout = 0.0  # share of units dropped after each layer, the last too
    model.dropout_input = 0.0  # of what the first layer reads
    model.dropout_output = model.get_ref("dropout") + 0.0  # after the last layer instead; follows dropout unless set
    model.dropout_mask = "step"  # a new mask each step, or one for the whole "window" (variational)
    model.dtype = "float32"  # of products; params and carry are float32 either way

    config.train = train = ConfigDict()
    train.batch = 50  # lanes, over all devices together
    train.window = 50  # steps of time between carry hand-overs (truncated BPTT)
    train.steps = 10_000  # windows to train on
    train.accumulate = 1  # parts a batch is taken in, to save memory; the numbers stay the same
    # Steps in a chunk that the backward pass recomputes, 0: off. Least memory near sqrt(window), least time in few
    # large chunks. The numbers stay the same but for the masks of dropout_mask="step".
    train.remat = 0
    # Probability that a lane starts a window afresh (lamb's drop_state_probability). At 0 a model starts so once an
    # epoch, hardly learns to, and may fall into a state that it never leaves: some lanes then cost 15 bits a symbol.
    train.drop_state = 0.0

    config.optim = optim = ConfigDict()
    optim.name = "adam"  # adam, adamw, rmsprop, sgd
    optim.learning_rate = 2e-3  # its peak
    optim.schedule = "constant"  # constant, cosine, exponential, epoch
    optim.warmup = 0  # steps of linear rise
    optim.final = 0.1  # cosine: the last rate, as a share of the peak
    optim.decay = 0.97  # exponential, epoch: times this each epoch
    optim.decay_after = 10.0  # exponential, epoch: epochs before that sets in
    optim.b1 = 0.9
    optim.b2 = 0.999  # of the mean of squares, rmsprop's too
    optim.eps = 1e-8
    optim.momentum = 0.9  # sgd
    optim.weight_decay = 0.01  # adamw
    optim.clip_norm = 1.0  # largest global norm of a gradient; 0: no clipping by norm
    optim.clip_value = 0.0  # largest entry of a gradient instead; 0: none
    optim.ema = 0.0  # decay of a moving average of the params, which evaluation then uses; 0: none

    config.eval = evaluation = ConfigDict()
    evaluation.every = 500  # steps; 0: never
    evaluation.lanes = 0  # parts read side by side; 0: as many as the split's length allows
    evaluation.warmup = 512  # symbols read before each part, so that its carry is right
    evaluation.max_symbols = 500_000  # of the validation split, while training; 0: all

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every = 500  # steps
    checkpoint.keep = 2  # latest ones; the best by validation bpc is kept besides

    config.sample = sample = ConfigDict()
    sample.every = 500  # steps; 0: never
    sample.length = 300  # symbols
    sample.temperatures = (0.5, 1.0)
    sample.prime = ""  # what each begins with

    config.log = log = ConfigDict()
    log.every = 50  # steps

    config.seed = 0
    return config
