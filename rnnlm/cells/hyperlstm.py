"""The HyperLSTM (Ha et al. 2016, equations 10 to 13): a small LSTM, the hyper LSTM, rescales the pre-activations.

The hyper LSTM reads x and the main h, so W_x and W_h have its columns after those of the main LSTM. Its output k, after
its own step, is embedded for each gate i, f, g, o of the main LSTM:
  z_h = k W_zh + b_zh,  z_x = k W_zx + b_zx,  z_b = k W_zb.
The embeddings give the factors and the bias of a gate's pre-activation, which `layer_norm` then normalizes:
  a = (z_h S_h) (h W_h) + (z_x S_x) (x W_x) + z_b S_b + b_0.
At first all factors are 0.1 and k has no effect, as in the authors' code (hardmaru/supercell). There, as here, k is the
output of this step, where the paper's equations have that of the step before.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells import lstm
from rnnlm.cells.cell import (
    NO_MASKS,
    Carry,
    Cell,
    Gates,
    Masks,
    Param,
    Params,
    State,
    one_step,
    uniform,
    zeros,
)
from rnnlm.options import HyperLSTMOptions, LSTMOptions
from rnnlm.product import product

FACTOR = 0.1
"""Initial factor of all pre-activations, that of recurrent batch normalization (Cooijmans et al. 2016)."""
MIN_UNITS = 8
"""Least default of the hyper LSTM's units: a single unit is always 0 once normalized, and a few units say little."""
PREFIX = "hyper_"
"""Begins the names of the hyper LSTM's params."""


def make_cell(options: HyperLSTMOptions) -> Cell:
    """Make the cell with the given options."""
    return Cell(
        partial(params, options),
        partial(carry, options),
        step=partial(step, options),
        gates=partial(gates, options),
        recurrent=("W_h", f"{PREFIX}W_h", "W_z", "S"),
        masks=lambda hidden: {"candidate": hidden + hyper_units(options, hidden)},
    )


def lstm_options(options: HyperLSTMOptions) -> LSTMOptions:
    """Return the options of both LSTMs."""
    return LSTMOptions(forget_bias=options.forget_bias, layer_norm=options.layer_norm)


def hyper_units(options: HyperLSTMOptions, hidden: int) -> int:
    """Return the number of units of the hyper LSTM."""
    return options.hyper_units or max(hidden // 4, MIN_UNITS)


def carry(options: HyperLSTMOptions, hidden: int) -> dict[str, State]:
    """Declare h and c of the main LSTM and of the hyper LSTM."""
    hyper = State((hyper_units(options, hidden),))
    return {"h": State((hidden,)), "c": State((hidden,)), "h_hyper": hyper, "c_hyper": hyper}


def params(options: HyperLSTMOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare the params of both LSTMs, and W_z, bias_z and S, which hold h, x, b in turn, i, f, g, o each."""
    units, width = hyper_units(options, hidden), options.embedding
    columns = 4 * (hidden + units)
    main, hyper = (lstm.params(lstm_options(options), inputs, size) for size in (hidden, units))
    # With layer_norm, lstm's bias of the forget gate comes after the normalization, and b_0 before it is zero.
    b_0 = main.pop("b", Param((4 * hidden,), zeros))
    hyper["W_h"] = Param(hyper["W_h"].shape, orthogonal)

    def draw_w_h(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        own, other = jax.random.split(key)
        blocks = orthogonal(own, (hidden, 4 * hidden)), uniform(hidden)(other, (hidden, 4 * units))
        return jnp.concatenate(blocks, axis=-1)

    def draw_w_z(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return 0.01 * jax.random.normal(key, shape).at[:, : 8 * width].set(0.0)

    def draw_s(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.zeros(shape).at[:8].set(FACTOR / width)

    return {
        **main,
        "W_x": Param((inputs, columns), uniform(hidden)),
        "W_h": Param((hidden, columns), draw_w_h),
        "b_0": b_0,
        **{PREFIX + name: param for name, param in hyper.items() if name != "W_x"},
        "W_z": Param((units, 12 * width), draw_w_z),
        "bias_z": Param((8 * width,), lambda key, shape: jnp.ones(shape)),
        "S": Param((12, width, hidden), draw_s),
    }


def orthogonal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw an orthogonal matrix for each gate: [N, 4 N]."""
    return jnp.concatenate(jax.random.orthogonal(key, shape[0], (4,), jnp.float32), axis=-1)


def run(
    options: HyperLSTMOptions,
    params: Params,
    carry: Carry,
    u_BG: jax.Array,
    dtype: DTypeLike,
    masks: Masks = NO_MASKS,
) -> tuple[jax.Array, Carry]:
    """Step the hyper LSTM: -> (pre-activations of the main LSTM before normalization, carry of the hyper LSTM)."""
    main = 4 * carry[0].shape[-1]
    r_BG = product(carry[0], params["W_h"], dtype)
    hyper = {name.removeprefix(PREFIX): p for name, p in params.items() if name.startswith(PREFIX)}
    read_BG = u_BG[:, main:] + r_BG[:, main:]
    after, h_hyper, _ = one_step(lstm.make_cell(lstm_options(options)), hyper, carry[2:], read_BG, dtype, masks=masks)
    # The embedding of the bias has none of its own, which b_0 would duplicate.
    bias_z = jnp.pad(params["bias_z"], (0, 4 * options.embedding))
    z_BZ = product(h_hyper, params["W_z"], dtype) + bias_z[None, :]
    scaled = product(z_BZ, params["S"], dtype).reshape(-1, 3, main)
    return scaled[:, 0] * r_BG[:, :main] + scaled[:, 1] * u_BG[:, :main] + scaled[:, 2] + params["b_0"][None, :], after


def gates(options: HyperLSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates of the main LSTM."""
    a_BG, _ = run(options, params, carry, u_BG, dtype)
    return lstm.gates(lstm_options(options), params, carry[:2], a_BG)


def step(
    options: HyperLSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS
) -> Carry:
    """Return (h, c, h_hyper, c_hyper) after one step; the hyper LSTM's part of a mask comes last."""
    hidden = carry[0].shape[-1]
    main, hyper = ({name: m[:, part] for name, m in masks.items()} for part in (slice(hidden), slice(hidden, None)))
    a_BG, after = run(options, params, carry, u_BG, dtype, hyper)
    return *lstm.update(lstm_options(options), params, carry[:2], a_BG, main), *after
