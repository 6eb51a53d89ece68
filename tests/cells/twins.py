"""The equations of each cell in numpy, a step at a time: (params, carry, x [B, D]) -> carry."""

from functools import partial

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(p, carry, x, input_gate="free"):
    """Step an LSTM of any options; its params tell of all but the input gate."""
    h, c = carry
    names = "fgo" if input_gate == "coupled" else "ifgo"
    a = x @ p["W_x"] + p.get("b", 0) + p.get("b_h", 0) + h @ p["W_h"]
    a = dict(zip(names, np.split(a, len(names), axis=-1), strict=True))
    if "gain" in p:
        vectors = (np.split(p[name], len(names)) for name in ("gain", "bias"))
        a = {name: normalize(a[name], *pair) for name, *pair in zip(names, *vectors, strict=True)}

    def gate(name, c):
        return sigmoid(a[name] + p.get(f"p_{name}", 0) * c)

    f = gate("f", c)
    i = 1 - f if input_gate == "coupled" else gate("i", c)
    c = f * c + (np.minimum(i, 1 - f) if input_gate == "capped" else i) * np.tanh(a["g"])
    h = gate("o", c) * np.tanh(normalize(c, p["gain_c"], p["bias_c"]) if "gain" in p else c)
    return (h @ p["W_p"] if "W_p" in p else h), c


def normalize(a, gain, bias):
    return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5) * gain + bias


