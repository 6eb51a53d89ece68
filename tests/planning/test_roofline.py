"""The estimate for an accelerator never beats what its peaks allow, and is what arithmetic on paper gives."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlm.errors import UserError
from rnnlm.nn import size
from rnnlm.planning import accelerators, roofline
from rnnlm.training import optim
from tests.conftest import tiny

V = 60
CHIP = replace(accelerators.TABLE[0], fp32=1e12, bf16=2e12, bandwidth=1e10, time_step=0.0)


def parts_of(config, chip=CHIP):
    optimizer = optim.make_optimizer(config.optim, lambda step: 0.1)
    return roofline.step_seconds(config, V, optimizer, chip, config.train.batch)


@settings(max_examples=30)
@given(
    cell=st.sampled_from(["rnn", "lstm", "gru", "gru_before", "lru"]),
    layers=st.integers(1, 3),
    hidden=st.sampled_from([8, 100, 700]),
    embedding=st.sampled_from([0, 30]),
    batch=st.sampled_from([1, 16, 512]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_it_takes_longer_than_the_peaks_allow(cell, layers, hidden, embedding, batch, dtype):
    config = tiny(
        model__cell=cell,
        model__layers=layers,
        model__hidden=hidden,
        model__embedding=embedding,
        model__dtype=dtype,
        train__batch=batch,
    )
    parts, symbols = parts_of(config), batch * config.train.window
    seconds, peak = sum(parts.values()), CHIP.bf16 if dtype == "bfloat16" else CHIP.fp32
    assert seconds >= symbols * 3 * size.flops_per_symbol(config.model, V) / peak
    recurrent = sum(layer.weight_bytes for layer in roofline.layers_of(config.model, V))
    assert parts["time steps"] >= 2 * config.train.window * recurrent / CHIP.bandwidth
    slower = parts_of(config, replace(CHIP, bandwidth=CHIP.bandwidth / 2, fp32=CHIP.fp32 / 2, bf16=CHIP.bf16 / 2))
    assert sum(slower.values()) == pytest.approx(2 * seconds)


def test_the_flops_of_the_parts_are_those_of_the_model():
    for options in ({}, {"model__embedding": 9}, {"model__cell": "gru_before"}, {"model__cell": "flax.linen:GRUCell"}):
        config = tiny(model__layers=3, **options).model
        layers = roofline.layers_of(config, V)
        head = 2.0 * config.hidden * V
        counted = sum(layer.input_flops + layer.recurrent_flops for layer in layers) + head
        assert counted == size.flops_per_symbol(config, V)


def test_a_single_lane_is_bound_by_the_traffic_of_the_recurrent_weights():
    """Each of 8 time steps reads W_h [H, 4 H] forward and back, whatever is computed with it."""
    config = tiny(model__hidden=1000, model__layers=1, train__batch=1)
    weights, values = 4 * 4_000_000, 4 * (4000 + 2 * 2000)
    expected = 8 * (2 * weights + 3 * values) / (0.7 * 1e10)
    assert parts_of(config)["time steps"] == pytest.approx(expected)
    assert parts_of(replace(config, model=replace(config.model, dtype="bfloat16")))["time steps"] < 0.51 * expected
    assert parts_of(config, replace(CHIP, time_step=1.0))["time steps"] == pytest.approx(expected + 8 * 2)


def test_many_lanes_are_bound_by_their_products():
    config = tiny(model__hidden=1000, model__layers=1, train__batch=4096)
    flops = 8 * 4096 * 2 * 4_000_000 * 2
    assert parts_of(config)["time steps"] == pytest.approx(flops / (0.5 * 1e12))
    head, gradients = 3 * 2 * 1000 * V, 2 * 4_000_000
    whole = 8 * 4096 * (head + gradients) / (0.5 * 1e12)
    assert parts_of(config)["products of whole windows"] == pytest.approx(whole)


def test_pieces_read_the_weights_again_and_remat_runs_forward_twice():
    once = parts_of(tiny(model__hidden=1000, train__batch=2))["time steps"]
    pieces = parts_of(tiny(model__hidden=1000, train__batch=2, train__accumulate=2))["time steps"]
    twice = parts_of(tiny(model__hidden=1000, train__batch=2, train__remat=4))["time steps"]
    assert pieces == pytest.approx(2 * once, rel=0.01) and twice == pytest.approx(1.5 * once, rel=0.01)


@given(size=st.integers(1, 10**10), devices=st.integers(1, 1000))
def test_the_all_reduce_sends_each_byte_at_most_twice(size, devices):
    seconds = roofline.all_reduce_seconds(size, devices, 1e9)
    assert seconds == pytest.approx(2 * (devices - 1) / devices * size / 0.7e9)
    assert (seconds == 0) == (devices == 1) and seconds <= 2 * size / 0.7e9


def test_accelerators_are_found_by_name():
    assert accelerators.find("tpu v5e") is accelerators.find("TPU-v5e") is accelerators.ACCELERATORS["TPUv5e"]
    with pytest.raises(UserError, match="the known ones are H100, H200, A100, TPUv5e, TPUv5p"):
        accelerators.find("V100")


def test_beyond_a_node_the_network_bounds_the_ring():
    h100, tpu = accelerators.find("H100"), accelerators.find("TPUv5e")
    assert h100.link_of(8) == 450e9 > h100.link_of(9) == 400e9
    assert tpu.link_of(256) == tpu.link
