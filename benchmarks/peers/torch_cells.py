"""The peers of the cells in PyTorch: one of its own modules, or the reference's form, in a whole training step."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers import MALLOC_ENV, Work, torch_lstm
from benchmarks.peers.torch_shapes import CARRY, PARAMS
from benchmarks.peers.torch_steps import STEPS, Carry, run
from benchmarks.peers.torch_windows import WINDOWS, Window

Task = dict[str, Any]

MODULES: dict[str, Callable[..., nn.Module]] = {
    "rnn": nn.RNN,
    "irnn": partial(nn.RNN, nonlinearity="relu"),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "lstm_projection": nn.LSTM,
}


def variants(device: str, task: Task) -> list[Task]:
    """Return the settings to try on a CPU: what torch.compile compiles, which leaves PyTorch's modules as they are.

    A window with a product in each step takes more than a minute to compile, and is then slower than an uncompiled one.
    """
    whole = task["cell"] in WINDOWS or task["cell"] == "indrnn"
    compiled = [""] if task["cell"] in MODULES else ["", "window" if whole else "step"]
    threads = len(os.sched_getaffinity(0))
    return [{"threads": threads, "compile": each, "env": MALLOC_ENV} for each in compiled]


class Fused(nn.Module):
    """Run the layers as one of PyTorch's modules; the carry is the module's."""

    def __init__(self, task: Task):
        super().__init__()
        hidden, self.outputs = task["hidden"], task.get("projection", task["hidden"])
        options = {"proj_size": task["projection"]} if "projection" in task else {}
        self.layers = MODULES[task["cell"]](hidden, hidden, task["layers"], **options)
        widths = (self.outputs, hidden)[: 2 if task["cell"].startswith("lstm") else 1]
        self.start = tuple(torch.zeros(task["layers"], task["batch"], width) for width in widths)

    def forward(self, x_TBD: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        h_TBH, after = self.layers(x_TBD, carry if len(carry) == 2 else carry[0])
        return h_TBH, after if len(carry) == 2 else (after,)


class Stack(nn.Module):
    """Run the layers as the reference does; the carry is a tuple of those of the layers."""

    def __init__(self, task: Task):
        super().__init__()
        cell, hidden = task["cell"], task["hidden"]
        self.outputs, self.window = hidden, window_of(task)
        shapes = PARAMS[cell](hidden, hidden)
        self.layers = nn.ModuleList(
            nn.ParameterDict({name: draw(shape, hidden) for name, shape in shapes.items()})
            for _ in range(task["layers"])
        )
        start = tuple(torch.zeros(task["batch"], *shape) for shape in CARRY[cell](hidden))
        self.start = (start,) * task["layers"]

    def forward(self, x_TBD: Tensor, carry: tuple[Carry, ...]) -> tuple[Tensor, tuple[Carry, ...]]:
        after = []
        for layer, before in zip(self.layers, carry, strict=True):
            x_TBD, layer_carry = self.window(dict(layer.items()), before, x_TBD)
            after.append(layer_carry)
        return x_TBD, tuple(after)


class Net(nn.Module):
    """Compose an embedding as wide as the layers, the layers and a linear output."""

    def __init__(self, task: Task):
        super().__init__()
        self.embedding = nn.Embedding(task["vocab"], task["hidden"])
        self.layers = (Fused if task["cell"] in MODULES else Stack)(task)
        self.output = nn.Linear(self.layers.outputs, task["vocab"])

    def forward(self, x_TB: Tensor, carry: Any) -> tuple[Tensor, Any]:
        h_TBH, carry = self.layers(self.embedding(x_TB), carry)
        return self.output(h_TBH), carry


def draw(shape: tuple[int, ...], hidden: int) -> nn.Parameter:
    """Draw a param from U(-1/sqrt(H), 1/sqrt(H))."""
    return nn.Parameter(torch.empty(shape).uniform_(-(hidden**-0.5), hidden**-0.5))


def window_of(task: Task) -> Window:
    """Return the pass of a layer over a window, of which `compile` names what is compiled: "step", "window" or ""."""
    compiled = task.get("compile")
    if task["cell"] in WINDOWS:
        window = WINDOWS[task["cell"]]
    else:
        step = STEPS[task["cell"]]
        window = partial(run, torch.compile(step, dynamic=False) if compiled == "step" else step)
    return torch.compile(window, dynamic=False) if compiled == "window" else window


def count_params(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(param.numel() for param in model.parameters())


def train(task: Task) -> Work:
    """Prepare training steps; one unit is one step."""
    torch_lstm.start(task)
    model = Net(task)
    work, facts = torch_lstm.train_steps(task | {"compile": False}, model, model.layers.start)
    facts["params"] = count_params(model)
    return work, facts
