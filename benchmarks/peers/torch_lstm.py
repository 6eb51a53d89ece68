"""The peer PyTorch: nn.LSTM (oneDNN on a CPU, cuDNN on a GPU) in a training step that does the work of rnnlm's."""

import os
from typing import Any

from benchmarks.peers import MALLOC_ENV, Work


def variants(device: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings to try: compiled or not, by dtype on a GPU, by allocator on a CPU."""
    if device == "gpu":  # cuDNN: float32 as TF32, and bfloat16 by autocast
        return [
            {"compile": compiled, "dtype": dtype} for compiled in (False, True) for dtype in ("float32", "bfloat16")
        ]
    # One thread is half as fast at every shape of the contest.
    threads = len(os.sched_getaffinity(0))
    return [
        {"threads": threads, "compile": compiled, "env": env} for compiled in (False, True) for env in ({}, MALLOC_ENV)
    ]


def net(task: dict[str, Any]) -> Any:
    """Build the model: embedding, nn.LSTM, linear output."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            vocab, hidden = task["vocab"], task["hidden"]
            self.embedding = torch.nn.Embedding(vocab, hidden)
            self.lstm = torch.nn.LSTM(hidden, hidden, task["layers"])
            self.output = torch.nn.Linear(hidden, vocab)

        def forward(self, x: Any, carry: Any) -> Any:
            h, carry = self.lstm(self.embedding(x), carry)
            return self.output(h), carry

    return Net()


def start(task: dict[str, Any]) -> str:
    """Configure PyTorch for a task: -> the device to run on."""
    import torch

    if task.get("threads"):
        torch.set_num_threads(task["threads"])
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return "cuda" if torch.cuda.is_available() else "cpu"


def train(task: dict[str, Any]) -> Work:
    """Prepare training steps; one unit is one step."""
    import torch

    device = start(task)
    model = net(task).to(device)
    zero = torch.zeros(task["layers"], task["batch"], task["hidden"], device=device)
    return train_steps(task, model, (zero, zero.clone()))


def train_steps(task: dict[str, Any], model: Any, carry: Any) -> Work:
    """Prepare training steps of a model (x, carry) -> (logits, carry), whose carry is nested tuples of tensors."""
    import torch

    device = next(model.parameters()).device.type
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    shape = (task["window"], task["batch"])
    x, y = torch.randint(0, task["vocab"], (2, *shape), device=device)
    half = task.get("dtype") == "bfloat16"
    facts = {"torch": torch.__version__}

    def forward(x: Any, carry: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            logits, carry = model(x, carry)
            return torch.nn.functional.cross_entropy(logits.view(-1, task["vocab"]).float(), y.view(-1)), carry

    def hand_over(carry: Any) -> Any:
        if isinstance(carry, tuple):
            return tuple(map(hand_over, carry))
        facts.setdefault("lstm", str(carry.dtype))  # autocast may have chosen another dtype than the task's
        return carry.detach().float()

    run = torch.compile(forward) if task["compile"] else forward
    pending = None

    def work(n: int) -> None:
        nonlocal carry, pending
        for _ in range(n):
            loss, after = run(x, carry)
            carry = hand_over(after)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if pending is not None:
                pending.item()
            pending = loss.detach()
        pending.item()
        if device == "cuda":
            torch.cuda.synchronize()
            facts["device_bytes"] = torch.cuda.max_memory_allocated()

    return work, facts


def sample(task: dict[str, Any]) -> Work:
    """Prepare sampling at temperature 0.8; one unit is 64 symbols in each stream."""
    import torch

    device = start(task)
    model = net(task).to(device).eval()
    x = torch.zeros(1, task["streams"], dtype=torch.long, device=device)
    zero = torch.zeros(task["layers"], task["streams"], task["hidden"], device=device)

    def one(x: Any, carry: Any) -> Any:
        logits, carry = model(x, carry)
        return torch.multinomial(torch.softmax(logits[-1] / 0.8, -1), 1).T, carry

    run = torch.compile(one) if task["compile"] else one

    def work(n: int) -> None:
        symbols, carry, drawn = x, (zero, zero), []
        with torch.inference_mode():
            for _ in range(64 * n):
                symbols, carry = run(symbols, carry)
                drawn.append(symbols)
            torch.cat(drawn).cpu()

    return work, {"torch": torch.__version__}
