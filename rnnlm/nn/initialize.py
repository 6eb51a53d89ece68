"""Initial values of the params, by the methods that `model.init` names.

  default           each module's own, with matrices that no step multiplies by times `model.init_gain`
  uniform           U(-scale, scale) for all but biases that start at another constant than 0 (char-rnn)
  normal            N(0, scale^2) for matrices (min-char-rnn)
  orthogonal        orthonormal rows or columns of each matrix, times scale (Saxe et al. 2014)
  orthogonal_gates  as orthogonal, for the columns of each gate apart
  torch_rnn         N(0, 1 / (D + H)) for the matrices of cells (torch-rnn)
  lamb              N(0, 1.3 / rows) cut at two standard deviations for matrices; the biases of cells likewise, around
                    their own start (google-deepmind/lamb)

A method has no say in what a cell draws in a way of its own, such as W_h of irnn, or in gains of normalizations.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from rnnlm.cells.cell import Initializer, Param, Uniform, normal, ones, scale
from rnnlm.config import ModelConfig

DEFAULT_SCALES = {"uniform": 0.08, "normal": 0.01, "orthogonal": 1.0, "orthogonal_gates": 1.0}
"""What `model.init_scale` is where it is 0."""
LAMB_VARIANCE = 1.3
"""Variance of lamb's draws before they are cut, times the rows; afterwards it is 1.006."""


@dataclass(frozen=True)
class Initialization:
    """Hold `model.init`, `init_scale`, `init_gain` and `init_embedding`, and initialize the params by them."""

    method: str = "default"
    scale: float = 0.0
    gain: float = 1.0
    embedding: float = 0.0

    @classmethod
    def from_config(cls, config: ModelConfig) -> "Initialization":
        """Return the initialization that a config asks for."""
        return cls(config.init, config.init_scale, config.init_gain, config.init_embedding)

    def of_cell(self, param: Param, recurrent: bool, inputs: int, hidden: int) -> Param:
        """Return a param of a cell with D inputs and H units, which the steps may multiply by, with its initializer."""
        if self.method == "torch_rnn" and is_drawn(param):
            return param._replace(init=partial(draw_normal, (inputs + hidden) ** -0.5))
        if self.method == "orthogonal_gates" and is_drawn(param) and param.shape[1] % hidden == 0:
            return param._replace(init=partial(draw_orthogonal, self.effective_scale, hidden))
        if self.method == "lamb" and len(param.shape) == 1 and param.init is not ones:
            return param._replace(init=partial(add_draws, partial(draw_truncated, hidden), param.init))
        return self.of_module(param) if self.method != "default" or not recurrent else param

    def of_module(self, param: Param) -> Param:
        """Return a param of a block or of the head with its initializer."""
        if self.method in ("default", "torch_rnn"):
            return scale(param, self.gain)
        if is_drawn(param):
            return param._replace(init=self.matrix_initializer())
        if self.method == "uniform" and len(param.shape) == 1:
            return param._replace(init=partial(draw_where_zero, Uniform(self.effective_scale), param.init))
        return param

    def matrix_initializer(self) -> Initializer:
        """Return the initializer of a matrix by the method."""
        if self.method == "uniform":
            return Uniform(self.effective_scale)
        if self.method == "normal":
            return partial(draw_normal, self.effective_scale)
        return (
            partial(draw_truncated, 0) if self.method == "lamb" else partial(draw_orthogonal, self.effective_scale, 0)
        )

    def of_embedding(self, param: Param) -> Param:
        """Return the embedding's table with its initializer."""
        if self.embedding:
            return param._replace(init=Uniform(self.embedding))
        if self.method == "lamb":
            return param._replace(init=partial(draw_truncated, param.shape[1]))
        return self.of_module(param)

    @property
    def effective_scale(self) -> float:
        """Return `model.init_scale`, or what the method has where that is 0."""
        return self.scale or DEFAULT_SCALES[self.method]


DEFAULT = Initialization()
"""The default method without a gain."""


def is_drawn(param: Param) -> bool:
    """Return whether a param is a matrix that is drawn as most are, and not in a way of its cell's own."""
    return len(param.shape) == 2 and (isinstance(param.init, Uniform) or param.init is normal)


def draw_normal(deviation: float, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw from N(0, deviation^2)."""
    return deviation * normal(key, shape)


def draw_truncated(fan: int, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw from N(0, 1.3 / fan), cut at two standard deviations; fan 0: the rows."""
    deviation = math.sqrt(LAMB_VARIANCE / (fan or shape[0]))
    return deviation * jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)


def draw_orthogonal(factor: float, columns: int, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw a matrix whose rows or columns, whichever are fewer, are orthonormal, times a factor.

    With `columns` each block of so many columns is such a matrix.
    """
    blocks = shape[1] // columns if columns else 1
    draws = jax.nn.initializers.orthogonal(factor)
    width = (shape[0], shape[1] // blocks)
    return jnp.concatenate([draws(k, width, jnp.float32) for k in jax.random.split(key, blocks)], axis=1)


def draw_where_zero(draw: Initializer, start: Initializer, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Start a vector as it starts by default, and draw the entries that are 0 there."""
    own = start(key, shape)
    return jnp.where(own == 0, draw(key, shape), own)


def add_draws(draw: Initializer, start: Initializer, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Start a vector as it starts by default, with draws added."""
    return start(key, shape) + draw(key, shape)
