"""The options of the cells, a section of the config each: names, types, defaults and reasons, without jax."""

import math
from dataclasses import dataclass

from rnnlm.errors import UserError
from rnnlm.schema import Section, at_least, finite, key

MAX_R_MIN = 0.99999
"""Nearer to 1 float32 can no longer tell the eigenvalues of an LRU from 1."""
FULL_RANK = -1
"""The rank of a matrix that is not a product of two."""
FORGET_BIAS = "initial bias of the forget gate, so that a cell remembers before it has learned to"
BLOCKS = ("plain", "residual", "highway", "skip", "skip_output", "prenorm")
ADD_INPUTS = ("residual", "highway", "prenorm")
"""Blocks that add the inputs of a layer to its output."""
INITS = ("default", "uniform", "normal", "orthogonal", "orthogonal_gates", "torch_rnn", "lamb")
INPUT_GATES = ("free", "coupled", "capped")
FORGET_GATES = ("sigmoid", "exp")


class CellOptions(Section):
    """Hold the options of a cell."""

    def check_width(self, hidden: int) -> None:
        """Raise UserError where a layer of so many units cannot have these options."""


@dataclass(frozen=True)
class LSTMOptions(CellOptions):
    """Choose the options of the cell `lstm`."""

    prefix = "model.lstm."

    forget_bias: float = key(1.0, FORGET_BIAS)
    biases: int = key(1, "bias vectors; 2 as in char-rnn, PyTorch and cuDNN", before=1, choices=(1, 2))
    input_gate: str = key(
        "free", "i by itself; coupled: 1 - f; capped: at most 1 - f", before="free", choices=INPUT_GATES
    )
    peepholes: bool = key(False, "let the gates read c", before=False)
    layer_norm: bool = key(False, "normalize each gate's pre-activation, and c where the output reads it", before=False)
    projection: int = key(0, "width to which the output is projected before the next step; 0: not at all", before=0)

    def check(self) -> None:
        finite(self, "forget_bias")
        at_least("model.lstm.projection", self.projection, 0)
        if self.layer_norm and self.biases == 2:
            raise UserError("model.lstm.layer_norm has biases of its own: leave model.lstm.biases at 1.")

    def check_width(self, hidden: int) -> None:
        if self.projection > hidden:
            raise UserError(
                f"model.lstm.projection={self.projection} is wider than a layer of {hidden} units: it makes the output "
                "narrower, so give at most that, or 0 for none."
            )
        if self.layer_norm:
            normalizes("model.lstm.layer_norm", hidden)


@dataclass(frozen=True)
class IRNNOptions(CellOptions):
    """Choose the options of the cell `irnn`."""

    prefix = "model.irnn."

    scale: float = key(1.0, "W_h starts as this multiple of the identity", before=1.0)

    def check(self) -> None:
        finite(self, "scale")


@dataclass(frozen=True)
class MLSTMOptions(CellOptions):
    """Choose the options of the cell `mlstm`."""

    prefix = "model.mlstm."

    forget_bias: float = key(1.0, FORGET_BIAS, before=1.0)

    def check(self) -> None:
        finite(self, "forget_bias")


@dataclass(frozen=True)
class MogrifierOptions(CellOptions):
    """Choose the options of the cell `mogrifier`."""

    prefix = "model.mogrifier."

    rounds: int = key(5, "rounds in which input and carry gate one another; 0: those of a plain LSTM", before=5)
    rank: int = key(FULL_RANK, "inner width of the matrices of these gates, as products of two; -1: whole", before=-1)
    input_gate: str = key("free", "as model.lstm.input_gate", before="free", choices=("free", "capped"))
    forget_bias: float = key(1.0, FORGET_BIAS, before=1.0)

    def check(self) -> None:
        at_least("model.mogrifier.rounds", self.rounds, 0)
        if self.rank != FULL_RANK and self.rank < 1:
            raise UserError(
                f"model.mogrifier.rank={self.rank} is impossible: it must be at least 1, or -1 for whole matrices."
            )
        finite(self, "forget_bias")


@dataclass(frozen=True)
class HyperLSTMOptions(CellOptions):
    """Choose the options of the cell `hyperlstm`."""

    prefix = "model.hyperlstm."

    hyper_units: int = key(0, "units of the hyper LSTM; 0: a quarter of hidden, 8 at least", before=0)
    embedding: int = key(16, "width of the embeddings from which factors and biases are made", before=16)
    layer_norm: bool = key(True, "as model.lstm.layer_norm, in both LSTMs", before=True)
    forget_bias: float = key(1.0, FORGET_BIAS, before=1.0)

    def check(self) -> None:
        at_least("model.hyperlstm.hyper_units", self.hyper_units, 0)
        at_least("model.hyperlstm.embedding", self.embedding, 1)
        finite(self, "forget_bias")
        if self.layer_norm and self.hyper_units:
            normalizes("model.hyperlstm.layer_norm", self.hyper_units)

    def check_width(self, hidden: int) -> None:
        if self.layer_norm:
            normalizes("model.hyperlstm.layer_norm", hidden)


