"""What each cell of rnnlm is timed beside: the form in which its reference computes it, in PyTorch or flax."""

import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import Any

Task = dict[str, Any]

PATIENCE = 180
"""Seconds after which a program that is not ready, because it still compiles, is left out."""


@dataclass(frozen=True)
class Entry:
    """Describe what a cell is compared with; `cell` is rnnlm's, if the name of the entry is another one."""

    reference: str
    peers: tuple[str, ...] = ("torch_cells",)
    cell: str = ""
    options: dict[str, Any] = field(default_factory=dict)


BOTH = ("torch_cells", "flax_rnn")
ENTRIES = {
    "rnn": Entry("torch nn.RNN, flax SimpleCell", BOTH),
    "irnn": Entry("torch nn.RNN with relu, flax SimpleCell", BOTH),
    "lstm": Entry("torch nn.LSTM, flax OptimizedLSTMCell", BOTH),
    "lstm_projection": Entry("torch nn.LSTM with proj_size", cell="lstm"),
    "lstm_layer_norm": Entry("torch loop, as hardmaru/supercell", cell="lstm", options={"layer_norm": True}),
    "lstm_peepholes": Entry("torch loop", cell="lstm", options={"peepholes": True}),
    "lstm_coupled": Entry("torch loop", cell="lstm", options={"input_gate": "coupled"}),
    "gru": Entry("torch nn.GRU, flax GRUCell", BOTH),
    "gru_before": Entry("torch loop, as char-rnn"),
    "mlstm": Entry("torch loop, as OpenAI's sentiment neuron"),
    "mogrifier": Entry("torch loop, as deepmind/lamb"),
    "hyperlstm": Entry("torch loop, as hardmaru/supercell"),
    "slstm": Entry("torch loop, as NX-AI/xlstm"),
    "rhn": Entry("torch loop, as RecurrentHighwayNetworks"),
    "fsrnn": Entry("torch loop, as amujika/Fast-Slow-LSTM"),
    "indrnn": Entry("torch loop, as IndRNN_pytorch"),
    "mingru": Entry("torch in log space, as minGRU-pytorch"),
    "minlstm": Entry("torch in log space, as minGRU-pytorch"),
    "qrnn": Entry("torch loop, as pytorch-qrnn on a CPU"),
    "sru": Entry("torch loop, as asappresearch/sru on a CPU"),
    "lru": Entry("flax, as minimal-LRU", ("flax_cells",)),
    "rglru": Entry("flax, as recurrentgemma", ("flax_cells",)),
    "matrix_lstm": Entry("torch over the window, as NX-AI/xlstm"),
}
"""What each cell of `rnnlm.cells.CELLS`, and the variants of the LSTM, are compared with."""


def options_of(name: str, task: Task) -> dict[str, Any]:
    """Return the options of rnnlm's cell; a projection has half the width of a layer."""
    return {"projection": task["hidden"] // 2} if name == "lstm_projection" else ENTRIES[name].options


def our_task(name: str, task: Task) -> Task:
    """Return the task of rnnlm for an entry."""
    return task | {"peer": "ours", "cell": ENTRIES[name].cell or name, "options": options_of(name, task)}


def peer_tasks(name: str, task: Task) -> list[Task]:
    """Return the tasks of an entry's peers, one for each of their settings."""
    tasks = []
    for peer in installed(name):
        base = task | {"peer": peer, "cell": name} | options_of(name, task)
        variants = importlib.import_module(f"benchmarks.peers.{peer}").variants("cpu", base)
        tasks += [base | variant | {"seconds_to_answer": PATIENCE} for variant in variants]
    return tasks


def installed(name: str) -> list[str]:
    """Return the peers of an entry whose packages are installed."""
    return [peer for peer in ENTRIES[name].peers if importlib.util.find_spec(peer.partition("_")[0])]
