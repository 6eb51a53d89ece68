"""Random masks, which depend on the lane and the time step, not on the device: dropout, zoneout, weight-drop."""

import jax
import jax.numpy as jnp

from rnnlm.cells import Cell, Params
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError

MASKS = {
    "state": "dropout_state",
    "candidate": "dropout_candidate",
    "zoneout_h": "zoneout_h",
    "zoneout_c": "zoneout_c",
    "inner": "dropout_inner",
}
"""The key of `model` that switches each random mask of a cell on."""
CELL_MASKS = 1 << 17
"""Added to the number of a mask in the keys of lanes, so that they differ from those of other places."""
EMBEDDING_SITE, TOKEN_SITE = CELL_MASKS - 1, CELL_MASKS - 2
"""The numbers of the places where whole symbols are dropped, as `dropout` takes them."""


def dropout(keys_B: jax.Array | None, window: bool, x_TBD: jax.Array, rate: float, site: jax.Array | int) -> jax.Array:
    """Zero each unit with probability `rate` (to within 2^-16) and scale the rest.

    There is one mask for each time step, or one for the whole `window`, the variational dropout of Gal and Ghahramani
    2016. `site` numbers the place in the model, so that no two places share a mask. Without keys nothing is dropped.
    """
    if keys_B is None or rate == 0:
        return x_TBD
    time, _, width = x_TBD.shape
    mask = draw(keys_B, site, 1 if window else time, width, rate)
    return jnp.where(mask, x_TBD * keep_factor(rate), jnp.zeros_like(x_TBD))


def draw(keys_B: jax.Array, site: jax.Array | int, time: int, width: int, rate: float) -> jax.Array:
    """Draw which units of each lane are kept, with probability 1 - `rate`: booleans [time, B, width]."""
    keep = max(1, round((1 - rate) * 2**16))
    if keep == 2**16:  # which 16 bits do not hold
        return jnp.ones((time, len(keys_B), width), bool)

    def lane_mask(key: jax.Array) -> jax.Array:
        return jax.random.bits(jax.random.fold_in(key, site), (time, width), jnp.uint16) < keep

    return jax.vmap(lane_mask, out_axes=1)(keys_B)


def keep_factor(rate: float) -> float:
    """Return the factor of what dropout keeps, so that the mean stays."""
    return float(2**16 / max(1, round((1 - rate) * 2**16)))


def cell_masks(
    config: ModelConfig, cell: Cell, hidden: int, keys_B: jax.Array | None, layer: jax.Array | int, time: int
) -> dict[str, jax.Array]:
    """Draw the random masks of a window of a layer, float32 [T or 1, B or 1, width], by name.

    Those of dropout are drawn for each step or window, as the config says, those of zoneout for each step.
    Without keys nothing is dropped, and zoneout takes its expected value, the same share of each unit.
    """
    masks = {}
    for i, (name, width) in enumerate(cell.mask_widths(hidden).items()):
        rate, site = getattr(config, MASKS[name]), CELL_MASKS + layer * len(MASKS) + i
        zones = name.startswith("zoneout")
        if not rate or (keys_B is None and not zones):
            continue
        if keys_B is None:
            masks[name] = jnp.full((1, 1, width), rate, jnp.float32)
        elif zones:
            masks[name] = 1.0 - draw(keys_B, site, time, width, rate)
        else:
            span = config.dropout_state_mask if name == "state" else config.dropout_mask
            masks[name] = draw(keys_B, site, 1 if span == "window" else time, width, rate) * keep_factor(rate)
    return masks


def drop_symbols(
    config: ModelConfig, keys_B: jax.Array | None, x_BT: jax.Array, x_TBE: jax.Array, vocab: int
) -> jax.Array:
    """Zero the inputs of some symbols of the vocabulary for a whole window, and of some time steps; scale the rest.

    The first are drawn for each lane (Gal and Ghahramani 2016); the second are the word dropout of Bowman et al. 2016.
    """
    if keys_B is None:
        return x_TBE
    if rate := config.dropout_embedding:
        kept_BV = draw(keys_B, EMBEDDING_SITE, 1, vocab, rate)[0]
        kept_BT = jnp.take_along_axis(kept_BV, x_BT, axis=1)
        x_TBE = jnp.where(kept_BT.T[:, :, None], x_TBE * keep_factor(rate), 0.0)
    if rate := config.dropout_token:
        x_TBE = jnp.where(draw(keys_B, TOKEN_SITE, x_TBE.shape[0], 1, rate), x_TBE * keep_factor(rate), 0.0)
    return x_TBE


def drop_weights(config: ModelConfig, cell: Cell, params: Params, key: jax.Array) -> Params:
    """Zero each recurrent weight with probability `weight_drop` and scale the rest.

    That is DropConnect (Wan et al. 2013) as in Merity et al. 2018. All lanes share the mask.
    """
    rate, dropped = config.weight_drop, dict(params)
    for i in range(len(config.hidden_sizes)):
        layer = dict(params[f"layer_{i}"])
        for j, name in enumerate(cell.recurrent):
            if name in layer:
                w = layer[name]
                mask_key = jax.random.fold_in(jax.random.fold_in(key, i), j)
                kept = draw(mask_key[None], 0, 1, w.size, rate).reshape(w.shape)
                layer[name] = jnp.where(kept, w * keep_factor(rate), 0.0)
        dropped[f"layer_{i}"] = layer
    return dropped


def draws_masks(config: ModelConfig) -> bool:
    """Return whether training draws a key for each lane, for dropout or zoneout."""
    return draws_by_window(config) or draws_by_step(config)


def draws_by_window(config: ModelConfig) -> bool:
    """Return whether some mask is drawn for a whole window."""
    return config.dropout_embedding > 0 or draws_units(config, "window")


def draws_by_step(config: ModelConfig) -> bool:
    """Return whether some mask is drawn for each step."""
    every_step = max(config.dropout_token, config.zoneout_h, config.zoneout_c)
    return every_step > 0 or draws_units(config, "step")


def draws_units(config: ModelConfig, span: str) -> bool:
    """Return whether a mask of units is drawn for each such span, step or window."""
    c = config
    rate = max(c.dropout, c.dropout_input, c.dropout_output, c.dropout_candidate, c.dropout_inner)
    return (c.dropout_mask == span and rate > 0) or (c.dropout_state_mask == span and c.dropout_state > 0)


def check_masks(config: ModelConfig, cell: Cell) -> None:
    """Raise UserError for a random mask that the cell cannot have, and for one of the cell's that does not exist."""
    known = cell.mask_widths(cell.hidden_multiple)
    if unknown := known.keys() - MASKS.keys():
        raise UserError(
            f"model.cell={config.cell} declares a mask {min(unknown)!r}, but the masks are {', '.join(MASKS)}."
        )
    for name, key in MASKS.items():
        if getattr(config, key) and name not in known:
            has = [MASKS[mask] for mask in known]
            raise UserError(
                f"model.{key}={getattr(config, key)} is not for model.cell={config.cell}, which has no such mask: "
                + (f"it has {', '.join(has)}." if has else "take model.dropout, or a cell such as lstm.")
            )
    if config.weight_drop and not cell.recurrent:
        raise UserError(
            f"model.weight_drop={config.weight_drop} drops weights of the matrices that a step multiplies by, "
            f"but model.cell={config.cell} has none: take model.dropout."
        )
