"""What is refused for lack of memory could not have fitted, and what is there is read from the machine."""

import inspect

import jax
import numpy as np
import pytest

from rnnlm.errors import UserError
from rnnlm.runtime import memory, parallel
from rnnlm.training import footprint, optim, state, step
from rnnlm.training.plateau import UNDECIDED
from tests.conftest import tiny

V = 60
WIDE = {"model__hidden": 64, "train__window": 32, "train__batch": 32}


def optimizer_of(config):
    return optim.make_optimizer(config.optim, lambda step: 0.1)


def bytes_of_xla(config):
    """Return the bytes that XLA's compiled training step holds at once."""
    optimizer = optimizer_of(config)
    on_devices = step.state_to_devices(config.model, state.create(config, V, optimizer))
    x = np.zeros((config.train.batch, config.train.window), np.int32)
    compiled = inspect.getclosurevars(step.train_step(config, V, optimizer)).nonlocals["compiled"]
    window = parallel.shard((x, x, x > 0))
    lowered = compiled.lower(on_devices.params, on_devices._replace(params={}), UNDECIDED, *window)
    found = lowered.compile().memory_analysis()
    total = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return total - found.alias_size_in_bytes


@pytest.mark.parametrize(
    "options",
    [
        {"model__hidden": 12},
        {"model__hidden": 128, "model__layers": 5},
        WIDE | {"optim__ema": 0.9, "model__cell": "gru"},
        WIDE | {"train__remat": 8, "model__cell": "rnn"},
        WIDE | {"train__accumulate": 4, "optim__name": "sgd", "optim__momentum": 0.0, "optim__clip_norm": 0.0},
        WIDE | {"model__dtype": "bfloat16", "model__embedding": 64, "model__tied": True, "optim__name": "adamw"},
    ],
)
def test_the_least_bytes_are_no_more_than_what_the_step_takes(options):
    config = tiny(**options)
    least, taken = sum(footprint.least_bytes(config, V, optimizer_of(config)).values()), bytes_of_xla(config)
    assert taken / 4 < least <= taken


@pytest.mark.parametrize(
    "options, lower",
    [
        ({"model__hidden": 10**6}, r"lower model.hidden \(1,000,000\)\."),
        (
            {"model__layers": 200, "model__hidden": 10**4},
            r"lower model.hidden \(10,000\) or model.layers \(200\)",
        ),
        ({"model__embedding": 10**10}, r"lower model.embedding \(10,000,000,000\)"),
        ({"train__window": 10**10}, r"lower train.batch \(4\) or train.window \(10,000,000,000\), or set train.acc"),
        ({"model__sizes": (10**6, 8)}, r"lower model.sizes \(1,000,000, 8\)"),
    ],
)
def test_what_takes_most_is_to_be_lowered(options, lower):
    config = tiny(**options)
    with pytest.raises(UserError, match=rf"Training needs at least [0-9,.]+ GB .* GB are there: {lower}"):
        footprint.refuse_too_large(config, V, optimizer_of(config))


def tree(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


MEMINFO = "MemTotal:       9000 kB\nMemAvailable:   5000 kB\nSwapFree:        100 kB\n"
STAT = "anon 7\nactive_file 300000\ninactive_file 24000\n"


@pytest.mark.parametrize(
    "groups, membership, there",
    [
        ({}, "0::/a", 5100 * 1024),
        ({"a/memory.max": "max", "a/memory.current": "1", "a/memory.stat": STAT}, "0::/a/b", 5100 * 1024),
        (
            {"a/memory.max": "2000000", "a/memory.current": "900000", "a/memory.stat": STAT},
            "0::/a/b",
            1_424_000 + 100 * 1024,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "1000000",
                "memory/memory.usage_in_bytes": "500000",
                "memory/memory.stat": "total_inactive_file 5\nactive_file 99\n",
            },
            "9:cpu:/x\n4:memory:/docker/x\n0::/",
            500_005 + 100 * 1024,
        ),
    ],
)
def test_the_binding_limit_is_found(tmp_path, groups, membership, there):
    proc = tree(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": f"{membership}\n"})
    assert memory.host_bytes(proc, tree(tmp_path / "cgroup", groups)) == there
    assert memory.host_bytes(tmp_path / "none") is None


def test_this_machine_has_memory_for_each_of_its_devices():
    there = memory.device_bytes()
    assert there is None or 10**7 < there * jax.local_device_count() < 10**15
