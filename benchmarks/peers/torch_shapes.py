"""The shapes of the params and the carry of the recurrences in PyTorch, for D inputs and H hidden units.

Names and shapes are those of `rnnlm.cells` with default options, but for matrices that the reference keeps apart.
"""

from collections.abc import Callable

Shapes = dict[str, tuple[int, ...]]

ROUNDS = 5  # of the Mogrifier
DEPTH = 5  # of the recurrent highway network
HEADS = 4  # of the sLSTM and the matrix LSTM
EMBEDDING = 16  # of the HyperLSTM


def lstm_shapes(inputs: int, hidden: int, gates: int = 4) -> Shapes:
    """Return the shapes of W_x, W_h and b."""
    return {"W_x": (inputs, gates * hidden), "W_h": (hidden, gates * hidden), "b": (gates * hidden,)}


def norm_shapes(hidden: int) -> Shapes:
    """Return the shapes of what layer normalization adds to an LSTM."""
    return {"gain": (4 * hidden,), "bias": (4 * hidden,), "gain_c": (hidden,), "bias_c": (hidden,)}


def normalized_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of an LSTM with layer normalization."""
    return {"W_x": (inputs, 4 * hidden), "W_h": (hidden, 4 * hidden)} | norm_shapes(hidden)


def peephole_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of an LSTM with peepholes."""
    return lstm_shapes(inputs, hidden) | {f"p_{gate}": (hidden,) for gate in "ifo"}


def gru_before_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `gru_before`."""
    own = {"W_rz": (hidden, 2 * hidden), "W_n": (hidden, hidden)}
    return {"W_x": (inputs, 3 * hidden), "b": (3 * hidden,)} | own


def mlstm_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `mlstm`; b has a part for W_mx x, which rnnlm's lacks."""
    own = {"W_m": (hidden, hidden), "W_h": (hidden, 4 * hidden)}
    return {"W_x": (inputs, 5 * hidden), "b": (5 * hidden,)} | own


def mogrifier_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `mogrifier`."""
    odd = {f"Q_{i}": (hidden, inputs) for i in range(1, ROUNDS + 1, 2)}
    even = {f"R_{i}": (inputs, hidden) for i in range(2, ROUNDS + 1, 2)}
    return {"W_in": (inputs, 4 * hidden), "W_h": (hidden, 4 * hidden), "bias": (4 * hidden,)} | odd | even


def rhn_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `rhn`."""
    matrices = {f"R_{i}": (hidden, 2 * hidden) for i in range(DEPTH)}
    return {"W_x": (inputs, 2 * hidden)} | matrices | {f"bias_{i}": (2 * hidden,) for i in range(DEPTH)}


def fsrnn_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `fsrnn`."""
    matrices = dict.fromkeys(("W_1", "W_2", "W_slow", "W_slow_in", "W_slow_out"), (hidden, 4 * hidden))
    biases = dict.fromkeys(("bias_1", "bias_2", "bias_slow"), (4 * hidden,))
    return {"W_x": (inputs, 4 * hidden)} | matrices | biases


def hyper_units(hidden: int) -> int:
    """Return the number of units of the hyper LSTM."""
    return max(hidden // 4, 8)


def hyperlstm_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `hyperlstm`."""
    units = hyper_units(hidden)
    main = {"W_x": (inputs, 4 * (hidden + units)), "W_h": (hidden, 4 * hidden), "b_0": (4 * hidden,)}
    hyper = {"W": (hidden + units, 4 * units)} | norm_shapes(units)
    embeddings = {f"W_z_{j}": (units, EMBEDDING) for j in range(12)} | {f"bias_z_{j}": (EMBEDDING,) for j in range(8)}
    scales = {f"S_{j}": (EMBEDDING, hidden) for j in range(12)}
    return main | norm_shapes(hidden) | {f"hyper_{name}": s for name, s in hyper.items()} | embeddings | scales


def indrnn_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `indrnn`."""
    return {"W_x": (inputs, hidden), "b": (hidden,), "v": (hidden,)}


def slstm_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `slstm`."""
    units = hidden // HEADS
    return {"W_x": (inputs, 4 * hidden), "b": (4 * hidden,), "R": (HEADS, units, 4 * units)}


def hyper_carry(hidden: int) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the carry of `hyperlstm`."""
    units = hyper_units(hidden)
    return (hidden,), (hidden,), (units,), (units,)


def gate_shapes(gates: int) -> Callable[[int, int], Shapes]:
    """Return a function that gives the shapes of W_x and b of so many gates."""
    return lambda inputs, hidden: {"W_x": (inputs, gates * hidden), "b": (gates * hidden,)}


def qrnn_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `qrnn` with a window of one input."""
    return {"W_x": (inputs, 3 * hidden), "bias": (3 * hidden,)}


def sru_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `sru`."""
    return {"W_x": (inputs, 2 * hidden), "b_f": (hidden,), "v_f": (hidden,)}


def matrix_shapes(inputs: int, hidden: int) -> Shapes:
    """Return the shapes of `matrix_lstm`."""
    width = 4 * hidden + 2 * HEADS
    return {"W_x": (inputs, width), "b": (width,), "gain": (hidden,)}


def matrix_carry(hidden: int) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the carry of `matrix_lstm`."""
    units = hidden // HEADS
    return (HEADS, units, units), (HEADS, units), (HEADS,)


def vectors(count: int) -> Callable[[int], tuple[tuple[int, ...], ...]]:
    """Return a function that gives the shapes of a carry of so many vectors."""
    return lambda hidden: ((hidden,),) * count


PARAMS: dict[str, Callable[[int, int], Shapes]] = {
    "lstm_layer_norm": normalized_shapes,
    "lstm_peepholes": peephole_shapes,
    "lstm_coupled": lambda inputs, hidden: lstm_shapes(inputs, hidden, gates=3),
    "gru_before": gru_before_shapes,
    "mlstm": mlstm_shapes,
    "mogrifier": mogrifier_shapes,
    "rhn": rhn_shapes,
    "fsrnn": fsrnn_shapes,
    "hyperlstm": hyperlstm_shapes,
    "indrnn": indrnn_shapes,
    "slstm": slstm_shapes,
    "qrnn": qrnn_shapes,
    "sru": sru_shapes,
    "mingru": gate_shapes(2),
    "minlstm": gate_shapes(3),
    "matrix_lstm": matrix_shapes,
}
"""(D, H) -> the shapes of the params, by cell."""

CARRY: dict[str, Callable[[int], tuple[tuple[int, ...], ...]]] = {
    "lstm_layer_norm": vectors(2),
    "lstm_peepholes": vectors(2),
    "lstm_coupled": vectors(2),
    "gru_before": vectors(1),
    "mlstm": vectors(2),
    "mogrifier": vectors(2),
    "rhn": vectors(1),
    "fsrnn": vectors(4),
    "hyperlstm": hyper_carry,
    "indrnn": vectors(1),
    "slstm": vectors(4),
    "qrnn": vectors(2),
    "sru": vectors(1),
    "mingru": vectors(1),
    "minlstm": vectors(1),
    "matrix_lstm": matrix_carry,
}
"""H -> the shapes of the arrays of the carry without the lanes, by cell."""
