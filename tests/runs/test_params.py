"""The params of a checkpoint are read and checked alone, so that damage elsewhere in it does not matter."""

import shutil

import jax
import numpy as np
import pytest

import rnnlm as api
from rnnlm.errors import UserError
from rnnlm.runs import checkpoint, restore
from rnnlm.runs.checkpoint import Checkpoints
from tests.conftest import tiny


@pytest.fixture(scope="module")
def averaged(tmp_path_factory, text_file):
    """Train a run that keeps an average: -> its folder, with checkpoints at 5 and 10, the latter the best."""
    workdir = tmp_path_factory.mktemp("averaged") / "run"
    config = tiny(data__files=str(text_file), train__steps=10, sample__every=0, optim__ema=0.9)
    api.train(config, workdir, show=False)
    assert checkpoint.steps(workdir / "checkpoints") == [5, 10]
    return workdir


def damage(workdir, step, group):
    """Change the leaves of a checkpoint whose names begin with `group`, and leave their digests."""
    folder = workdir / "checkpoints"
    _, tree = restore.load(folder, [step], pytest.fail)
    changed = {name: leaf + leaf.dtype.type(1) if name.startswith(group) else leaf for name, leaf in tree.items()}
    digests = (folder / str(step) / "meta" / "metadata").read_bytes()
    shutil.rmtree(folder / str(step))
    checkpoints = Checkpoints(folder, 9, {})
    checkpoints.save(step, changed)
    checkpoints.close()
    (folder / str(step) / "meta" / "metadata").write_bytes(digests)


@pytest.mark.parametrize("group", ["opt_state.", "params.", "carry.", "key"])
def test_a_model_is_loaded_though_other_leaves_are_damaged(averaged, tmp_path, capsys, group):
    workdir = shutil.copytree(averaged, tmp_path / "run")
    before = api.load(workdir)
    damage(workdir, 10, group)
    lm = api.load(workdir)
    assert lm.train_step == before.train_step == 10
    for a, b in zip(jax.tree.leaves(lm.params), jax.tree.leaves(before.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert capsys.readouterr().err == ""
    warnings: list[str] = []  # training needs all of it
    assert restore.load(workdir / "checkpoints", [10, 5], warnings.append)[0] == 5
    assert f"10 is damaged ({group}" in warnings[0]


def test_a_model_whose_own_params_are_damaged_falls_back(averaged, tmp_path, capsys):
    workdir = shutil.copytree(averaged, tmp_path / "run")
    damage(workdir, 10, "average.output")
    assert api.load(workdir).train_step == 5
    assert "10 is damaged (average.output.W differs from its digest); using step 5" in capsys.readouterr().err


def test_a_checkpoint_without_the_leaves_asked_for_is_of_another_architecture(tmp_path, averaged):
    workdir = shutil.copytree(averaged, tmp_path / "run")
    folder = workdir / "checkpoints"
    shutil.rmtree(folder)
    folder.mkdir()
    checkpoints = Checkpoints(folder, 9, {})
    checkpoints.save(10, {"params": {"output": {"b": np.ones(3, np.float32)}}})
    checkpoints.close()
    with pytest.raises(UserError, match="lacks average.* another architecture"):
        api.load(workdir)
