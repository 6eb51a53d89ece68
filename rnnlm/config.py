"""Declare every key of a config once, with its type, default, unit and reason; knows no jax.

A section is a frozen dataclass that checks its values. `Config.from_dict` reads what a config file gives, where a
missing key has its default; `Config.from_saved` reads what a run folder keeps, where a missing key has the value under
which the program behaved before it had the key. An existing key never changes its meaning.
"""

import dataclasses
import difflib
import functools
import operator
import textwrap
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnnlm.errors import UserError
from rnnlm.options import (
    ADD_INPUTS,
    BLOCKS,
    INITS,
    CellOptions,
    FSRNNOptions,
    HyperLSTMOptions,
    IndRNNOptions,
    IRNNOptions,
    LRUOptions,
    LSTMOptions,
    MatrixLSTMOptions,
    MLSTMOptions,
    MogrifierOptions,
    QRNNOptions,
    RGLRUOptions,
    RHNOptions,
    SLSTMOptions,
    SRUOptions,
)
from rnnlm.schema import Section, at_least, build, copy_sections, fields, key, section, type_name, within

VERSION = 2
"""Version of saved configs. 1, which they did not carry, had `model.forget_bias` and `sample.prime`."""

RENAMED = {"model.forget_bias": "model.lstm.forget_bias", "sample.prime": "sample.prompt"}
"""Old names of keys, which config files, overrides and saved configs may still have."""

CHANGEABLE = ("train.steps", "train.minutes", "optim.steps", "eval.", "checkpoint.", "sample.", "log.")
"""Keys and sections that may differ when a run is resumed: its length, and what does not change what it learns, but
for "eval." where validations decide."""

TEXTS = ("data.separator", "sample.prompt")
"""The keys that hold text, in which the command line interprets backslash escapes."""

ALIASES = {
    "data.corpus": "dataset",
    "data.files": "data_dir data_path file filename input_file path text",
    "model.cell": "cell_type model_type rnn_type type",
    "model.layers": "depth n_layer n_layers nlayers num_layers number_of_layers",
    "model.hidden": "hidden_dim hidden_size hidden_units n_hidden nhid num_units rnn_size units width",
    "model.params": "n_params num_parameters num_params param_budget parameters",
    "model.embedding": "d_model emb_dim emb_size embed_dim embed_size embedding_dim embedding_size emsize",
    "model.tied": "tie_embeddings tie_weights tied_weights weight_tying",
    "model.dropout": "drop dropout_p dropout_prob dropout_rate dropouth",
    "model.dropout_embedding": "dropoute embedding_dropout",
    "model.dropout_input": "dropouti input_dropout",
    "model.dropout_state": "state_dropout",
    "model.dropout_token": "token_dropout word_dropout",
    "model.dropout_candidate": "recurrent_dropout",
    "model.weight_drop": "wdrop weight_dropout dropconnect",
    "model.dtype": "precision",
    "train.batch": "batch_size bs",
    "train.window": "block_size bptt context context_length seq_len seq_length sequence_length time_steps",
    "train.steps": "epoch epochs iterations iters max_epochs max_iters max_steps n_epochs num_epochs num_steps",
    "train.accumulate": "accumulation_steps grad_accum gradient_accumulation gradient_accumulation_steps",
    "optim.name": "optimizer",
    "optim.learning_rate": "base_lr lr peak_lr",
    "optim.schedule": "lr_schedule lr_scheduler scheduler",
    "optim.warmup": "warmup_iters warmup_steps",
    "optim.b1": "beta1",
    "optim.b2": "beta2",
    "optim.weight_decay": "wd",
    "optim.l2": "l2_penalty",
    "optim.l2_after_clip": "wdecay",
    "optim.clip_norm": "clip clip_grad clip_grad_norm grad_clip gradient_clip max_grad_norm",
    "optim.ema": "ema_decay",
    "eval.every": "eval_every eval_interval val_interval",
    "checkpoint.every": "checkpoint_every save_every save_interval",
    "log.every": "log_every log_interval print_every",
    "seed": "random_seed rng_seed",
}
"""What other programs call a key, and which one it is here: suggested where it is given, never accepted."""

