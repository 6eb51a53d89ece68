"""Published recipes equal an independent version of their step in PyTorch, param by param, after 20 steps.

Both compute in float64: the first steps of RMSprop and Adam are nearly signs of the gradient, in which the rounding of
float32 is as large as a step wherever a gradient is small.
"""

from dataclasses import replace

import jax
import numpy as np
import pytest

from rnnlm.config import Config
from rnnlm.data.columns import parse_columns
from rnnlm.nn.leaves import named_leaves
from rnnlm.planning import published
from rnnlm.runtime import parallel
from rnnlm.training import optim, state
from rnnlm.training.step import state_to_devices, train_step
from tests.conftest import ROOT

STEPS, V = 20, 65
TORCH_GATES = {"char_rnn": "ifog", "torch_rnn": "ifog", "awd_lstm_2018": "ifgo"}


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)  # more of them wait for one another where tests run side by side
    return module


def settings_of(name):
    """Return a recipe with its dropout off; AWD-LSTM at a tenth of its width."""
    config = Config.from_dict(
        published.import_config(ROOT, ROOT / f"configs/published/{name}.py").get_config().to_dict()
    )
    off = dict.fromkeys(("dropout", "dropout_input", "dropout_output", "weight_drop"), 0.0)
    model, train = replace(config.model, **off), config.train
    if model.sizes:
        model = replace(model, sizes=(184, 184, 40), embedding=40)
        train = replace(train, batch=16, window=40)
    return replace(config, model=model, train=train)


def windows(config):
    """Return symbols [STEPS, B, T] and those that follow them, of lanes that are read on and on."""
    rng = np.random.default_rng(0)
    words = [rng.integers(0, V, 6) for _ in range(40)]
    shape = config.train.batch, STEPS * config.train.window + 1
    text = np.stack(
        [np.concatenate([words[i] for i in rng.integers(0, 40, shape[1])])[: shape[1]] for _ in range(shape[0])]
    )
    x, y = (t.reshape(shape[0], STEPS, -1).swapaxes(0, 1) for t in (text[:, :-1], text[:, 1:]))
    return x.astype(np.int32), y.astype(np.int32)


def double(tree):
    return jax.tree.map(
        lambda a: np.asarray(a, np.float64) if np.asarray(a).dtype == np.float32 else np.asarray(a), tree
    )


def ours(config, x, y):
    """Train as rnnlm does: -> (first params, last params), by name."""
    optimizer = optim.make_optimizer(config.optim, optim.make_schedule(config.optim, config.train.steps, 1e4))
    start = double(jax.device_get(state.create(config, V, optimizer)))
    with jax.enable_x64(True):
        object.__setattr__(config.model, "dtype", "float64")  # which no config has
        now, step = state_to_devices(config.model, start), train_step(config, V, optimizer)
        for i in range(STEPS):
            now, _ = step(now, *parallel.shard((x[i], y[i], np.zeros(x[i].shape, bool))))
        return named_leaves(start.params), named_leaves(parallel.to_numpy(now.params))


class LSTM:
    """An LSTM in the gate order of its origin, with one or two biases, from params of rnnlm in the order i, f, g, o."""

    def __init__(self, torch, params, layer, order):
        self.torch, self.order = torch, order
        self.names = {name.split(".")[1]: name for name in params if name.startswith(f"layer_{layer}.")}
        columns = [("ifgo".index(gate)) for gate in order]
        self.weights = {}
        for name, full in self.names.items():
            gates = np.split(params[full], 4, axis=-1)
            w = np.concatenate([gates[j] for j in columns], axis=-1)
            self.weights[name] = torch.tensor(w, requires_grad=True)

    def read_back(self):
        columns = [self.order.index(gate) for gate in "ifgo"]
        for name, full in self.names.items():
            gates = np.split(self.weights[name].detach().numpy(), 4, axis=-1)
            yield full, np.concatenate([gates[j] for j in columns], axis=-1)

    def __call__(self, x_TBD, h, c):
        torch, outputs = self.torch, []
        for x in x_TBD:
            a = x @ self.weights["W_x"] + h @ self.weights["W_h"] + self.weights["b"]
            if "b_h" in self.weights:
                a = a + self.weights["b_h"]
            gate = dict(zip(self.order, torch.chunk(a, 4, dim=1), strict=True))
            c = torch.sigmoid(gate["f"]) * c + torch.sigmoid(gate["i"]) * torch.tanh(gate["g"])
            h = torch.sigmoid(gate["o"]) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), h.detach(), c.detach()


