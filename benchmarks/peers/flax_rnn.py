"""The peer flax: nn.RNN(OptimizedLSTMCell) in a training step that does the work of rnnlm's."""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.peers import MALLOC_ENV, Work, accelerator_memory


def variants(device: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings to try: default ones, and on a CPU also rnnlm's number of devices, XLA flags and malloc."""
    import jax

    from rnnlm.runtime.devices import CPU_FLAGS, cores_for

    if device == "gpu":
        graphs = {"XLA_FLAGS": "--xla_gpu_enable_command_buffer=+WHILE"}
        return [{"devices": 1, "unroll": unroll, "env": env} for unroll in (1, 5) for env in ({}, graphs)]
    ours = MALLOC_ENV | {"XLA_FLAGS": CPU_FLAGS.get(jax.__version__.rpartition(".")[0], "")}
    return [{"devices": n, "env": env} for n in sorted({1, cores_for(task["batch"])}) for env in ({}, ours)]


def train(task: dict[str, Any]) -> Work:
    """Prepare training steps of `nn.RNN` with a cell of flax; one unit is one step."""
    import flax.linen as nn
    import jax.numpy as jnp

    hidden, dtype = task["hidden"], jnp.dtype(task.get("dtype", "float32"))
    cells = {
        "lstm": nn.OptimizedLSTMCell,
        "gru": nn.GRUCell,
        "rnn": nn.SimpleCell,
        "irnn": partial(nn.SimpleCell, activation_fn=nn.relu),
    }

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, carry: Any, x: Any) -> Any:
            cell = cells[task.get("cell", "lstm")](hidden, dtype=dtype)
            rnn = nn.RNN(cell, return_carry=True, time_major=True, unroll=task.get("unroll", 1))
            return rnn(x, initial_carry=carry)

    shape = (task["batch"] // task["devices"], hidden)
    is_lstm = task.get("cell", "lstm") == "lstm"
    return train_steps(task, Layer, lambda: (jnp.zeros(shape),) * 2 if is_lstm else jnp.zeros(shape))


def train_steps(task: dict[str, Any], layer: Callable[[], Any], start: Callable[[], Any]) -> Work:
    """Prepare training steps of layers (carry, x_TBD) -> (carry, h_TBH).

    `layer` makes one, and `start` the carry of a device's lanes; neither is called before jax has its devices.
    """
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    vocab, hidden, devices = task["vocab"], task["hidden"], task["devices"]
    if devices > 1:
        jax.config.update("jax_num_cpu_devices", devices)
    lanes = task["batch"] // devices
    dtype = jnp.dtype(task.get("dtype", "float32"))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry: Any, x: Any) -> Any:
            x = nn.Embed(vocab, hidden, dtype=dtype)(x)
            after = []
            for i in range(task["layers"]):
                layer_carry, x = layer()(carry[i], x)
                after.append(layer_carry)
            return tuple(after), nn.Dense(vocab, dtype=dtype)(x).astype(jnp.float32)

    net = Net()
    zero = tuple(start() for _ in range(task["layers"]))
    x, y = np.random.default_rng(0).integers(0, vocab, (2, task["window"], task["batch"]), dtype=np.int32)
    params = jax.jit(net.init)(jax.random.key(0), zero, x[:, :lanes])
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))

    def step(params: Any, opt_state: Any, carry: Any, x: Any, y: Any) -> Any:
        def loss(params: Any) -> Any:
            after, logits = net.apply(params, carry, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), after

        (nats, carry), grads = jax.value_and_grad(loss, has_aux=True)(params)
        if devices > 1:
            nats, grads = jax.lax.pmean((nats, grads), "data")
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, carry), nats

    carry = jax.tree.map(jnp.copy, zero)
    if devices > 1:
        axes = (None, None, 0, 1, 1)
        run = jax.pmap(step, "data", in_axes=axes, out_axes=((None, None, 0), None), donate_argnums=(0, 1, 2))
        carry = jax.tree.map(lambda a: jnp.stack([a] * devices), zero)
        x, y = (a.reshape(task["window"], devices, lanes) for a in (x, y))
    else:
        run = jax.jit(step, donate_argnums=(0, 1, 2))
    state = (params, optimizer.init(params), carry)
    pending = None
    facts: dict[str, Any] = {"params": sum(p.size for p in jax.tree.leaves(params))}

    def work(n: int) -> None:
        nonlocal state, pending
        for _ in range(n):
            state, nats = run(*state, x, y)
            if pending is not None:
                jax.device_get(pending)
            pending = nats
        jax.block_until_ready(state)
        facts.update(accelerator_memory())

    return work, facts