RATES = (
    "dropout",
    "dropout_input",
    "dropout_output",
    "dropout_state",
    "dropout_candidate",
    "dropout_inner",
    "dropout_embedding",
    "dropout_token",
    "weight_drop",
    "zoneout_h",
    "zoneout_c",
)
"""Keys of `model` that are the share of what is dropped."""

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class DataConfig(Section):
    """Choose the text, its split and its symbols."""

    prefix = "data."

    corpus: str = key("", "a name that `rnnlm data` lists; empty: stdlib, where data.files names no text either")
    files: str = key("", "a corpus of one's own instead: files, folders, globs, separated by commas")
    split: str = key(
        "0.9/0.05/0.05",
        "split spec: shares of train/valid/test; or graves_96_4, std_90_5_5, files; or columns_50x50_0.9/0.1/0",
    )
    symbols: str = key(
        "byte_seen", "all 256 bytes, the bytes of the corpus, or its characters", choices=("byte", "byte_seen", "char")
    )
    separator: str = key("", "symbol that ends a record, such as \\n; the carry is reset after it", before="")
    shuffle: str = key(
        "none",
        "files or records in a random order, so that the splits are alike; none lies in two splits",
        before="none",
        choices=("none", "files", "records"),
    )
    shuffle_seed: int = key(
        0, "seed of that order, apart from `seed`: runs of several seeds share their splits", before=0
    )
    binary: bool = key(
        False,
        "take files as they are; else compressed text is unpacked and what is no text is refused",
        before=True,
    )

    def check(self) -> None:
        at_least("data.shuffle_seed", self.shuffle_seed, 0)
        if self.corpus and self.files:
            raise UserError(
                f"data.corpus={self.corpus!r} and data.files={self.files!r} are both set: choose one text and leave "
                "the other empty, as in --config.data.corpus=."
            )
        if self.split.startswith("columns") and (self.shuffle != "none" or self.symbols == "char"):
            raise UserError(
                f"data.split={self.split} cuts the bytes of a text in its own order into columns: leave "
                "data.shuffle=none, and take data.symbols=byte_seen or byte."
            )
        if self.split == "files" and self.files and len(self.files.split(",")) != 3:
            raise UserError(
                "data.split=files takes three files, for train, valid and test, in this order, but data.files="
                f"{self.files!r} does not name three: separate them by commas, or use fractions, such as 0.9/0.05/0.05."
            )
        if self.shuffle == "records" and not self.separator:
            raise UserError(
                "data.shuffle=records is without data.separator: give the symbol that ends a record, such as \\n for "
                "lines."
            )


