"""A cell from outside that does not fit is refused in a sentence that names it."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from rnnlm.cells.cell import Cell, Param, uniform, vector_carry
from rnnlm.config import ModelConfig
from rnnlm.errors import UserError
from rnnlm.nn import model

H = 8
SOUND = Cell(
    lambda inputs, hidden: {"W_x": Param((inputs, hidden), uniform(hidden)), "g": Param((hidden,), uniform(1))},
    vector_carry("h", "c"),
    step=lambda params, carry, u_BG, dtype: (jnp.tanh(u_BG + params["g"][None] * carry[0]), carry[1] + 1),
)
FAULTS = {
    "too_many": {"step": lambda params, carry, u_BG, dtype: (*carry, u_BG)},
    "no_tuple": {"step": lambda params, carry, u_BG, dtype: u_BG},
    "narrow": {"step": lambda params, carry, u_BG, dtype: (u_BG[:, :3], carry[1])},
    "half": {"step": lambda params, carry, u_BG, dtype: (carry[0], carry[1].astype(jnp.bfloat16))},
    "raises": {"step": lambda params, carry, u_BG, dtype: carry.missing},
    "output": {"output": lambda params, carry, u_BG, dtype: jnp.concatenate(carry, axis=1)},
    "integer": {"output": lambda params, carry, u_BG, dtype: carry[0].astype(jnp.int32)},
    "gates": {"gates": lambda params, carry, u_BG, dtype: {"forget": u_BG[:, :3]}},
    "no_gates": {"gates": lambda params, carry, u_BG, dtype: carry.gone},
    "recurrent": {"recurrent": ("Q",)},
    "masks": {"masks": lambda hidden: {"forget": hidden}},
    "keys": {"random": True},
    "window": {"window": lambda params, carry, u_TBG, reset_TB, dtype: (carry[:1], u_TBG)},
    "last": {"window": lambda params, carry, u_TBG, reset_TB, dtype: (carry, u_TBG[-1])},
    "init": {"params": lambda inputs, hidden: {"g": Param((hidden,), lambda key, shape: jnp.ones(3))}},
}


def make(options):
    """Make the cell that has a fault."""
    return dataclasses.replace(SOUND, **FAULTS.get(options["fault"], {}))


class NoCarry(nn.RNNCellBase):
    """A flax cell without initialize_carry."""

    features: int

    @property
    def num_feature_axes(self):
        return 1


class OutputOnly(NoCarry):
    """A flax cell that returns its output only."""

    @nn.compact
    def __call__(self, carry, x):
        return nn.Dense(self.features)(x)

    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], self.features))


def init(name, **options):
    """Draw the params of a model of a cell."""
    return model.init_params(ModelConfig(cell=name, hidden=H, layers=1, options=options), 5, jax.random.PRNGKey(0))


def test_a_sound_cell_is_taken():
    assert init("tests.cells.test_check:make", fault="none")["layer_0"]["g"].shape == (H,)


@pytest.mark.parametrize(
    "fault, complaint",
    [
        ("too_many", r"returns a tuple of 3 from a step: expected a tuple of the 2 arrays of its carry \(h, c\)"),
        ("no_tuple", r"returns float32\[2, 8\] from a step: expected a tuple"),
        ("narrow", r"has h after a step as float32\[2, 3\]: expected float32\[2, 8\]"),
        ("half", r"has c after a step as bfloat16\[2, 8\]: expected float32\[2, 8\]"),
        ("raises", r"fails at line \d+ of .*test_check.py \(AttributeError: .*missing"),
        ("output", r"has the output as float32\[2, 16\]: expected float32\[2, 8\]"),
        ("integer", r"has the output as int32\[2, 8\]: expected a floating-point array"),
        ("gates", r"has the gate forget as float32\[2, 3\]: expected float32\[2, 8\]"),
        ("no_gates", r"fails at line \d+ of .*test_check.py \(AttributeError: .*gone"),
        ("recurrent", r"has no param 'Q', which its field recurrent names"),
        ("masks", r"declares a mask 'forget', but the masks are state, candidate"),
        ("keys", r"fails.* \(TypeError: .*takes 4 positional arguments but 5 were given"),
        ("window", r"returns a tuple of 1 from a window: expected a tuple of the 2 arrays of its carry"),
        ("last", r"has the output of a window as float32\[2, 8\]: expected float32\[3, 2, 8\]"),
        ("init", r"has the initial value of g as float32\[3\]: expected float32\[8\]"),
    ],
)
def test_a_cell_that_breaks_its_contract_is_refused(fault, complaint):
    with pytest.raises(UserError, match=f"model.cell=tests.cells.test_check:make {complaint}") as error:
        init("tests.cells.test_check:make", fault=fault)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, complaint",
    [("NoCarry", r"NoCarry fails \(NotImplementedError\)"), ("OutputOnly", r"OutputOnly fails \(ValueError")],
)
def test_a_flax_cell_that_breaks_its_contract_is_refused(name, complaint):
    with pytest.raises(UserError, match=complaint):
        init(f"tests.cells.test_check:{name}")


def test_a_cell_of_nnx_is_refused():
    with pytest.raises(UserError, match="gives GRUCell: expected a Cell.*not of flax.nnx"):
        init("flax.nnx:GRUCell")
