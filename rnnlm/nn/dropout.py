"""Dropout with masks that depend on the lane and the time step, not on the device."""

import jax
import jax.numpy as jnp


def dropout(keys_B: jax.Array | None, window: bool, x_TBD: jax.Array, rate: float, site: jax.Array | int) -> jax.Array:
    """Zero each unit with probability `rate` (to within 2^-16) and scale the rest.

    There is one mask for each time step, or one for the whole `window`, the variational dropout of Gal and Ghahramani
    2016. `site` numbers the place in the model, so that no two places share a mask. Without keys nothing is dropped.
    """
    if keys_B is None or rate == 0:
        return x_TBD
    time, _, width = x_TBD.shape
    keep = max(1, round((1 - rate) * 2**16))

    def lane_mask(key: jax.Array) -> jax.Array:
        bits = jax.random.bits(jax.random.fold_in(key, site), (1 if window else time, width), jnp.uint16)
        return bits < keep

    mask = jax.vmap(lane_mask, out_axes=1)(keys_B)
    return jnp.where(mask, x_TBD * (2**16 / keep), jnp.zeros_like(x_TBD))