@dataclass(frozen=True)
class ModelConfig(Section):
    """Choose the network: its cell, its sizes, dropout and dtype."""

    prefix = "model."

    cell: str = key("lstm", "a name in rnnlm/cells, or package.module:Name of a cell of one's own")
    layers: int = key(2, "recurrent layers")
    hidden: int = key(128, "units in each layer")
    sizes: tuple[int, ...] = key((), "units layer by layer, in place of `layers` times `hidden`")
    params: float = key(
        0.0,
        "in place of hidden, which is then ignored: most parameters of the whole model, such as 10e6; the largest "
        "width within it is found once the symbols are known, and `hidden` then keeps it; 0: off",
        before=0.0,
    )
    embedding: int = key(0, "width of the embedding; 0: one-hot symbols")
    tied: bool = key(False, "share the embedding with the output: it is as wide as what the softmax reads")
    lstm: LSTMOptions = section(LSTMOptions)
    irnn: IRNNOptions = section(IRNNOptions)
    mlstm: MLSTMOptions = section(MLSTMOptions)
    mogrifier: MogrifierOptions = section(MogrifierOptions)
    hyperlstm: HyperLSTMOptions = section(HyperLSTMOptions)
    slstm: SLSTMOptions = section(SLSTMOptions)
    rhn: RHNOptions = section(RHNOptions)
    fsrnn: FSRNNOptions = section(FSRNNOptions)
    indrnn: IndRNNOptions = section(IndRNNOptions)
    qrnn: QRNNOptions = section(QRNNOptions)
    sru: SRUOptions = section(SRUOptions)
    lru: LRUOptions = section(LRUOptions)
    rglru: RGLRUOptions = section(RGLRUOptions)
    matrix_lstm: MatrixLSTMOptions = section(MatrixLSTMOptions)
    options: dict[str, Any] = key({}, "options of a cell of one's own, which checks them itself", before={})
    block: str = key("plain", "what connects a layer with its input and the softmax", before="plain", choices=BLOCKS)
    input_projection: int = key(
        0, "highway: width to which the layers above the first project what cell and gate read; 0: none", before=0
    )
    init_gain: float = key(
        4.0,
        "factor of the initial matrices but for those that the steps of a cell multiply by: of W_x, the block, the "
        "head; 1, as in PyTorch, suits prenorm and highway blocks, indrnn, mingru, minlstm and matrix_lstm",
        before=1.0,
    )
    init: str = key("default", "initial values; rnnlm/nn/initialize.py describes them", before="default", choices=INITS)
    init_scale: float = key(
        0.0,
        "half the range of init=uniform, deviation of normal, factor of orthogonal ones; 0: 0.08, 0.01, 1",
        before=0.0,
    )
    init_embedding: float = key(0.0, "half the range of the embedding's uniform draws; 0: as `init` says", before=0.0)
    weight_norm: bool = key(
        False, "give each column of a cell's matrices a length of its own (Salimans and Kingma 2016)", before=False
    )
    dropout: float = key(0.0, "share of units dropped after each layer")
    dropout_input: float = key(0.0, "share of units dropped from the input of the first layer")
    dropout_output: float = key(0.0, "share of units dropped after the last layer", follows="dropout")
    dropout_state: float = key(0.0, "share of units of h dropped where the recurrent matrices read it", before=0.0)
    dropout_candidate: float = key(
        0.0, "share of units dropped from what enters c or h: recurrent dropout (Semeniuta et al. 2016)", before=0.0
    )
    dropout_inner: float = key(0.0, "share of units dropped between the fast and the slow LSTM of fsrnn", before=0.0)
    dropout_embedding: float = key(0.0, "share of symbols of the vocabulary that a window reads as zero", before=0.0)
    dropout_token: float = key(0.0, "share of time steps whose symbol is read as zero", before=0.0)
    weight_drop: float = key(
        0.0,
        "share of weights dropped, for a window, from the matrices that a step multiplies by (DropConnect; AWD-LSTM)",
        before=0.0,
    )
    zoneout_h: float = key(
        0.0,
        "share of units of h that stay as they were; evaluation mixes the two by it (Krueger et al. 2017)",
        before=0.0,
    )
    zoneout_c: float = key(0.0, "share of units of c that stay as they were; else as zoneout_h", before=0.0)
    dropout_mask: str = key("step", "what a mask is drawn for; window: variational dropout", choices=("step", "window"))
    dropout_state_mask: str = key(
        "step", "as dropout_mask, for dropout_state", before=None, follows="dropout_mask", choices=("step", "window")
    )
    dtype: str = key("float32", "dtype of products; params and carry stay float32", choices=("float32", "bfloat16"))

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Return the width of each layer."""
        return self.sizes or (self.hidden,) * self.layers

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """Return the width of each layer's output."""
        projection = self.lstm.projection if self.cell == "lstm" else 0
        return tuple(projection or hidden for hidden in self.hidden_sizes)

    @property
    def read_size(self) -> int:
        """Return the width of what the softmax reads."""
        return sum(self.output_sizes) if self.block == "skip" else self.output_sizes[-1]

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules that hold the params."""
        layers = (f"layer_{i}" for i in range(len(self.hidden_sizes)))
        return (*(("embedding",) if self.embedding or self.tied else ()), *layers, "output")

    def check(self) -> None:
        at_least("model.layers", self.layers, 1)
        at_least("model.hidden", self.hidden, 1)
        at_least("model.embedding", self.embedding, 0)
        at_least("model.params", self.params, 0)
        at_least("model.init_gain", self.init_gain, 0.01)
        at_least("model.init_scale", self.init_scale, 0)
        at_least("model.init_embedding", self.init_embedding, 0)
        if self.weight_drop and self.weight_norm:
            raise UserError(
                "model.weight_drop and model.weight_norm exclude each other: the norm of a column would undo what is "
                "dropped from it. Set one of them to 0 or False."
            )
        if self.init_scale and self.init not in ("uniform", "normal", "orthogonal", "orthogonal_gates"):
            raise UserError(
                f"model.init_scale={self.init_scale} has no meaning for model.init={self.init}: leave it at 0, or take "
                "model.init=uniform."
            )
        if self.params and self.sizes:
            raise UserError(
                f"model.params={self.params:g} and model.sizes={self.sizes} are both set, but a budget gives all "
                "layers one width: choose one, and leave out the other."
            )
        for size in self.sizes:
            at_least("model.sizes", size, 1)
        if self.block in ADD_INPUTS and not self.embedding and not (self.params and self.tied):
            raise UserError(
                f"model.block={self.block} adds the input of a layer to its output, but without an embedding the first "
                "one reads one-hot symbols: set model.embedding."
            )
        at_least("model.input_projection", self.input_projection, 0)
        if self.input_projection and self.block != "highway":
            raise UserError(
                f"model.input_projection={self.input_projection} is for model.block=highway, but this is "
                f"{self.block}: leave it at 0."
            )
        if self.block == "skip_output" and not is_foreign(self.cell) and len(set(self.output_sizes)) > 1:
            raise UserError(
                f"model.block=skip_output adds the outputs of all layers, but model.sizes={self.sizes} differ: make "
                "them equal, or take model.block=skip."
            )
        for name in RATES:
            within(f"model.{name}", getattr(self, name), 0, 1)
        if not self.params:
            self.check_widths()

    def check_widths(self) -> None:
        """Raise UserError where the widths of the layers do not fit; a budget gives them later."""
        options = getattr(self, self.cell, None)
        if isinstance(options, CellOptions):
            options.check_width(min(self.hidden_sizes))
        if self.input_projection >= min(self.output_sizes) and not is_foreign(self.cell):
            raise UserError(
                f"model.input_projection={self.input_projection} narrows nothing, since a layer has "
                f"{min(self.output_sizes)} outputs: give less, or 0."
            )
        if self.tied and not is_foreign(self.cell) and self.embedding != self.read_size:
            raise UserError(
                f"model.tied shares the embedding with the output, but model.embedding={self.embedding} differs from "
                f"the {self.read_size} outputs that the softmax reads: make them equal or set model.tied=False."
            )


def is_foreign(cell: str) -> bool:
    """Return whether `model.cell` names a cell outside this package: importing it runs its code.

    Only such a cell itself knows the width of its output.
    """
    return ":" in cell


@dataclass(frozen=True)
class TrainConfig(Section):
    """Choose the batches, windows and steps of training."""

    prefix = "train."

    batch: int = key(50, "lanes, over all devices together")
    window: int = key(50, "time steps between carry hand-overs (truncated BPTT)")
    steps: int = key(0, "windows to train on; 0: 10,000, or as many as train.minutes come to")
    minutes: float = key(
        0.0,
        "in place of steps: how long to train; the speed of the first seconds turns it into a number of steps, which "
        "train.steps then keeps; 0: off",
        before=0.0,
    )
    init_from: str = key(
        "",
        "run folder whose params the run begins with, at its best step, or DIR@latest, or DIR@STEP",
        before="",
    )
    freeze: tuple[str, ...] = key((), "modules whose params stay as they begin, such as embedding,layer_0", before=())
    activation_l2: float = key(
        0.0,
        "factor of the mean square of what the softmax reads, after dropout, added to the loss: AWD-LSTM's alpha",
        before=0.0,
    )
    temporal_l2: float = key(
        0.0,
        "factor of the mean square of how what the softmax reads, before dropout, differs from step to step, added to "
        "the loss: AWD-LSTM's beta",
        before=0.0,
    )
    accumulate: int = key(1, "equal pieces in which a batch is computed, to save memory; the numbers stay the same")
    remat: int = key(
        0,
        "time steps in a chunk that the backward pass recomputes, 0: off; least memory near sqrt(window), least time "
        "in few large chunks; the numbers stay the same but for the masks of dropout_mask=step",
    )
    drop_state: float = key(
        0.01,
        "probability that a lane is reset at the start of a window (lamb's drop_state_probability); at 0 a lane is "
        "reset once an epoch, and a model that hardly learns to start may fall into a state that it never leaves",
    )

    def check(self) -> None:
        for name in ("batch", "window", "accumulate"):
            at_least(f"train.{name}", getattr(self, name), 1)
        at_least("train.minutes", self.minutes, 0)
        at_least("train.steps", self.steps, 0)
        if self.batch % self.accumulate:
            raise UserError(
                f"train.batch={self.batch} cannot be cut into train.accumulate={self.accumulate} equal pieces: "
                "choose a divisor."
            )
        if not 0 <= self.drop_state <= 1:
            raise UserError(f"train.drop_state={self.drop_state} is impossible: it is a probability, from 0 to 1.")
        at_least("train.activation_l2", self.activation_l2, 0)
        at_least("train.temporal_l2", self.temporal_l2, 0)
        if self.temporal_l2 and (self.remat or self.window == 1):
            raise UserError(
                f"train.temporal_l2={self.temporal_l2} compares the steps of a window, which train.remat={self.remat} "
                f"cuts into chunks and train.window={self.window} may not have: leave one of them out."
            )
        at_least("train.remat", self.remat, 0)
        if self.remat and self.window % self.remat:
            raise UserError(
                f"train.window={self.window} cannot be cut into chunks of train.remat={self.remat} steps: choose a "
                "divisor, best near the window's square root, or 0."
            )


@dataclass(frozen=True)
class OptimConfig(Section):
    """Choose the optimizer, its learning rate, clipping and averaging."""

    prefix = "optim."

    name: str = key("adam", "update rule", choices=("adam", "adamw", "rmsprop", "sgd", "adagrad"))
    learning_rate: float = key(2e-3, "peak of the learning rate")
    schedule: str = key(
        "constant",
        "learning rate after the warm-up",
        choices=("constant", "cosine", "linear", "exponential", "epoch", "milestones", "noam", "plateau"),
    )
    steps: int = key(0, "cosine, linear: steps until the learning rate is at its final share; 0: train.steps", before=0)
    warmup: int = key(0, "steps in which the learning rate rises to its peak, linearly")
    final: float = key(0.1, "cosine, linear: learning rate at the last step, as a share of the peak")
    decay: float = key(
        0.97,
        "factor of the learning rate; exponential, epoch: for decay_every epochs; milestones, plateau: for each one",
    )
    decay_every: float = key(1.0, "exponential, epoch: epochs in which the learning rate decays once", before=1.0)
    milestones: tuple[float, ...] = key((), "milestones: epochs after which the learning rate decays", before=())
    patience: int = key(
        5, "plateau: validations in a row without a better one that the learning rate is kept for", before=5
    )
    decay_after: float = key(
        10.0,
        "exponential, epoch: epochs, counted from the start of the run, before the decay sets in; with epoch, the rate "
        "first changes one epoch later: char-rnn's learning_rate_decay_after=10 (once 10 epochs are over) is 9 here",
    )
    b1: float = key(0.9, "adam, adamw: decay of the mean of gradients")
    b2: float = key(0.999, "adam, adamw, rmsprop: decay of the mean of squared gradients")
    eps: float = key(1e-8, "adam, adamw, rmsprop, adagrad: term of the denominator, against division by 0")
    eps_in_root: bool = key(
        True,
        "rmsprop: eps stands in the square root; False: it is added to it, as in char-rnn and PyTorch",
        before=True,
    )
    momentum: float = key(0.9, "sgd: decay of the running sum of gradients; 0: none")
    weight_decay: float = key(0.01, "adamw: share of each param that is removed a step, times the learning rate")
    decay_vectors: bool = key(True, "adamw: weight_decay takes from biases and other vectors, too", before=True)
    l2: float = key(0.0, "share of each param that is added to its gradient before it is clipped", before=0.0)
    l2_after_clip: float = key(0.0, "as l2, after it is clipped: the weight_decay of PyTorch's Adam", before=0.0)
    loss: str = key(
        "mean",
        "what is differentiated: the mean nats of a window; or sum: over its time, the mean over lanes, of which clips "
        "then take the gradient, and to which l2 is added; activation_l2 and temporal_l2 are summed with it",
        before="mean",
        choices=("mean", "sum"),
    )
    clip_norm: float = key(1.0, "largest norm of the gradient over all params, to which it is scaled down; 0: off")
    clip_value: float = key(0.0, "largest absolute value of a gradient's entry, in place of clip_norm; 0: off")
    ema: float = key(0.0, "decay of a moving average of the params, which evaluation then uses; 0: none")
    average: str = key(
        "none",
        "plain average of the params, which evaluation uses once it has begun: after average_patience validations "
        "without a better one, or AWD-LSTM's nonmonotonic trigger",
        before="none",
        choices=("none", "patience", "nonmonotonic"),
    )
    average_patience: int = key(5, "validations that the average waits for a better one", before=5)
    average_latest: int = key(0, "validations after which the average begins in any case; 0: never", before=0)

    @property
    def decides_by_validations(self) -> bool:
        """Return whether validations decide on the learning rate or on when an average begins."""
        return self.schedule == "plateau" or self.average != "none"

    @property
    def keeps_average(self) -> bool:
        """Return whether training keeps an average of the params beside them."""
        return self.ema > 0 or self.average != "none"

    def check(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"optim.learning_rate={self.learning_rate} is not a positive number.")
        if not 0 < self.decay <= 1:
            raise UserError(f"optim.decay={self.decay} is outside (0, 1]: it multiplies the learning rate.")
        if not 0 < self.eps < float("inf"):
            raise UserError(f"optim.eps={self.eps} is not a positive number: it keeps a division from failing.")
        for name in (
            "steps",
            "warmup",
            "decay_after",
            "weight_decay",
            "l2",
            "l2_after_clip",
            "clip_norm",
            "clip_value",
        ):
            at_least(f"optim.{name}", getattr(self, name), 0)
        for name in ("patience", "average_patience", "average_latest"):
            at_least(f"optim.{name}", getattr(self, name), 0)
        if not 0 < self.decay_every < float("inf"):
            raise UserError(f"optim.decay_every={self.decay_every} is not a positive number of epochs.")
        if bool(self.milestones) != (self.schedule == "milestones") or list(self.milestones) != sorted(
            {m for m in self.milestones if 0 < m < float("inf")}
        ):
            raise UserError(
                f"optim.milestones={self.milestones} does not go with optim.schedule={self.schedule}: give epochs in "
                "rising order to schedule=milestones, such as 25,35, and none to another one."
            )
        if self.schedule == "noam" and not self.warmup:
            raise UserError("optim.schedule=noam falls from the end of its warm-up: give optim.warmup, in steps.")
        if self.ema and self.average != "none":
            raise UserError("optim.ema and optim.average are both set: choose one average, and leave the other out.")
        for name in ("b1", "b2", "momentum", "ema"):
            within(f"optim.{name}", getattr(self, name), 0, 1)
        if not 0 <= self.final <= 1:
            raise UserError(f"optim.final={self.final} is outside [0, 1]: it is a share of optim.learning_rate.")
        if self.clip_norm and self.clip_value:
            raise UserError("optim.clip_norm and optim.clip_value are both set: choose one and set the other to 0.")


@dataclass(frozen=True)
class EvalConfig(Section):
    """Choose the validation during training, and the lanes and warm-up that `rnnlm eval` uses by default."""

    prefix = "eval."

    every: int = key(500, "steps between validations; 0: never")
    lanes: int = key(0, "lanes read side by side; 0: chosen by the length of the split")
    warmup: int = key(512, "symbols that a lane reads before those that it scores, to build up its carry")
    max_symbols: int = key(500_000, "symbols of the validation split that are scored during training; 0: all")

    def check(self) -> None:
        for name in ("every", "lanes", "warmup", "max_symbols"):
            at_least(f"eval.{name}", getattr(self, name), 0)


@dataclass(frozen=True)
class CheckpointConfig(Section):
    """Choose when checkpoints are saved, and how many are kept."""

    prefix = "checkpoint."

    every: int = key(500, "steps between checkpoints")
    keep: int = key(2, "latest checkpoints that are kept; the best by validation bpc is kept besides")

    def check(self) -> None:
        at_least("checkpoint.every", self.every, 1)
        at_least("checkpoint.keep", self.keep, 1)


@dataclass(frozen=True)
class SampleConfig(Section):
    """Choose the samples that are drawn during training."""

    prefix = "sample."

    every: int = key(500, "steps between samples; 0: never")
    length: int = key(300, "symbols of a sample, without its prompt")
    temperatures: tuple[float, ...] = key(
        (0.5, 1.0), "logits are divided by it, one sample for each; 0: the likeliest symbol"
    )
    prompt: str = key("", "text with which each sample begins")

    def check(self) -> None:
        at_least("sample.every", self.every, 0)
        at_least("sample.length", self.length, 1)
        for temperature in self.temperatures:
            at_least("sample.temperatures", temperature, 0)


@dataclass(frozen=True)
class LogConfig(Section):
    """Choose how often metrics are logged."""

    prefix = "log."

    every: int = key(50, "steps between rows of metrics.jsonl")

    def check(self) -> None:
        at_least("log.every", self.every, 1)


@dataclass(frozen=True)
class Config(Section):
    """Hold all sections of a config; `Config()` has every default."""

    data: DataConfig = section(DataConfig)
    model: ModelConfig = section(ModelConfig)
    train: TrainConfig = section(TrainConfig)
    optim: OptimConfig = section(OptimConfig)
    eval: EvalConfig = section(EvalConfig)
    checkpoint: CheckpointConfig = section(CheckpointConfig)
    sample: SampleConfig = section(SampleConfig)
    log: LogConfig = section(LogConfig)
    seed: int = key(0, "seed of params, masks, resets and samples")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """Read a config that a person gives; a missing key has its default. Raises UserError that names the key."""
        return typing.cast(Config, build(cls, rename_keys(values), unknown_key_message))

    @classmethod
    def from_saved(cls, values: Mapping[str, Any]) -> "Config":
        """Read a config that a run folder keeps, of this version or an older one. Raises UserError."""
        return typing.cast(Config, build_saved(cls, values))

    def as_dict(self) -> dict[str, Any]:
        """Return the values as plain dicts, ready for JSON."""
        return dataclasses.asdict(self)

    def as_saved(self) -> dict[str, Any]:
        """Return what a run folder keeps: the values and their version."""
        return {"version": VERSION, **self.as_dict()}

    def check(self) -> None:
        at_least("seed", self.seed, 0)
        if self.seed > MAX_SEED:
            raise UserError(f"seed={self.seed} is impossible: it must be at most {MAX_SEED}.")
        if not self.eval.every and self.optim.decides_by_validations:
            raise UserError(
                "optim.schedule=plateau and optim.average decide by validations, but eval.every=0 makes none: give "
                "eval.every, or choose another schedule and optim.average=none."
            )
        modules = self.model.modules
        for name in self.train.freeze:
            if name not in modules:
                raise UserError(f"train.freeze names {name!r}: the modules of this model are {', '.join(modules)}.")
        if set(modules) <= set(self.train.freeze):
            raise UserError("train.freeze names all modules, which leaves none to train: leave one out.")


def build_saved(cls: type[Section], values: Mapping[str, Any]) -> Any:
    """Make a config, or one of its sections, from what was saved. Raises UserError for a newer version."""
    values, path = dict(values), cls.prefix.split(".")[:-1]
    version = values.pop("version", 1)
    if not isinstance(version, int) or version > VERSION:
        raise UserError(
            f"The config is of version {version}, but this rnnlm knows versions up to {VERSION}: use a newer rnnlm."
        )
    nested = values
    for name in reversed(path):
        nested = {name: nested}
    nested = rename_keys(nested)
    data = nested.get("data")
    if not path and isinstance(data, dict) and data.get("files"):
        data["corpus"] = ""  # earlier versions saved the default beside data.files, where it meant nothing
    for name in path:
        nested = nested[name]
    return build(cls, nested, unknown_key_message, saved=True)


def rename_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Move the values of keys with old names to the new ones. Raises UserError where both are set."""
    renamed = copy_sections(values)
    for old, new in RENAMED.items():
        *path, name = old.split(".")
        holder = renamed
        for step in path:
            holder = holder.get(step, {}) if isinstance(holder, dict) else {}
        if not isinstance(holder, dict) or name not in holder:
            continue
        value = holder.pop(name)
        *path, name = new.split(".")
        holder = renamed
        for step in path:
            holder = holder.setdefault(step, {})
        if name in holder:
            raise both_names(old, new)
        holder[name] = value
    return renamed


