"""Checkpoints are restored bit for bit, or reported as damaged."""

import hashlib
import json
import math
import shutil
import threading

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlm.errors import UserError
from rnnlm.nn import model
from rnnlm.nn.leaves import named_leaves
from rnnlm.runs import checkpoint, restore
from rnnlm.runs.checkpoint import Checkpoints
from rnnlm.runs.restore import load
from rnnlm.runtime.quiet import begin_silence, end_silence
from rnnlm.training import optim, state
from tests.conftest import tiny

CONFIG = tiny(optim__ema=0.9)


@pytest.fixture(scope="module", autouse=True)
def silent():
    """Silence the threads of tensorstore, which report a closed event loop after a failed read."""
    begin_silence()
    yield
    end_silence()


@pytest.fixture(scope="module")
def full_state():
    """Create a state with every kind of leaf."""
    return jax.device_get(state.create(CONFIG, 9, optim.make_optimizer(CONFIG.optim, lambda step: 0.1)))


def save(folder, states, keep=9, scores=None):
    checkpoints = Checkpoints(folder, keep, scores or {})
    for step, tree in states.items():
        checkpoints.save(step, tree)
    checkpoints.close()


def test_a_state_is_restored_bit_for_bit(tmp_path, full_state):
    save(tmp_path / "c", {3: full_state})
    step, tree = load(tmp_path / "c", [3], pytest.fail)
    restored = restore.restore_into(full_state, tree, "there")
    assert step == 3 and jax.tree.structure(restored) == jax.tree.structure(full_state)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(full_state), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def test_saving_takes_a_copy_at_once(tmp_path):
    source = np.arange(1_000_000, dtype=np.float32)
    checkpoints = Checkpoints(tmp_path / "c", 1, {})
    checkpoints.save(1, {"x": source})
    source[:] = -1
    checkpoints.close()
    assert load(tmp_path / "c", [1], pytest.fail)[1]["x"][-1] == 999_999


@given(st.lists(st.integers(0, 99), unique=True, min_size=1, max_size=12), st.data())
def test_the_latest_and_the_best_stay(steps, data):
    class Info:
        def __init__(self, step):
            self.step = step

    steps = sorted(steps)
    score = st.floats(1, 2) | st.sampled_from([math.nan, math.inf])
    scores = {step: data.draw(score) for step in steps if data.draw(st.booleans())}
    latest = data.draw(st.integers(1, 4))
    preserved = checkpoint.LatestAndBest(latest, scores).should_preserve([Info(s) for s in steps], context=None)
    stay = {s for s, k in zip(steps, preserved, strict=True) if k}
    assert set(steps[-latest:]) <= stay and len(stay) <= latest + 1
    finite = {s: score for s, score in scores.items() if math.isfinite(score)}
    best = min(finite, key=lambda s: (finite[s], s), default=None)
    assert checkpoint.best_of(steps, scores) == best and (best is None or best in stay)


def test_retention_across_restarts(tmp_path):
    scores = {1: 2.0, 2: 1.5, 3: 1.8, 4: 1.7}
    tree = {"x": np.ones(3, np.float32)}
    save(tmp_path / "c", dict.fromkeys((1, 2, 3), tree), keep=1, scores=scores)
    assert checkpoint.steps(tmp_path / "c") == [2, 3]
    save(tmp_path / "c", {4: tree}, keep=1, scores=scores)
    assert checkpoint.steps(tmp_path / "c") == [2, 4]
    save(tmp_path / "c", {5: tree}, keep=1, scores=scores | {5: 1.2})
    assert checkpoint.steps(tmp_path / "c") == [5]


def arrays(folder):
    """Return the files of the arrays, the largest first."""
    files = [p for p in (folder / "state").rglob("*") if p.is_file() and p.parent.name == "d"]
    return sorted(files, key=lambda p: p.stat().st_size, reverse=True)


