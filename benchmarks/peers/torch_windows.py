"""Recurrences in PyTorch that compute a whole window, each as its reference code does on a CPU.

A window is (params, carry, x_TBD) -> (h_TBH, carry). Params have the names and shapes of `rnnlm.cells`.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.torch_shapes import HEADS
from benchmarks.peers.torch_steps import Carry, Params

Window = Callable[[Params, Carry, Tensor], tuple[Tensor, Carry]]

LEAST = 1e-30
"""Least carry of which a logarithm is taken."""


def project(params: Params, x_TBD: Tensor) -> Tensor:
    """Return x @ W_x + b."""
    return functional.linear(x_TBD, params["W_x"].T, params.get("b"))


def qrnn(params: Params, carry: Carry, x_TBD: Tensor) -> tuple[Tensor, Carry]:
    """Run a QRNN (salesforce/pytorch-qrnn): one product, then a loop of elementwise work."""
    z, f, o = functional.linear(x_TBD, params["W_x"].T, params["bias"]).chunk(3, 2)
    z, f = z.tanh(), f.sigmoid()
    c, memories = carry[1], []
    for f_BH, input_BH in zip(f.unbind(0), ((1 - f) * z).unbind(0), strict=True):
        c = input_BH + f_BH * c
        memories.append(c)
    h_TBH = o.sigmoid() * torch.stack(memories)
    return h_TBH, (h_TBH[-1], c)


def sru(params: Params, carry: Carry, x_TBD: Tensor) -> tuple[Tensor, Carry]:
    """Run an SRU (asappresearch/sru, as it trains on a CPU) without its highway connection."""
    u, a = functional.linear(x_TBD, params["W_x"].T).chunk(2, 2)
    (c,), outputs = carry, []
    for u_BH, a_BH in zip(u.unbind(0), (a + params["b_f"]).unbind(0), strict=True):
        f = (a_BH + c * params["v_f"]).sigmoid()
        c = u_BH + (c - u_BH) * f
        outputs.append(c)
    return torch.stack(outputs), (c,)


def log_positive(a: Tensor) -> Tensor:
    """Return log g(a), where g(a) = a + 1/2 for a >= 0, else sigmoid(a)."""
    return torch.where(a >= 0, (functional.relu(a) + 0.5).log(), -functional.softplus(-a))


def scan_logs(log_f: Tensor, log_values: Tensor, h_BH: Tensor) -> tuple[Tensor, Carry]:
    """Return h' = f h + v for all steps from the logarithms of f and v (Heinsen 2023), and the carry."""
    decay = functional.pad(log_f, (0, 0, 0, 0, 1, 0)).cumsum(0)
    values = torch.cat((h_BH.clamp_min(LEAST).log()[None], log_values))
    h_TBH = (decay + (values - decay).logcumsumexp(0)).exp()[1:]
    return h_TBH, (h_TBH[-1],)


def mingru(params: Params, carry: Carry, x_TBD: Tensor) -> tuple[Tensor, Carry]:
    """Run a minGRU (lucidrains/minGRU-pytorch) in log space."""
    z, n = project(params, x_TBD).chunk(2, 2)
    return scan_logs(-functional.softplus(z), log_positive(n) - functional.softplus(-z), carry[0])


def minlstm(params: Params, carry: Carry, x_TBD: Tensor) -> tuple[Tensor, Carry]:
    """Run a minLSTM (lucidrains/minGRU-pytorch) in log space."""
    f, i, n = project(params, x_TBD).chunk(3, 2)
    difference = functional.softplus(-f) - functional.softplus(-i)
    log_f, log_i = -functional.softplus(difference), -functional.softplus(-difference)
    return scan_logs(log_f, log_i + log_positive(n), carry[0])


def matrix_lstm(params: Params, carry: Carry, x_TBD: Tensor) -> tuple[Tensor, Carry]:
    """Run the mLSTM of xLSTM (NX-AI/xlstm) in its parallel stabilized form, with the carry as in its chunkwise form."""
    (memory, n, m), (steps, lanes, _) = carry, x_TBD.shape
    hidden = HEADS * memory.shape[2]
    q, k, v, o, i, f = project(params, x_TBD).split([hidden] * 4 + [HEADS] * 2, 2)
    q, k, v = (a.view(steps, lanes, HEADS, -1).permute(1, 2, 0, 3) for a in (q, k, v))  # [B, N, T, K]
    i, log_f = (a.permute(1, 2, 0)[..., None] for a in (i, functional.logsigmoid(f)))  # [B, N, T, 1]
    k = k * k.shape[-1] ** -0.5
    decay = log_f.cumsum(2)
    log_weights = decay - decay.transpose(2, 3) + i.transpose(2, 3)
    causal = torch.ones(steps, steps, dtype=torch.bool, device=x_TBD.device).tril()
    log_weights = torch.where(causal, log_weights, -float("inf"))
    log_start = decay + m[:, :, None, None]
    highest = torch.maximum(log_weights.amax(3, keepdim=True), log_start)
    weights, start = (log_weights - highest).exp(), (log_start - highest).exp()
    scores = (q @ k.transpose(2, 3)) * weights
    total = scores.sum(3, keepdim=True) + start * (q @ n[..., None])
    h = (scores @ v + start * (q @ memory)) / torch.maximum(total.abs(), (-highest).exp())
    h = functional.layer_norm(h, h.shape[3:]).permute(2, 0, 1, 3).reshape(steps, lanes, hidden)
    h_TBH = h * params["gain"] * o.sigmoid()
    last, start = weights[:, :, -1, :, None] * k, start[:, :, -1]
    carry = start[..., None] * memory + last.transpose(2, 3) @ v, start * n + last.sum(2), highest[:, :, -1, 0]
    return h_TBH, carry


WINDOWS: dict[str, Window] = {
    "qrnn": qrnn,
    "sru": sru,
    "mingru": mingru,
    "minlstm": minlstm,
    "matrix_lstm": matrix_lstm,
}