def rename_in_place(config: Any) -> None:
    """Move the values of keys with old names in a ConfigDict, which has a value for every present key.

    Raises UserError where the present key is set too, to another value than its default.
    """
    for old, new in RENAMED.items():
        (section, name), (new_section, new_name) = old.rsplit(".", 1), new.rsplit(".", 1)
        holder, new_holder = (functools.reduce(operator.getitem, s.split("."), config) for s in (section, new_section))
        if name not in holder:
            continue
        if new_holder[new_name] not in (holder[name], dict(default_values())[new]):
            raise both_names(old, new)
        new_holder[new_name] = holder[name]
        with holder.unlocked():
            del holder[name]


def both_names(old: str, new: str) -> UserError:
    """Return the error of a key that is set under its old and its present name."""
    return UserError(f"{old} is the old name of {new}, and both are set: leave out {old}.")


def unknown_key_message(name: str, known: list[str]) -> str:
    """Say that a key does not exist, and suggest the one that other programs call so, or the nearest one."""
    near, word = nearest_key(name, known), last_word(name)
    hint = f"did you mean {near}?" if near else f"known here: {', '.join(siblings(name, known))}."
    if near == "train.steps" and "epoch" in word:
        hint += " It counts windows of train.batch x train.window symbols; `rnnlm train` says how many are an epoch."
    return f"There is no config key {name}; {hint}"


