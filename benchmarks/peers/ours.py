"""rnnlm as its loop runs it: the real step, a batch put on the devices each time, metrics read one step late."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Work
from rnnlm.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig


def variants(device: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    """On a GPU also with the loops over time as CUDA graphs, which XLA does not make unless told."""
    return [{}, {"env": {"XLA_FLAGS": "--xla_gpu_enable_command_buffer=+WHILE"}}] if device == "gpu" else [{}]


def config(task: dict[str, Any]) -> Config:
    """What every peer builds: embedding as wide as the layers, LSTM, softmax; clipped Adam."""
    return Config(
        data=DataConfig(corpus="", symbols="byte"),
        model=ModelConfig(
            cell=task.get("cell", "lstm"),
            layers=task["layers"],
            hidden=task["hidden"],
            embedding=task["hidden"],
            dtype=task.get("dtype", "float32"),
        ),
        train=TrainConfig(batch=task.get("batch", 1), window=task.get("window", 1), remat=task.get("remat", 0)),
        optim=OptimConfig(learning_rate=1e-3),
    )


def train(task: dict[str, Any]) -> Work:
    from rnnlm.runtime import devices, parallel

    settings = config(task)
    devices.tune_malloc()
    devices.configure(task.get("devices", 0), compile_cache=False, lanes=settings.train.batch)
    import jax

    from rnnlm.training import optim, state
    from rnnlm.training.step import state_to_devices, train_step

    optimizer = optim.make_optimizer(settings.optim, optim.make_schedule(settings.optim, 1, 1.0))
    step = train_step(settings, task["vocab"], optimizer)
    now = state_to_devices(state.create(settings, task["vocab"], optimizer))
    draw = np.random.default_rng(0)
    shape = (task["batch"], task["window"])
    batch = (*draw.integers(0, task["vocab"], (2, *shape), dtype=np.int32), np.zeros(shape, bool))
    pending = None

    def work(n: int) -> None:
        nonlocal now, pending
        for _ in range(n):
            now, metrics = step(now, *parallel.shard(batch))
            if pending is not None:
                jax.device_get(pending)
            pending = metrics
        jax.block_until_ready(now)

    return work, {"devices": parallel.device_names()}


def compile(task: dict[str, Any]) -> Work:
    """One unit: trace, compile and run one step, as at a run's start without a cache of compiled programs."""
    import jax

    work, facts = train(task)

    def fresh(n: int) -> None:
        for _ in range(n):
            jax.clear_caches()
            work(1)

    return fresh, facts


def memory(task: dict[str, Any]) -> Work:
    """Steps; the facts say how much memory the process had before the first."""
    work, facts = train(task)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return work, facts | {"before_bytes": pages * os.sysconf("SC_PAGE_SIZE")}


def sample(task: dict[str, Any]) -> Work:
    """One unit: 64 symbols in each stream."""
    from rnnlm.runtime import devices

    devices.tune_malloc()
    devices.configure(compile_cache=False)
    import jax

    from rnnlm.generation.sampler import Sampler, SamplingOptions
    from rnnlm.generation.stepper import CHUNK, Stepper
    from rnnlm.nn import model

    settings = config(task).model
    sampler = Sampler(Stepper(settings, task["vocab"]))
    params = sampler.stepper.inference_params(model.init_params(settings, task["vocab"], jax.random.PRNGKey(0)))

    def work(n: int) -> None:
        list(
            sampler.chunks(
                params, np.zeros(1, np.int32), n * 64, SamplingOptions(temperature=0.8, seed=0), streams=task["streams"]
            )
        )

    assert CHUNK == 64
    return work, {}


def ceiling(task: dict[str, Any]) -> Work:
    """One unit: a product of two square float32 matrices on all cores, or on the accelerator in the given dtype."""
    from rnnlm.runtime import devices

    devices.tune_malloc()
    devices.configure(1, compile_cache=False)
    import jax
    import jax.numpy as jnp

    a = jax.random.normal(jax.random.PRNGKey(0), (task["size"],) * 2).astype(task.get("dtype", "float32"))
    product = jax.jit(lambda a: jnp.dot(a, a))

    def work(n: int) -> None:
        for _ in range(n):
            out = product(a)
        out.block_until_ready()

    return work, {"device": jax.devices()[0].device_kind, "backend": jax.default_backend()}
