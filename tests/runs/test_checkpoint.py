"""What is saved comes back to the bit, or is said to be damaged."""

import json
import math
import shutil

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
    """Threads of tensorstore report late that their event loop is gone, after the read that failed."""
    begin_silence()
    yield
    end_silence()


@pytest.fixture(scope="module")
def whole():
    """A state of every kind of leaf."""
    return jax.device_get(state.create(CONFIG, 9, optim.make_optimizer(CONFIG.optim, lambda step: 0.1)))


def save(folder, states, keep=9, scores=None):
    saves = Checkpoints(folder, keep, scores or {})
    for step, tree in states.items():
        saves.save(step, tree)
    saves.close()


def test_a_state_comes_back_to_the_bit(tmp_path, whole):
    save(tmp_path / "c", {3: whole})
    step, tree = load(tmp_path / "c", [3], pytest.fail)
    back = restore.restore_into(whole, tree, "there")
    assert step == 3 and jax.tree.structure(back) == jax.tree.structure(whole)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(whole), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def test_saving_takes_a_copy_at_once(tmp_path):
    source = np.arange(1_000_000, dtype=np.float32)
    saves = Checkpoints(tmp_path / "c", 1, {})
    saves.save(1, {"x": source})
    source[:] = -1
    saves.close()
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
    kept = checkpoint.LatestAndBest(latest, scores).should_preserve([Info(s) for s in steps], context=None)
    stay = {s for s, k in zip(steps, kept, strict=True) if k}
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
    """The files that hold the arrays' bytes, the largest first."""
    files = [p for p in (folder / "state").rglob("*") if p.is_file() and p.parent.name == "d"]
    return sorted(files, key=lambda p: p.stat().st_size, reverse=True)


def flip(path, at, bit):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory, whole):
    """A folder with step 2, where each leaf is one more, and step 3."""
    folder = tmp_path_factory.mktemp("two") / "c"
    save(folder, {2: jax.tree.map(lambda leaf: leaf + leaf.dtype.type(1), whole), 3: whole})
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
def test_a_damaged_newest_checkpoint_is_said_and_passed_over(tmp_path, whole, kind):
    save(tmp_path / "c", {3: whole, 6: whole})
    DAMAGE[kind](tmp_path / "c" / "6")
    said = []
    step, _ = load(tmp_path / "c", [6, 3], said.append)
    assert step == 3 and len(said) == 1
    assert "6 is damaged" in said[0] and "using step 3" in said[0]
    with pytest.raises(UserError, match="No checkpoint in .* is sound"):
        load(tmp_path / "c", [6], said.append)


@settings(max_examples=40, deadline=None)
@given(at=st.integers(0, 10**6), which=st.integers(0, 9), bit=st.integers(0, 7))
def test_a_flipped_bit_never_goes_unnoticed(tmp_path_factory, whole, two_steps, at, which, bit):
    """Either the flip hits a byte that means nothing, and all is as it was, or the step before is restored."""
    folder = tmp_path_factory.mktemp("flip") / "c"
    shutil.copytree(two_steps, folder)
    described = [p for p in (folder / "3").rglob("*") if p.name in ("_METADATA", "metadata", "manifest.ocdbt")]
    files = [*arrays(folder / "3")[:6], *sorted(described)]
    flip(files[which % len(files)], at, bit)
    step, tree = load(folder, [3, 2], lambda text: None)
    for name, leaf in named_leaves(whole).items():
        assert np.array_equal(tree[name], leaf + (step == 2)), name


def test_damaged_steps_are_set_aside_not_lost(tmp_path):
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
def test_a_checkpoint_of_another_architecture_is_refused(whole, other, complaint):
    config = tiny(**{f"model__{k}": v for k, v in other.items()})
    template = {"params": model.init_params(config.model, 9, jax.random.PRNGKey(0))}
    with pytest.raises(UserError, match=f"there {complaint}.*another architecture"):
        restore.restore_into(template, named_leaves(whole), "there")


def test_an_empty_folder_says_to_train_first(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in .*: train first"):
        load(tmp_path, checkpoint.steps(tmp_path), pytest.fail)