def lstm_gates(a, c):
    """Step an LSTM from its pre-activations."""
    i, f, g, o = np.split(a, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


lstm_two_biases = lstm_peepholes = lstm_layer_norm = lstm_projection = lstm
lstm_coupled = lstm_coupled_peepholes = partial(lstm, input_gate="coupled")
lstm_capped = lstm_capped_all = partial(lstm, input_gate="capped")


def hyperlstm(p, carry, x):
    h, c, k, c_k = carry
    main = 4 * h.shape[1]
    hyper = {name[6:]: value for name, value in p.items() if name.startswith("hyper_")}
    hyper["W_x"] = np.concatenate([p["W_x"], p["W_h"]])[:, main:]
    k, c_k = lstm(hyper, (k, c_k), np.concatenate([x, h], axis=1))
    a = hyperlstm_rescaled(p, h, x, k)
    return *lstm(p | {"W_x": np.eye(main), "W_h": np.zeros((main // 4, main))}, (h, c), a), k, c_k


def hyperlstm_plain(p, carry, x):
    """Step a HyperLSTM without layer normalization."""
    h, c, k, c_k = carry
    hyper = np.split(np.concatenate([p["W_x"], p["W_h"]]), [4 * h.shape[1]], axis=1)[1]
    k, c_k = lstm_gates(np.concatenate([x, h], axis=1) @ hyper + k @ p["hyper_W_h"] + p["hyper_b"], c_k)
    return *lstm_gates(hyperlstm_rescaled(p, h, x, k), c), k, c_k


def hyperlstm_rescaled(p, h, x, k):
    """Return the pre-activations of the main LSTM, one gate after another."""
    H, E = h.shape[1], p["S"].shape[1]
    a = []
    for y in range(4):
        W_zh, W_zx, W_zb = (np.split(p["W_z"], 12, axis=1)[y + part] for part in (0, 4, 8))
        d_h = (k @ W_zh + p["bias_z"][y * E : (y + 1) * E]) @ p["S"][y]
        d_x = (k @ W_zx + p["bias_z"][(4 + y) * E : (5 + y) * E]) @ p["S"][4 + y]
        own = slice(y * H, (y + 1) * H)
        a.append(d_h * (h @ p["W_h"][:, own]) + d_x * (x @ p["W_x"][:, own]) + k @ W_zb @ p["S"][8 + y] + p["b_0"][own])
    return np.concatenate(a, axis=1)


def slstm(p, carry, x, forget=sigmoid):
    """Step an sLSTM by the numbers that m scales, with all heads in one matrix."""
    h, c, n, m = carry
    heads, units, _ = p["W_h"].shape
    W_h = np.zeros((heads, units, heads, 4 * units))
    for head in range(heads):
        W_h[head, :, head] = p["W_h"][head]
    a = x @ p["W_x"] + p["b"] + h @ W_h.reshape(heads * units, -1)
    i, f, z, o = a.reshape(-1, heads, 4, units).transpose(2, 0, 1, 3).reshape(4, *h.shape)
    true_c = forget(f) * np.exp(m) * c + np.exp(i) * np.tanh(z)
    true_n = forget(f) * np.exp(m) * n + np.exp(i)
    m = np.where(n == 0, i, np.maximum(np.log(forget(f)) + m, i))
    return sigmoid(o) * true_c / true_n, true_c / np.exp(m), true_n / np.exp(m), m


def slstm_exp(p, carry, x):
    return slstm(p, carry, x, forget=np.exp)


def rnn(p, carry, x):
    return (np.tanh(x @ p["W_x"] + p["b"] + carry[0] @ p["W_h"]),)


def irnn(p, carry, x):
    return (np.maximum(x @ p["W_x"] + p["b"] + carry[0] @ p["W_h"], 0),)


def indrnn(p, carry, x):
    return (np.maximum(x @ p["W_x"] + p["b"] + np.clip(p["v"], -1, 1) * carry[0], 0),)


def gru(p, carry, x):
    """Step a GRU as PyTorch's documentation of nn.GRU states it."""
    (h,) = carry
    W_ir, W_iz, W_in = np.split(p["W_x"], 3, axis=1)
    W_hr, W_hz, W_hn = np.split(p["W_h"], 3, axis=1)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = np.split(p["b"], 3), np.split(p["b_h"], 3)
    r = sigmoid(x @ W_ir + b_ir + h @ W_hr + b_hr)
    z = sigmoid(x @ W_iz + b_iz + h @ W_hz + b_hz)
    n = np.tanh(x @ W_in + b_in + r * (h @ W_hn + b_hn))
    return ((1 - z) * n + z * h,)


def gru_before(p, carry, x):
    """Step the GRU of Chung et al. 2014, where z is the share of the old h."""
    (h,) = carry
    u = np.split(x @ p["W_x"] + p["b"], 3, axis=-1)
    W = np.split(p["W_h"], 3, axis=1)
    r, z = sigmoid(u[0] + h @ W[0]), sigmoid(u[1] + h @ W[1])
    return ((1 - z) * np.tanh(u[2] + (r * h) @ W[2]) + z * h,)


def mlstm(p, carry, x):
    h, c = carry
    u = x @ p["W_x"]
    m = u[:, : h.shape[-1]] * (h @ p["W_m"])
    return lstm_gates(u[:, h.shape[-1] :] + m @ p["W_h"] + p["bias"], c)


def mogrifier(p, carry, x):
    """Step a Mogrifier of 5 rounds."""
    h, c = carry
    for i in (1, 2, 3, 4, 5):
        if i % 2:
            x = 2 * sigmoid(h @ p[f"Q_{i}"]) * x
        else:
            h = 2 * sigmoid(x @ p[f"R_{i}"]) * h
    return lstm_gates(x @ p["W_in"] + h @ p["W_h"] + p["bias"], c)


def mogrifier_low_rank(p, carry, x):
    """Step a Mogrifier of 3 rounds whose input gate is capped."""
    h, c = carry
    x = 2 * sigmoid(h @ p["Q_1_left"] @ p["Q_1_right"]) * x
    h = 2 * sigmoid(x @ p["R_2_left"] @ p["R_2_right"]) * h
    x = 2 * sigmoid(h @ p["Q_3_left"] @ p["Q_3_right"]) * x
    i, f, g, o = np.split(x @ p["W_in"] + h @ p["W_h"] + p["bias"], 4, axis=-1)
    c = sigmoid(f) * c + np.minimum(sigmoid(i), 1 - sigmoid(f)) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def rhn(p, carry, x):
    (s,) = carry
    for i in range(5):
        n, t = np.split((x @ p["W_x"] if i == 0 else 0) + s @ p[f"R_{i}"] + p[f"bias_{i}"], 2, axis=-1)
        s = (np.tanh(n) - s) * sigmoid(t) + s
    return (s,)


def rhn_free(p, carry, x):
    """Step a recurrent highway network of depth 2 with carry gates."""
    (s,) = carry
    for i in range(2):
        n, t, k = np.split((x @ p["W_x"] if i == 0 else 0) + s @ p[f"R_{i}"] + p[f"bias_{i}"], 3, axis=-1)
        s = np.tanh(n) * sigmoid(t) + s * sigmoid(k)
    return (s,)


def fsrnn(p, carry, x, fast=2):
    """Step a fast-slow RNN, whose params tell whether its LSTMs are normalized."""

    def advance(a, c, name):
        own = {"W_x": np.eye(a.shape[1]), "W_h": np.zeros((c.shape[1], a.shape[1]))}
        if f"gain_{name}" in p:
            for ours, theirs in (("gain", "gain"), ("bias", "shift"), ("gain_c", "gain_c"), ("bias_c", "shift_c")):
                own[ours] = p[f"{theirs}_{name}"]
        return lstm(own, (np.zeros_like(c), c), a + p[f"bias_{name}"])

    h, c, slow, c_slow = carry
    h, c = advance(x @ p["W_x"] + h @ p["W_1"], c, "1")
    slow, c_slow = advance(slow @ p["W_slow"] + h @ p["W_slow_in"], c_slow, "slow")
    h, c = advance(h @ p["W_2"] + slow @ p["W_slow_out"], c, "2")
    for i in range(3, fast + 1):
        h, c = advance(h @ p[f"W_{i}"], c, str(i))
    return h, c, slow, c_slow


fsrnn_layer_norm = fsrnn
fsrnn_four = partial(fsrnn, fast=4)


def mingru(p, carry, x):
    z, n = np.split(x @ p["W_x"] + p["b"], 2, axis=-1)
    return ((1 - sigmoid(z)) * carry[0] + sigmoid(z) * positive(n),)


def minlstm(p, carry, x):
    f, i, n = np.split(x @ p["W_x"] + p["b"], 3, axis=-1)
    f, i = sigmoid(f), sigmoid(i)
    return (f / (f + i) * carry[0] + i / (f + i) * positive(n),)


def positive(a):
    return np.where(a >= 0, a + 0.5, sigmoid(a))


def qrnn(p, carry, x):
    z, f, o = np.split(x @ p["W_x"] + p["bias"], 3, axis=-1)
    c = sigmoid(f) * carry[1] + (1 - sigmoid(f)) * np.tanh(z)
    return sigmoid(o) * c, c


def qrnn_window_two(p, carry, x):
    W, V = np.split(p["W_x"], 2, axis=1)
    z, f, o = np.split(x @ W + carry[2] + p["bias"], 3, axis=-1)
    c = sigmoid(f) * carry[1] + (1 - sigmoid(f)) * np.tanh(z)
    return sigmoid(o) * c, c, x @ V


def sru(p, carry, x):
    u, f = np.split(x @ p["W_x"], 2, axis=-1)
    f = sigmoid(f + p["v_f"] * carry[0] + p["b_f"])
    return (f * carry[0] + (1 - f) * u,)


def sru_without_feedback(p, carry, x):
    return sru(p | {"v_f": 0.0}, carry, x)


def rglru(p, carry, x):
    """Step an RG-LRU as the paper states it, head by head."""
    y = x @ p["W_x"] + p["b"]
    heads = np.split(y, len(p["W_r"]), axis=-1)
    r, i = (
        sigmoid(np.concatenate([h @ W for h, W in zip(heads, p[f"W_{gate}"], strict=True)], axis=-1) + p[f"b_{gate}"])
        for gate in "ri"
    )
    a = np.exp(-8 * np.log1p(np.exp(p["p"])) * r)
    return (a * carry[0] + np.sqrt(1 - a**2) * i * y,)


def matrix_lstm(p, carry, x):
    """Step a matrix LSTM of 4 heads of 3 units without a stabilizer, and scale its carry at the end."""
    C, n, m = carry
    _, k, v, _, u_i, u_f = matrix_lstm_inputs(p, x)
    new_m = np.maximum(np.log(sigmoid(u_f)) + m, u_i)
    memory, n = C * np.exp(m)[..., None, None], n * np.exp(m)[..., None]
    i, f = np.exp(u_i)[..., None], sigmoid(u_f)[..., None]
    memory, n = f[..., None] * memory + np.einsum("bnk,bnv->bnkv", i * k, v), f * n + i * k
    return memory * np.exp(-new_m)[..., None, None], n * np.exp(-new_m)[..., None], new_m


def matrix_lstm_inputs(p, x):
    *rows, u_i, u_f = np.split(x @ p["W_x"] + p["b"], np.cumsum([12, 12, 12, 12, 4]), axis=-1)
    q, k, v, o = (row.reshape(len(x), 4, 3) for row in rows)
    return q, k / np.sqrt(3), v, sigmoid(o), u_i, u_f


def matrix_lstm_output(p, carry, x):
    scale = np.exp(carry[2])
    C, n = carry[0] * scale[..., None, None], carry[1] * scale[..., None]
    q, _, _, o, _, _ = matrix_lstm_inputs(p, x)
    read = np.einsum("bnk,bnkv->bnv", q, C) / np.maximum(np.abs((q * n).sum(-1)), 1)[..., None]
    norm = (read - read.mean(-1, keepdims=True)) / np.sqrt(read.var(-1, keepdims=True) + 1e-5)
    return p["gain"] * (o * norm).reshape(len(x), -1)


matrix_lstm_in_chunks, matrix_lstm_in_chunks_output = matrix_lstm, matrix_lstm_output


def lru(p, carry, x):
    lam = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    re, im, _ = np.split(x @ p["W_x"], 3, axis=-1)
    gamma = np.exp(p["log_gamma"]) * np.sqrt(1 - np.abs(lam) ** 2)
    return (lam * carry[0] + gamma * (re + 1j * im),)


def lru_output(p, carry, x):
    return (carry[0] @ (p["C_re"] + 1j * p["C_im"])).real + np.split(x @ p["W_x"], 3, axis=-1)[2]
