"""Recurrences in PyTorch that take one time step after another, each as its reference code computes a step.

A step is (params, carry, u_BG) -> carry, whose first array is the output. `u` is x @ W_x + b, computed for all steps at
once, also where the reference does so in each step, which is slower; without W_x and b it is x. Params have the names
and shapes of `rnnlm.cells`, but for matrices that the reference keeps apart.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.torch_shapes import DEPTH, HEADS, ROUNDS

Params = dict[str, Tensor]
Carry = tuple[Tensor, ...]
Step = Callable[[Params, Carry, Tensor], Carry]


def run(step: Step, params: Params, carry: Carry, x_TBD: Tensor) -> tuple[Tensor, Carry]:
    """Run a recurrence over a window: -> (h_TBH, carry after it)."""
    u_TBG = functional.linear(x_TBD, params["W_x"].T, params.get("b")) if "W_x" in params else x_TBD
    outputs = []
    for u_BG in u_TBG.unbind(0):
        carry = step(params, carry, u_BG)
        outputs.append(carry[0])
    return torch.stack(outputs), carry


def update_lstm(a_BG: Tensor, c: Tensor) -> Carry:
    """Return (h, c) of an LSTM from the pre-activations of i, f, g, o."""
    i, f, g, o = a_BG.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def layer_norm(a_BG: Tensor, gain: Tensor, bias: Tensor, parts: int) -> Tensor:
    """Normalize each of `parts` gates by itself, then scale and shift it."""
    gates = a_BG.view(len(a_BG), parts, -1)
    return functional.layer_norm(gates, gates.shape[-1:]).view_as(a_BG) * gain + bias


def normalized_lstm(params: Params, a_BG: Tensor, c: Tensor) -> Carry:
    """Return (h, c) of an LSTM with layer normalization from the pre-activations."""
    i, f, g, o = layer_norm(a_BG, params["gain"], params["bias"], 4).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * layer_norm(c, params["gain_c"], params["bias_c"], 1).tanh(), c


def lstm_layer_norm(params: Params, carry: Carry, u_BG: Tensor) -> Carry:
    """Step an LSTM with layer normalization."""
    return normalized_lstm(params, torch.addmm(u_BG, carry[0], params["W_h"]), carry[1])


def lstm_peepholes(params: Params, carry: Carry, u_BG: Tensor) -> Carry:
    """Step an LSTM with peepholes."""
    h, c = carry
    i, f, g, o = torch.addmm(u_BG, h, params["W_h"]).chunk(4, 1)
    i, f = (i + params["p_i"] * c).sigmoid(), (f + params["p_f"] * c).sigmoid()
    c = f * c + i * g.tanh()
    return (o + params["p_o"] * c).sigmoid() * c.tanh(), c


def lstm_coupled(params: Params, carry: Carry, u_BG: Tensor) -> Carry:
    """Step an LSTM whose input gate is 1 - f."""
    h, c = carry
    f, g, o = torch.addmm(u_BG, h, params["W_h"]).chunk(3, 1)
    f = f.sigmoid()
    c = f * c + (1 - f) * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_before(params: Params, carry: Carry, u_BG: Tensor) -> Carry:
    """Step a GRU that resets h before the product (char-rnn)."""
    (h,) = carry
    hidden = h.shape[1]
    u_rz, u_n = u_BG.split([2 * hidden, hidden], 1)
    r, z = torch.addmm(u_rz, h, params["W_rz"]).sigmoid().chunk(2, 1)
    n = torch.addmm(u_n, r * h, params["W_n"]).tanh()
    return ((1 - z) * n + z * h,)


def mlstm(params: Params, carry: Carry, u_BG: Tensor) -> Carry:
    """Step a multiplicative LSTM (openai/generating-reviews-discovering-sentiment)."""
    h, c = carry
    hidden = h.shape[1]
    u_m, u = u_BG.split([hidden, 4 * hidden], 1)
    return update_lstm(torch.addmm(u, u_m * (h @ params["W_m"]), params["W_h"]), c)


def mogrifier(params: Params, carry: Carry, x: Tensor) -> Carry:
    """Step a Mogrifier LSTM (deepmind/lamb)."""
    h, c = carry
    for i in range(1, ROUNDS + 1):
        if i % 2:
            x = 2 * (h @ params[f"Q_{i}"]).sigmoid() * x
        else:
            h = 2 * (x @ params[f"R_{i}"]).sigmoid() * h
    return update_lstm(torch.addmm(torch.addmm(params["bias"], x, params["W_in"]), h, params["W_h"]), c)


def rhn(params: Params, carry: Carry, u_BG: Tensor) -> Carry:
    """Step a recurrent highway network with coupled gates (julian121266/RecurrentHighwayNetworks)."""
    (s,) = carry
    for i in range(DEPTH):
        a = torch.addmm(params[f"bias_{i}"], s, params[f"R_{i}"])
        n, t = (a + u_BG if i == 0 else a).chunk(2, 1)
        s = (n.tanh() - s) * t.sigmoid() + s
    return (s,)


def fsrnn(params: Params, carry: Carry, u_BG: Tensor) -> Carry:
    """Step a fast-slow RNN of two fast LSTMs and a slow one (amujika/Fast-Slow-LSTM)."""
    h, c, h_slow, c_slow = carry
    h, c = update_lstm(torch.addmm(u_BG + params["bias_1"], h, params["W_1"]), c)
    slow = torch.addmm(torch.addmm(params["bias_slow"], h, params["W_slow_in"]), h_slow, params["W_slow"])
    h_slow, c_slow = update_lstm(slow, c_slow)
    a = torch.addmm(torch.addmm(params["bias_2"], h_slow, params["W_slow_out"]), h, params["W_2"])
    h, c = update_lstm(a, c)
    return h, c, h_slow, c_slow


def hyperlstm(params: Params, carry: Carry, u_BG: Tensor) -> Carry:
    """Step a HyperLSTM (hardmaru/supercell), which embeds and scales each gate by itself."""
    h, c, k, c_hyper = carry
    main, hyper = 4 * h.shape[1], 4 * k.shape[1]
    u, u_hyper = u_BG.split([main, hyper], 1)
    own = {name.removeprefix("hyper_"): param for name, param in params.items() if name.startswith("hyper_")}
    k, c_hyper = normalized_lstm(own, torch.addmm(u_hyper, torch.cat((h, k), 1), own["W"]), c_hyper)
    gates = []
    for j, (from_h, from_x) in enumerate(zip((h @ params["W_h"]).chunk(4, 1), u.chunk(4, 1), strict=True)):
        scale_h = torch.addmm(params[f"bias_z_{j}"], k, params[f"W_z_{j}"]) @ params[f"S_{j}"]
        scale_x = torch.addmm(params[f"bias_z_{4 + j}"], k, params[f"W_z_{4 + j}"]) @ params[f"S_{4 + j}"]
        gates.append(scale_h * from_h + scale_x * from_x + k @ params[f"W_z_{8 + j}"] @ params[f"S_{8 + j}"])
    return *normalized_lstm(params, torch.cat(gates, 1) + params["b_0"], c), k, c_hyper


def indrnn(params: Params, carry: Carry, u_BH: Tensor) -> Carry:
    """Step an independently recurrent network (Sunnydreamrain/IndRNN_pytorch)."""
    return (torch.relu(u_BH + carry[0] * params["v"]),)


def slstm(params: Params, carry: Carry, u_BG: Tensor) -> Carry:
    """Step an sLSTM (NX-AI/xlstm, its PyTorch form, but with one batched product for all heads)."""
    h, c, n, m = carry
    lanes, hidden = h.shape
    by_head = torch.bmm(h.view(lanes, HEADS, -1).transpose(0, 1), params["R"])
    r_BG = by_head.view(HEADS, lanes, 4, -1).permute(1, 2, 0, 3).reshape(lanes, 4 * hidden)
    i, f, z, o = (u_BG + r_BG).chunk(4, 1)
    kept = functional.logsigmoid(f) + m
    m = torch.where(n == 0, i, torch.maximum(i, kept))
    i, f = (i - m).exp(), (kept - m).exp()
    c, n = f * c + i * z.tanh(), f * n + i
    return o.sigmoid() * c / n, c, n, m


STEPS: dict[str, Step] = {
    "lstm_layer_norm": lstm_layer_norm,
    "lstm_peepholes": lstm_peepholes,
    "lstm_coupled": lstm_coupled,
    "gru_before": gru_before,
    "mlstm": mlstm,
    "mogrifier": mogrifier,
    "rhn": rhn,
    "fsrnn": fsrnn,
    "hyperlstm": hyperlstm,
    "indrnn": indrnn,
    "slstm": slstm,
}