def rmsprop(torch, params, config):
    """Step as torch/optim's rmsprop.lua: m = alpha m + (1 - alpha) g g; x -= rate g / (sqrt(m) + eps)."""
    memory = [torch.zeros_like(p) for p in params]

    def step():
        for p, m in zip(params, memory, strict=True):
            p.grad.clamp_(-5, 5)
            m.mul_(0.95).addcmul_(p.grad, p.grad, value=0.05)
            p.data.addcdiv_(p.grad, m.sqrt().add_(1e-8), value=-2e-3)

    return step


def torch_rnn_adam(torch, params, config):
    """Step as torch-rnn's train.lua: gradients clamped one by one, then Adam."""
    adam = torch.optim.Adam(params, lr=2e-3)

    def step():
        for p in params:
            p.grad.clamp_(-5, 5)
        adam.step()

    return step


def awd_adam(torch, params, config):
    """Step as AWD-LSTM's main.py: the norm of all gradients clipped to 0.25, then Adam with its weight decay."""
    adam = torch.optim.Adam(params, lr=1e-3, weight_decay=1.2e-6)

    def step():
        torch.nn.utils.clip_grad_norm_(params, 0.25)
        adam.step()

    return step


OPTIMIZERS = {"char_rnn": rmsprop, "torch_rnn": torch_rnn_adam, "awd_lstm_2018": awd_adam}


def theirs(torch, name, config, x, y, start):
    """Train as the recipe's program does, from the first params of rnnlm: -> the last ones, by name."""
    layers = [LSTM(torch, start, i, TORCH_GATES[name]) for i in range(len(config.model.hidden_sizes))]
    others = {n: torch.tensor(p, requires_grad=True) for n, p in start.items() if not n.startswith("layer_")}
    params = [*others.values(), *(w for layer in layers for w in layer.weights.values())]
    update = OPTIMIZERS[name](torch, params, config)
    table, batch, window = others.get("embedding.table"), config.train.batch, config.train.window
    carry = [[torch.zeros(batch, n, dtype=torch.float64)] * 2 for n in config.model.hidden_sizes]
    for i in range(STEPS):
        inputs = torch.tensor(x[i].T.astype(np.int64))
        h = torch.nn.functional.one_hot(inputs, V).double() if table is None else table[inputs]
        for j, layer in enumerate(layers):
            h, *carry[j] = layer(h, *carry[j])
        logits = h @ (table.T if config.model.tied else others["output.W"]) + others["output.b"]
        nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(y[i].T.astype(np.int64)).flatten())
        for p in params:
            p.grad = None
        (nats * window if name == "char_rnn" else nats).backward()  # char-rnn adds up the criterion of each time step
        update()
    after = {n: p.detach().numpy() for n, p in others.items()}
    return after | {full: w for layer in layers for full, w in layer.read_back()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_recipe_equals_its_program_after_20_steps(torch, name):
    config = settings_of(name)
    x, y = windows(config)
    start, after = ours(config, x, y)
    wanted = theirs(torch, name, config, x, y, start)
    assert after.keys() == wanted.keys() == start.keys()
    for param, value in after.items():
        np.testing.assert_allclose(value, wanted[param], rtol=0, atol=1e-5, err_msg=param)
        assert np.abs(value - start[param]).max() > 1e-3, param


def test_the_recipe_of_char_rnn_reads_its_columns():
    config = settings_of("char_rnn")
    columns = parse_columns(config.data.split)
    assert (columns.streams, columns.time) == (config.train.batch, config.train.window)
    assert columns.windows(1_115_394, "")[0] * 50 == config.train.steps
