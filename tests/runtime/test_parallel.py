"""Compiled programs are cached for the next start, and functions run on all local devices."""

from pathlib import Path

import jax
import pytest

from rnnlm.runtime import parallel
from tests.conftest import rnnlm, train

OWN = {"JAX_COMPILATION_CACHE_DIR": ""}


def compiled(home: Path) -> set[str]:
    return {path.name for path in home.rglob("compiled/*/*-cache")}


@pytest.mark.slow
def test_a_second_start_compiles_nothing(tmp_path, text_file):
    env = OWN | {"XDG_CACHE_HOME": str(tmp_path / "home")}
    args = ("--config.train.steps=2", "--config.checkpoint.every=2")
    train(tmp_path / "first", text_file, *args, env=env)
    first = compiled(tmp_path)
    assert first
    train(tmp_path / "second", text_file, *args, env=env)
    assert compiled(tmp_path) == first
    env["XDG_CACHE_HOME"] = str(tmp_path / "other")
    rnnlm("sample", f"--workdir={tmp_path / 'first'}", "--length=1", "--nocompile_cache", env=env)
    assert compiled(tmp_path) == first


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, text_file):
    (tmp_path / "rnnlm").mkdir()
    (tmp_path / "rnnlm" / "compiled").write_text("in the way")
    train(tmp_path / "run", text_file, "--config.train.steps=2", env=OWN | {"XDG_CACHE_HOME": str(tmp_path)})


def test_local_runs_over_all_devices_or_one():
    double = parallel.shard_local(lambda w, x: (x * w, x + w), (None, 0), (0, 0))
    for lanes in (1, 2, 3, 4):
        x = jax.numpy.arange(lanes * 2.0).reshape(lanes, 2)
        a, b = double(3.0, x)
        assert a.tolist() == (x * 3).tolist() and b.tolist() == (x + 3).tolist()