def flip(path, at, bit):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory, full_state):
    """Save step 3, and step 2, whose leaves are larger by one: -> the folder."""
    folder = tmp_path_factory.mktemp("two") / "c"
    save(folder, {2: jax.tree.map(lambda leaf: leaf + leaf.dtype.type(1), full_state), 3: full_state})
    return folder


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGE = {
    "truncated": lambda f: [p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]) for p in arrays(f)],
    "emptied": empty,
    "arrays gone": lambda f: [p.unlink() for p in arrays(f)],
    "digests gone": lambda f: (f / "meta" / "metadata").unlink(),
    "nothing in JSON": lambda f: (f / "meta" / "metadata").write_text("null"),
    "a file": lambda f: (shutil.rmtree(f), f.write_text("")),
    "digest changed": lambda f: (f / "meta" / "metadata").write_text(json.dumps({"x": "0"})),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint_is_reported_and_skipped(tmp_path, full_state, kind):
    save(tmp_path / "c", {3: full_state, 6: full_state})
    DAMAGE[kind](tmp_path / "c" / "6")
    warnings = []
    step, _ = load(tmp_path / "c", [6, 3], warnings.append)
    assert step == 3 and len(warnings) == 1
    assert "6 is damaged" in warnings[0] and "using step 3" in warnings[0]
    with pytest.raises(UserError, match="No checkpoint in .* is sound"):
        load(tmp_path / "c", [6], warnings.append)


@settings(max_examples=40)
@given(at=st.integers(0, 10**6), which=st.integers(0, 9), bit=st.integers(0, 7), group=st.sampled_from(["", "params"]))
def test_a_flipped_bit_never_goes_unnoticed(tmp_path_factory, full_state, two_steps, at, which, bit, group):
    """A flip of an unused byte changes nothing; any other flip makes the step before it be restored."""
    folder = tmp_path_factory.mktemp("flip") / "c"
    shutil.copytree(two_steps, folder)
    metadata = [p for p in (folder / "3").rglob("*") if p.name in ("_METADATA", "metadata", "manifest.ocdbt")]
    files = [*arrays(folder / "3")[:6], *sorted(metadata)]
    flip(files[which % len(files)], at, bit)
    step, tree = load(folder, [3, 2], lambda text: None, group=group)
    leaves = {name: leaf for name, leaf in named_leaves(full_state).items() if name.startswith(group)}
    assert tree.keys() == leaves.keys()
    for name, leaf in leaves.items():
        assert np.array_equal(tree[name], leaf + (step == 2)), name


def test_damaged_steps_are_quarantined(tmp_path):
    folder = tmp_path / "c"
    for step in ("3", "6", "7"):
        (folder / step).mkdir(parents=True)
    restore.quarantine(folder, 3)
    assert checkpoint.steps(folder) == [3]
    assert sorted(p.name for p in (tmp_path / "damaged").iterdir()) == ["6.0", "7.0"]


@pytest.mark.parametrize(
    "other, complaint",
    [
        ({"hidden": 13}, r"has params.layer_0.W_h as float32\[12, 48\], but .* float32\[13, 52\]"),
        ({"cell": "gru"}, "lacks params.layer_0.b_h"),
        ({"layers": 1}, "has params.layer_1.W_h, but the model of config.json does not"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(full_state, other, complaint):
    config = tiny(**{f"model__{k}": v for k, v in other.items()})
    template = {"params": model.init_params(config.model, 9, jax.random.PRNGKey(0))}
    with pytest.raises(UserError, match=f"there {complaint}.*another architecture"):
        restore.restore_into(template, named_leaves(full_state), "there")


def test_an_empty_folder_says_to_train_first(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in .*: wait for the first one"):
        load(tmp_path, checkpoint.steps(tmp_path), pytest.fail)


def test_digests_are_computed_beside_the_training_thread_and_before_the_commit(tmp_path, monkeypatch):
    """The step does not wait for them; a failure ends the run, and leaves no checkpoint without digests."""
    threads, compute = [], checkpoint.digests
    monkeypatch.setattr(checkpoint, "digests", lambda leaves: threads.append(threading.get_ident()) or compute(leaves))
    checkpoints = Checkpoints(tmp_path / "c", 9, {})
    checkpoints.save(1, {"x": np.ones(3, np.float32)})
    checkpoints.wait()
    assert len(threads) == 1 and threads[0] != threading.get_ident()

    def fail(leaves):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "digests", fail)
    checkpoints.save(2, {"x": np.ones(3, np.float32)})
    with pytest.raises(UserError, match=r"could not be written to .* The last good checkpoint is .*/1\."):
        checkpoints.wait()
    assert checkpoint.steps(tmp_path / "c") == [1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint32", "int8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (1, 2, 3)])
def test_a_digest_is_that_of_dtype_shape_and_bytes(dtype, shape):
    """Digests of every version are equal, whatever the order of the array in memory."""
    leaf = np.asarray(jax.numpy.arange(math.prod(shape)).reshape(shape).astype(dtype))
    wanted = hashlib.sha256(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes()).hexdigest()
    assert checkpoint.digest_leaf(leaf) == checkpoint.digest_leaf(np.array(leaf, order="F")) == wanted
