"""Helpers of the tests: strict jax, a small text, small configs, and the command line as a real process."""

import contextlib
import importlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT))

from tests import forked  # noqa: E402

# Keep temporary files in memory where it has room, since each checkpoint waits for the disk.
MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4e9:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

# Share compiled programs between the processes of one test run only.
CACHE = Path(os.environ.setdefault("RNNLM_TEST_CACHE", f"/tmp/rnnlm-tests-{os.getpid()}"))
os.environ["XDG_CACHE_HOME"] = str(CACHE)

# Programs of tests run briefly, so compile them fast; a test of the program that users have sets XLA_FLAGS to "".
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0"

settings.register_profile("untimed", deadline=None)  # no test depends on how busy the machine is
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    configure_jax()


def configure_jax() -> None:
    """Start jax as tests have it: strict, one device, quick to compile."""
    import jax

    from rnnlm.runtime import devices

    jax.config.update("jax_numpy_rank_promotion", "raise")
    os.environ["XLA_FLAGS"] = QUICK_TO_COMPILE
    devices.configure(cpu_devices=1)
    jax.devices()
    del os.environ["XLA_FLAGS"]


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def silence() -> None:
    """Drop what orbax reports late, after the test that damaged a checkpoint, as the command line does."""
    from rnnlm.runtime import quiet

    quiet.begin_silence()


def slow(*values: Any) -> Any:
    """Return the values of a parametrized test that only `make test-slow` tries."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Free the compiled programs of the tests in time, as XLA crashes where a process has 65,530 memory maps."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 30_000:
        import jax

        jax.clear_caches()


def make_text(size: int, seed: int = 0) -> bytes:
    """Make a text of lines of a dozen random words, which a small model can learn."""
    rng = random.Random(seed)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "ran", "away", "from", "Kafka", "2026"]
    out = bytearray()
    while len(out) < size:
        out += rng.choice(words).encode() + rng.choice([b" ", b" ", b" ", b", ", b"\n"])
    return bytes(out[:size])


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_bytes(make_text(6000))
    return path


def tiny(**overrides: Any) -> Any:
    """Return the tiny config with overrides such as model__hidden=8."""
    from rnnlm.config import Config

    config = importlib.import_module("tests.tiny").get_config()
    for name, value in overrides.items():
        *sections, key = name.split("__")
        section = config
        for step in sections:
            section = section[step]
        section[key] = value
    return Config.from_dict(config.to_dict())


def environment() -> dict[str, str]:
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(CACHE / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONWARNINGS": "default",
        "XLA_FLAGS": QUICK_TO_COMPILE,
    }


def start(*args: object, **options: Any) -> subprocess.Popen[str]:
    """Start `rnnlm ARGS` as a process."""
    command = [*options.pop("prefix", []), sys.executable, "-m", "rnnlm", *map(str, args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options = {"cwd": ROOT, "start_new_session": True} | pipes | options
    return subprocess.Popen(command, env=environment() | options.pop("env", {}), **options)


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill a process of `start` and its children, such as the program that strace runs."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def rnnlm(*args: object, code: int = 0, **options: Any) -> str:
    """Run `rnnlm ARGS`, check its exit code: -> standard output, or standard error if the code is not 0."""
    returned, out, err = run_process(*args, **options)
    assert returned == code, f"exit code {returned}\n{out}\n{err}"
    assert "Traceback" not in err
    return err if code else out


def run_process(*args: object, cwd: Path = ROOT, env: Mapping[str, str] = {}, **options: Any) -> tuple[int, str, str]:
    """Run `rnnlm ARGS`, in a forked process if `env` has nothing that Python or jax reads as it starts."""
    if not options and not any(name.startswith(("JAX_", "PYTHON")) for name in env):
        return forked.run([*map(str, args)], cwd, environment() | env, timeout=300)
    process = start(*args, cwd=cwd, env=env, **options)
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        kill_group(process)
        raise
    return process.returncode, out, err


def train(workdir: Path, text: Path, *args: object, **options: Any) -> str:
    return rnnlm(
        "train", "--config=tests/tiny.py", f"--workdir={workdir}", f"--config.data.files={text}", *args, **options
    )


def rows(workdir: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl without its measured times."""
    import json

    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    clock = ("seconds", "symbols_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in clock} for line in lines]


def leaves(workdir: Path, step: int) -> dict[str, Any]:
    """Load the checkpoint of a step: -> arrays by name."""
    from rnnlm.runs import restore

    loaded, tree = restore.load(workdir / "checkpoints", [step], lambda text: pytest.fail(text))
    assert loaded == step
    return tree


def same_bits(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes(), name


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """Yield a free TCP port of this machine."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