@dataclass(frozen=True)
class SLSTMOptions(CellOptions):
    """Choose the options of the cell `slstm`."""

    prefix = "model.slstm."

    heads: int = key(4, "blocks of units whose gates read the h of their own block; they divide the width", before=4)
    forget_gate: str = key(
        "sigmoid", "activation of the forget gate; the input gate's is exp", before="sigmoid", choices=FORGET_GATES
    )

    def check(self) -> None:
        at_least("model.slstm.heads", self.heads, 1)


@dataclass(frozen=True)
class RHNOptions(CellOptions):
    """Choose the options of the cell `rhn`."""

    prefix = "model.rhn."

    recurrence_depth: int = key(5, "highway layers in each time step", before=5)
    coupled: bool = key(
        True, "carry what the transform gate leaves; False: a carry gate with weights of its own", before=True
    )
    transform_bias: float = key(-4.0, "initial bias of the transform gates", before=-4.0)

    def check(self) -> None:
        at_least("model.rhn.recurrence_depth", self.recurrence_depth, 1)
        finite(self, "transform_bias")


@dataclass(frozen=True)
class FSRNNOptions(CellOptions):
    """Choose the options of the cell `fsrnn`."""

    prefix = "model.fsrnn."

    fast: int = key(2, "fast LSTMs, stepped one after another in each time step", before=2)
    slow: int = key(0, "units of the slow LSTM; 0: as many as a fast one has", before=0)
    layer_norm: bool = key(False, "as model.lstm.layer_norm, in all LSTMs", before=False)
    forget_bias: float = key(1.0, FORGET_BIAS, before=1.0)

    def check(self) -> None:
        at_least("model.fsrnn.fast", self.fast, 2)
        at_least("model.fsrnn.slow", self.slow, 0)
        finite(self, "forget_bias")
        if self.layer_norm and self.slow:
            normalizes("model.fsrnn.layer_norm", self.slow)

    def check_width(self, hidden: int) -> None:
        if self.layer_norm:
            normalizes("model.fsrnn.layer_norm", hidden)


@dataclass(frozen=True)
class IndRNNOptions(CellOptions):
    """Choose the options of the cell `indrnn`."""

    prefix = "model.indrnn."

    bound: float = key(1.0, "largest absolute value of a recurrent weight", before=1.0)

    def check(self) -> None:
        if not 0 < self.bound < math.inf:
            raise UserError(f"model.indrnn.bound={self.bound} is impossible: it must be a finite number above 0.")


@dataclass(frozen=True)
class QRNNOptions(CellOptions):
    """Choose the options of the cell `qrnn`."""

    prefix = "model.qrnn."

    window: int = key(1, "inputs that the gates see, the newest of them", before=1, choices=(1, 2))


@dataclass(frozen=True)
class LRUOptions(CellOptions):
    """Choose the options of the cell `lru`."""

    prefix = "model.lru."

    r_min: float = key(0.0, "least initial absolute value of an eigenvalue", before=0.0)
    r_max: float = key(1.0, "largest initial absolute value of an eigenvalue", before=1.0)
    max_phase: float = key(2 * math.pi, "largest initial phase of an eigenvalue, in radians", before=2 * math.pi)

    def check(self) -> None:
        if not 0 <= self.r_min < self.r_max <= 1 or self.r_min > MAX_R_MIN:
            raise UserError(
                f"model.lru.r_min={self.r_min} and r_max={self.r_max} are impossible: they must be 0 <= r_min < r_max "
                f"<= 1, and r_min {MAX_R_MIN} at most."
            )
        if not 0 < self.max_phase <= 2 * math.pi:
            raise UserError(f"model.lru.max_phase={self.max_phase} is impossible: it must be above 0, 2 pi at most.")


@dataclass(frozen=True)
class SRUOptions(CellOptions):
    """Choose the options of the cell `sru`."""

    prefix = "model.sru."

    feedback: bool = key(
        True,
        "let the forget gate read c; False: it reads the input alone, so windows are computed at once",
        before=True,
    )


@dataclass(frozen=True)
class RGLRUOptions(CellOptions):
    """Choose the options of the cell `rglru`."""

    prefix = "model.rglru."

    heads: int = key(4, "blocks of the block-diagonal matrices of the gates, which divide the width", before=4)

    def check(self) -> None:
        at_least("model.rglru.heads", self.heads, 1)


@dataclass(frozen=True)
class MatrixLSTMOptions(CellOptions):
    """Choose the options of the cell `matrix_lstm`."""

    prefix = "model.matrix_lstm."

    heads: int = key(4, "matrices of the memory, which divide the width", before=4)
    chunk: int = key(64, "largest number of time steps computed at once; docs/performance.md has the times", before=32)

    def check(self) -> None:
        at_least("model.matrix_lstm.heads", self.heads, 1)
        at_least("model.matrix_lstm.chunk", self.chunk, 1)

    def check_width(self, hidden: int) -> None:
        normalizes(f"model.matrix_lstm.heads={self.heads}", hidden // self.heads)


def normalizes(name: str, units: int) -> None:
    """Raise UserError unless there are units to normalize together: one by itself becomes 0, whatever it was."""
    if units < 2:
        raise UserError(f"{name} normalizes units together, but there is 1 to each: give more units, or fewer heads.")