def siblings(name: str, known: list[str]) -> list[str]:
    """Return the keys of the section that an unknown key would be in, or of the one around it; else all."""
    section = name.rpartition(".")[0]
    if not section:
        return known
    return [key for key in known if key.rpartition(".")[0] == section] or siblings(section, known)


def nearest_key(name: str, known: list[str]) -> str:
    """Return the key that other programs call so, or the one of the nearest name; "" if none is near."""
    word, names = last_word(name), [key for key, _, _ in fields(Config)]
    aliases = [key for key, words in ALIASES.items() if word in words.split()]
    elsewhere = [key for key in names if last_word(key) == word and key != name]
    if aliases or len(elsewhere) == 1:
        return (aliases or elsewhere)[0]
    near = difflib.get_close_matches(word, map(last_word, known), n=1, cutoff=0.5)
    alike = [key for key in known if near and last_word(key) == near[0]]
    return max(alike, key=lambda key: difflib.SequenceMatcher(None, name, key).ratio(), default="")


def last_word(name: str) -> str:
    """Return the last part of a key in lower case, such as hidden for model.hidden."""
    return name.rpartition(".")[2].lower()


def default_values() -> list[tuple[str, Any]]:
    """Return (dotted name, default) of every key."""
    defaults = Config()
    return [(name, operator.attrgetter(name)(defaults)) for name, _, _ in fields(Config)]


def default_config() -> Any:
    """Return all defaults as an ml_collections ConfigDict, for config files to change."""
    from ml_collections import ConfigDict

    config = ConfigDict(Config().as_dict())
    for name, field, _ in fields(Config):
        if follows := field.metadata["follows"]:
            section = functools.reduce(operator.getitem, name.split(".")[:-1], config)
            section[field.name] = section.get_ref(follows).identity()
    return config


def describe_keys() -> str:
    """Return the name, default, allowed values, unit and reason of each key, in lines of at most 120 characters."""
    defaults, lines = dict(default_values()), []
    for name, field, kind in fields(Config):
        follows = field.metadata["follows"]
        default = f"(follows {follows})" if follows else repr(defaults[name])
        head = f"{f'{name} = {default}':42} "
        about, choices = field.metadata["about"], field.metadata["choices"]
        if choices or typing.get_origin(kind):
            about = f"{' | '.join(map(str, choices)) or type_name(kind)}: {about}"
        lines += textwrap.wrap(head + about, 120, subsequent_indent=" " * 43)
    return "\n".join(lines)
