"""Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000), and its variants.

Gate order i, f, g, o, as PyTorch's and cuDNN's:
c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c').
By its options,
  peepholes (Gers and Schmidhuber 2000): i and f also read p_i c and p_f c, and o reads p_o c';
  input_gate: sigmoid(i) becomes 1 - sigmoid(f) (`coupled`, Greff et al. 2017) or is capped by it (Melis et al. 2018);
  projection (Sak et al. 2014): the output is h' W_p, of `projection` units, which the next step reads;
  layer_norm (Ba et al. 2016, as in Ha et al. 2016): each gate's pre-activation is normalized, and c' before tanh.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rnnlm.cells.cell import (
    NO_MASKS,
    Carry,
    Cell,
    Gates,
    Initializer,
    Masks,
    Param,
    Params,
    State,
    drop,
    ones,
    uniform,
    zeros,
    zone_out,
)
from rnnlm.cells.rnn import mix
from rnnlm.options import LSTMOptions
from rnnlm.product import product

EPSILON = 1e-5
"""Added to the variance that layer normalization divides by."""


def make_cell(options: LSTMOptions) -> Cell:
    """Make the cell with the given options."""
    if not options.projection and not options.layer_norm:
        return Cell(
            partial(params, options),
            partial(carry, options),
            mix=mix,
            update=partial(update, options),
            gates=partial(gates, options),
            masks=partial(masks, options),
        )
    # The gradients of a normalization's vectors cost less in one pass after the scan than in each of its steps.
    return Cell(
        partial(params, options),
        partial(carry, options),
        step=partial(step, options),
        gates=partial(step_gates, options),
        recurrent=("W_h", "W_p") if options.projection else ("W_h",),
        masks=partial(masks, options),
        output_width=(lambda hidden: options.projection) if options.projection else None,
    )


def carry(options: LSTMOptions, hidden: int) -> dict[str, State]:
    """Declare h, which is what the next step reads, and c."""
    return {"h": State((options.projection or hidden,)), "c": State((hidden,))}


def masks(options: LSTMOptions, hidden: int) -> dict[str, int]:
    """Declare the random masks of a step."""
    outputs = options.projection or hidden
    return {"state": outputs, "candidate": hidden, "zoneout_h": outputs, "zoneout_c": hidden}


def params(options: LSTMOptions, inputs: int, hidden: int) -> dict[str, Param]:
    """Declare W_x, W_h and b, whose forget gate starts at `forget_bias`; with two biases also b_h, added to b."""
    names = gate_names(options)
    width, bias = len(names) * hidden, gate_bias(options.forget_bias, names)
    outputs = options.projection or hidden
    declared = {"W_x": Param((inputs, width), uniform(hidden)), "W_h": Param((outputs, width), uniform(hidden))}
    if options.projection:
        declared["W_p"] = Param((hidden, outputs), uniform(hidden))
    if options.layer_norm:  # its own bias comes after the normalization
        declared |= {"gain": Param((width,), ones), "bias": Param((width,), bias)}
        declared |= {"gain_c": Param((hidden,), ones), "bias_c": Param((hidden,), zeros)}
    else:
        declared["b"] = Param((width,), bias)
    if options.biases == 2:
        declared["b_h"] = Param((width,), zeros)
    if options.peepholes:
        declared |= {f"p_{name}": Param((hidden,), uniform(hidden)) for name in names if name != "g"}
    return declared


def gate_names(options: LSTMOptions) -> str:
    """Return the letters of the gates that have pre-activations of their own, in order."""
    return "fgo" if options.input_gate == "coupled" else "ifgo"


def gate_bias(forget_bias: float, names: str = "ifgo") -> Initializer:
    """Return an initializer of the bias of gates, which is zero but for the forget gate."""

    def bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.repeat(jnp.array([forget_bias if name == "f" else 0.0 for name in names]), shape[0] // len(names))

    return bias


def gates(options: LSTMOptions, vectors: Params, carry: Carry, a_BG: jax.Array) -> Gates:
    """Return the activations of the gates."""
    return run(options, vectors, carry[1], a_BG)[0]


def update(options: LSTMOptions, vectors: Params, carry: Carry, a_BG: jax.Array, masks: Masks = NO_MASKS) -> Carry:
    """Return (h, c) after one step; with zoneout h reads c as it is without."""
    gate, c_BH = run(options, vectors, carry[1], a_BG, masks)
    read_BH = normalize(c_BH, vectors["gain_c"], vectors["bias_c"]) if options.layer_norm else c_BH
    h_BH, c_BH = gate["o"] * jnp.tanh(read_BH), zone_out(masks, "zoneout_c", carry[1], c_BH)
    return h_BH if options.projection else zone_out(masks, "zoneout_h", carry[0], h_BH), c_BH


def step_gates(options: LSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike) -> Gates:
    """Return the activations of the gates, from the projected input."""
    return gates(options, params, carry, u_BG + product(carry[0], params["W_h"], dtype))


def step(
    options: LSTMOptions, params: Params, carry: Carry, u_BG: jax.Array, dtype: DTypeLike, masks: Masks = NO_MASKS
) -> Carry:
    """Return (h, c) after one step, from the projected input."""
    a_BG = u_BG + product(drop(masks, "state", carry[0]), params["W_h"], dtype)
    h_BH, c_BH = update(options, params, carry, a_BG, masks)
    if options.projection:
        h_BH = zone_out(masks, "zoneout_h", carry[0], product(h_BH, params["W_p"], dtype))
    return h_BH, c_BH


def run(
    options: LSTMOptions, vectors: Params, c_BH: jax.Array, a_BG: jax.Array, masks: Masks = NO_MASKS
) -> tuple[Gates, jax.Array]:
    """Run a step from the pre-activations: -> (activations of the gates, c after it)."""
    if "b_h" in vectors:
        a_BG = a_BG + vectors["b_h"][None, :]
    names = gate_names(options)
    a = dict(zip(names, jnp.split(a_BG, len(names), axis=-1), strict=True))
    if options.layer_norm:
        gains, biases = (jnp.split(vectors[name], len(names)) for name in ("gain", "bias"))
        a = {name: normalize(a[name], gain, bias) for name, gain, bias in zip(names, gains, biases, strict=True)}

    def peep(name: str, c_BH: jax.Array) -> jax.Array:
        return a[name] + vectors[f"p_{name}"][None, :] * c_BH if options.peepholes else a[name]

    f = jax.nn.sigmoid(peep("f", c_BH))
    i = 1 - f if options.input_gate == "coupled" else jax.nn.sigmoid(peep("i", c_BH))
    if options.input_gate == "capped":
        i = jnp.minimum(i, 1 - f)
    g = jnp.tanh(a["g"])
    c_BH = f * c_BH + i * drop(masks, "candidate", g)
    return {"i": i, "f": f, "g": g, "o": jax.nn.sigmoid(peep("o", c_BH))}, c_BH


def normalize(x_BH: jax.Array, gain_H: jax.Array, bias_H: jax.Array) -> jax.Array:
    """Normalize each row to mean 0 and variance 1, then scale and shift it."""
    return standardize(x_BH) * gain_H[None, :] + bias_H[None, :]


def standardize(x: jax.Array) -> jax.Array:
    """Normalize the last axis to mean 0 and variance 1."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + EPSILON)
