"""The program rnnlm itself: training, compiling, memory and sampling as in real use, and the peak matrix product."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Work, accelerator_memory
from rnnlm.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig


def variants(device: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings to try: on a GPU also loops over time as CUDA graphs, which are off by default."""
    return [{}, {"env": {"XLA_FLAGS": "--xla_gpu_enable_command_buffer=+WHILE"}}] if device == "gpu" else [{}]


def config(task: dict[str, Any]) -> Config:
    """Return the config of the model that every peer builds: embedding of the hidden width, LSTM, clipped Adam.

    A task may name another `cell`, and `options` of it, or give the whole `config`.
    """
    if "config" in task:
        return Config.from_dict(task["config"])
    cell = task.get("cell", "lstm")
    options = {cell: replace(getattr(ModelConfig(), cell), **task["options"])} if task.get("options") else {}
    return Config(
        data=DataConfig(corpus="", symbols="byte"),
        model=ModelConfig(
            cell=cell,
            layers=task["layers"],
            hidden=task["hidden"],
            embedding=task["hidden"],
            dtype=task.get("dtype", "float32"),
            **options,
        ),
        train=TrainConfig(batch=task.get("batch", 1), window=task.get("window", 1), remat=task.get("remat", 0)),
        optim=OptimConfig(learning_rate=1e-3),
    )


def train(task: dict[str, Any]) -> Work:
    """Prepare training steps as the loop runs them; one unit is one step, with its batch put on the devices."""
    from rnnlm.runtime import devices, parallel

    settings = config(task)
    devices.tune_malloc()
    devices.configure(task.get("devices", 0), compile_cache=False, lanes=settings.train.batch)
    import jax

    from rnnlm.nn import size
    from rnnlm.training import optim, state
    from rnnlm.training.step import state_to_devices, train_step

    optimizer = optim.make_optimizer(settings.optim, optim.make_schedule(settings.optim, 1, 1.0))
    step = train_step(settings, task["vocab"], optimizer)
    train_state = state_to_devices(settings.model, state.create(settings, task["vocab"], optimizer))
    rng, lanes = np.random.default_rng(0), parallel.local_lanes(settings.train.batch)
    shape = (lanes.stop - lanes.start, settings.train.window)
    batch = (*rng.integers(0, task["vocab"], (2, *shape), dtype=np.int32), np.zeros(shape, bool))
    pending = None
    params = size.count_params(settings.model, task["vocab"])
    facts: dict[str, Any] = {"devices": parallel.device_names(), "params": params}

    def work(n: int) -> None:
        nonlocal train_state, pending
        for _ in range(n):
            train_state, metrics = step(train_state, *parallel.shard(batch))
            if pending is not None:
                jax.device_get(pending)
            pending = metrics
        jax.block_until_ready(train_state)
        facts.update(accelerator_memory())

    return work, facts


def compile(task: dict[str, Any]) -> Work:
    """Prepare compiling; one unit traces, compiles and runs one step without a cache of compiled programs."""
    import jax

    work, facts = train(task)

    def compile_and_run(n: int) -> None:
        for _ in range(n):
            jax.clear_caches()
            work(1)

    return compile_and_run, facts


def memory(task: dict[str, Any]) -> Work:
    """Prepare training steps, with the memory of the process before the first one among the facts."""
    work, facts = train(task)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return work, facts | {"before_bytes": pages * os.sysconf("SC_PAGE_SIZE")}


def sample(task: dict[str, Any]) -> Work:
    """Prepare sampling; one unit is 64 symbols in each stream."""
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
    """Prepare square matrix products on all cores or the accelerator; one unit is one product."""
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
