"""Look up rows of a table by symbol, and sum their cotangents into the gradient of the table."""

from functools import partial

import jax
import jax.numpy as jnp

ONE_HOT_SIZE = 2**23
"""Numbers of the largest one-hot matrix of `one_hot_matmul`: 32 MiB in float32."""


@jax.custom_vjp
def embed(table_VG: jax.Array, x_TB: jax.Array) -> jax.Array:
    """Look up the table's row of each symbol: -> [T, B, G], equal to the product with one-hot vectors."""
    return jnp.asarray(table_VG).at[x_TB].get(mode="promise_in_bounds")


def _embed_fwd(table_VG: jax.Array, x_TB: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return embed(table_VG, x_TB), (x_TB, table_VG)


def _embed_bwd(residuals: tuple[jax.Array, jax.Array], d_TBG: jax.Array) -> tuple[jax.Array, None]:
    x_TB, table_VG = residuals
    # On a CPU adding row by row takes a third of the product's time. A GPU adds rows in varying order: sums would vary.
    sums = {"cpu": partial(segment_sum, len(table_VG)), "default": partial(one_hot_matmul, len(table_VG))}
    return jax.lax.platform_dependent(x_TB.reshape(-1), d_TBG.reshape(-1, d_TBG.shape[-1]), **sums), None


embed.defvjp(_embed_fwd, _embed_bwd)


def segment_sum(vocab: int, x_N: jax.Array, d_NG: jax.Array) -> jax.Array:
    """Sum the rows d_NG of each symbol: [V, G]."""
    return jnp.zeros((vocab, d_NG.shape[1]), d_NG.dtype).at[x_N].add(d_NG, mode="promise_in_bounds")


def one_hot_matmul(vocab: int, x_N: jax.Array, d_NG: jax.Array, size: int = ONE_HOT_SIZE) -> jax.Array:
    """Sum the rows d_NG of each symbol by products with one-hot matrices of at most `size` numbers: [V, G]."""
    rows = max(1, size // vocab)
    if len(x_N) <= rows:
        return _sum_rows(vocab, x_N, d_NG)
    pieces = -(-len(x_N) // rows)
    rows = -(-len(x_N) // pieces)

    def add_piece(i: jax.Array, sum_VG: jax.Array) -> jax.Array:
        # The last piece begins early, so that no row is padded; rows of the piece before it get no symbol.
        begin = jnp.minimum(i * rows, len(x_N) - rows)
        x = jax.lax.dynamic_slice_in_dim(x_N, begin, rows)
        x = jnp.where(begin + jnp.arange(rows) < i * rows, vocab, x)
        return sum_VG + _sum_rows(vocab, x, jax.lax.dynamic_slice_in_dim(d_NG, begin, rows))

    zeros = jnp.zeros((vocab, d_NG.shape[1]), d_NG.dtype)
    return jax.lax.fori_loop(0, pieces, add_piece, zeros)


def _sum_rows(vocab: int, x_N: jax.Array, d_NG: jax.Array) -> jax.Array:
    """Sum the rows of each symbol by one product; a symbol of `vocab` is none."""
    return jnp.dot(jax.nn.one_hot(x_N, vocab, dtype=d_NG.dtype).T, d_NG, precision=jax.lax.Precision.HIGHEST)
