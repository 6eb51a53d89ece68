"""A run begins with the params of another one: shared symbols keep theirs, and what is frozen does not move."""

import json
import shutil

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlm as api
from rnnlm.config import Config
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError
from rnnlm.nn import model, stack
from rnnlm.nn.leaves import named_leaves
from rnnlm.runs import checkpoint
from rnnlm.runs.layout import load_run
from rnnlm.training import parent
from rnnlm.training.parent import Parent, match_symbols
from tests.conftest import leaves, make_text, rows, same_bits, slow, tiny

OTHER = b"The dog, a sly one, ran; 1999 mats? No: {0}."


@pytest.fixture(scope="module")
def folder(tmp_path_factory, text_file):
    """Train a run that keeps an average, for 10 steps: -> the folder that holds it as `old`."""
    folder = tmp_path_factory.mktemp("parents")
    api.train(config(text_file, optim__ema=0.9), folder / "old", show=False)
    (folder / "other.txt").write_bytes((OTHER + b"\n") * 20 + make_text(3000, seed=5))
    return folder


def config(text, **overrides):
    small = {"data__files": str(text), "sample__every": 0, "train__steps": 10, "checkpoint__keep": 9}
    return tiny(**{**small, **overrides})


def tune(folder, name, text="other.txt", source="old", **overrides):
    """Fine-tune in the folder's run `name`: -> its folder."""
    api.train(config(folder / text, train__init_from=str(folder / source), **overrides), folder / name)
    return folder / name


def test_a_run_begins_with_what_its_parent_evaluates(folder, tmp_path, text_file, capsys):
    """With the average of the parent's best step, and a fresh optimizer."""
    shutil.copy(text_file, folder / "same.txt")
    run, old = tune(folder, "same", "same.txt"), api.load(folder / "old")
    assert "begins with the params of" in (said := capsys.readouterr().out)
    assert f"old at step {old.train_step}: 22 of 22 symbols kept, 0 drawn anew" in said
    began = leaves(run, 0)
    same_bits(
        {name: leaf for name, leaf in began.items() if name.startswith("params.")},
        {f"params.{name}": leaf for name, leaf in named_leaves(old.params).items()},
    )
    assert all(not leaf.any() for name, leaf in began.items() if name.startswith(("opt_state.", "carry.")))


def test_the_parent_is_recorded(folder, capsys):
    run, old = tune(folder, "recorded", source="old@5"), load_run(folder / "old")
    record = json.loads((run / "run.json").read_text())["parent"]
    digest = checkpoint.digest(api.load(folder / "old", 5).params)
    assert record == {
        "path": str((folder / "old").absolute()), "step": 5, "params": digest, "config": old.config_sha256,
    }  # fmt: skip
    assert "drawn anew" in capsys.readouterr().out
    for name in ("recorded", "old"):
        api.load(folder / name).score("test", record=True)
    lines = [(folder / name / "result.jsonl").read_text().splitlines()[-1] for name in ("recorded", "old")]
    assert [json.loads(line)["trained_as"]["parent"] for line in lines] == [record, None]
    [row] = api.compare([run])
    assert row["parent"] == f"{record['path']}@5" and "train.init_from" not in row
    assert "parent" not in api.compare([folder / "old"])[0]


def test_a_fine_tuned_run_is_resumed_without_its_parent(folder, tmp_path):
    whole = tune(folder, "whole", train__steps=20)
    gone = shutil.copytree(folder / "old", folder / "gone")
    began = tune(folder, "resumed", source="gone")
    shutil.rmtree(gone)
    shutil.rmtree(began / "checkpoints" / "10")  # a kill soon after the start
    shutil.rmtree(began / "checkpoints" / "5")
    resumed = tune(folder, "resumed", source="gone", train__steps=20)
    assert rows(resumed) == rows(whole)
    same_bits(leaves(resumed, 20), leaves(whole, 20))
    record = load_run(resumed).parent
    assert record is not None and record == load_run(whole).parent | {"path": str(gone.absolute())}
    with pytest.raises(UserError, match="train.init_from: .*gone' there, '' here"):
        api.train(config(folder / "other.txt", train__steps=30), resumed, show=False)


@pytest.mark.parametrize(
    "overrides, complaint",
    [
        ({"train__init_from": "nowhere"}, "train.init_from=.*nowhere: There is no folder .*nowhere"),
        ({"train__init_from": "old@7"}, "has no checkpoint 7: it has best, latest and 5, 10"),
        ({"train__init_from": "new"}, "it is the run's own folder"),
        ({"model__cell": "gru"}, "model.cell is 'lstm', but 'gru' here"),
        ({"model__hidden": 13}, "model.hidden is 12, but 13 here"),
        ({"model__layers": 3}, "model.layers is 2, but 3 here"),
        ({"model__sizes": (12, 12, 5)}, r"model.sizes is \(12, 12\), but \(12, 12, 5\) here"),
        ({"model__weight_norm": True}, "model.weight_norm is False, but True here"),
        ({"model__embedding": 12}, "model.embedding is 0, but 12 here"),
        ({"model__lstm__biases": 2}, "model.lstm.biases is 1, but 2 here"),
        ({"model__cell": "flax.linen:LSTMCell"}, "model.cell is 'lstm', but 'flax.linen:LSTMCell' here"),
    ],
)
def test_a_parent_that_does_not_fit_is_refused(folder, monkeypatch, overrides, complaint):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=complaint):
        api.train(config("other.txt", **{"train__init_from": "old", **overrides}), "new", show=False)
    assert not (folder / "new").exists()


def test_what_does_not_shape_the_params_may_differ(folder):
    run = tune(folder, "fits", model__dropout=0.1, model__sizes=(12, 12), model__lstm__forget_bias=2.0, seed=4)
    assert rows(run)[-1]["step"] == 10


bytes_seen = st.sets(st.integers(0, 255), min_size=1, max_size=9)
characters = st.sets(st.integers(0, 0x3FF), min_size=1, max_size=9)
vocabularies = st.one_of(
    bytes_seen.map(lambda codes: Vocabulary("byte_seen", tuple(sorted(codes)))),
    characters.map(lambda codes: Vocabulary("char", tuple(sorted(codes)))),
)


@given(old=vocabularies, new=vocabularies)
def test_symbols_are_matched_by_what_they_mean(old, new):
    """A byte and a character of one code are one symbol if the byte alone is that character in UTF-8."""

    def meaning(vocabulary, code):
        return chr(code).encode() if vocabulary.kind == "char" else bytes([code])

    old_ids, new_ids = match_symbols(old, new)
    pairs = set(zip(old_ids.tolist(), new_ids.tolist(), strict=True))
    assert pairs == {
        (i, j)
        for i, a in enumerate(old.codes)
        for j, b in enumerate(new.codes)
        if meaning(old, a) == meaning(new, b) and (old.kind == new.kind or a < 128)
    }


@pytest.mark.parametrize(
    "extra", [{}, {"embedding": 4}, {"embedding": 4, "tied": True}, slow({"cell": "flax.linen:GRUCell"})], ids=str
)
def test_shared_symbols_keep_their_params_and_new_ones_are_drawn(extra):
    """The logits of shared symbols, after a text of shared symbols, are the parent's."""
    network = Config.from_dict({"model": {"layers": 1, "hidden": 4, **extra}}).model
    old, new = [1, 2, 4, 5, 9], [2, 3, 5, 9, 11, 12]
    theirs = jax.device_get(model.init_params(network, len(old), jax.random.PRNGKey(1)))
    drawn = model.init_params(network, len(new), jax.random.PRNGKey(2))
    old_ids, new_ids = match_symbols(Vocabulary("byte_seen", tuple(old)), Vocabulary("byte_seen", tuple(new)))
    ours = Parent(theirs, len(new), old_ids, new_ids, parent.find_symbol_axes(network, len(new)), {}).adopt(drawn)
    fresh = np.setdiff1d(np.arange(len(new)), new_ids)
    np.testing.assert_array_equal(ours["output"]["b"][fresh], drawn["output"]["b"][fresh])
    if network.embedding:
        np.testing.assert_array_equal(ours["embedding"]["table"][fresh], drawn["embedding"]["table"][fresh])
    logits = []
    for params, ids, vocab in ((theirs, old_ids, len(old)), (ours, new_ids, len(new))):
        x_BT, carry = np.asarray(ids, np.int32)[None], model.initial_carry(network, 1)
        logits.append(model.apply(network, vocab)(params, carry, x_BT, x_BT < 0)[1][:, :, ids])
    np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-6)


def test_a_param_that_mixes_symbols_with_other_inputs_needs_an_equal_vocabulary(folder, monkeypatch):
    from rnnlm.cells.cell import Cell, Param, uniform, vector_carry

    def step(params, carry, x_BD, dtype):
        return (jax.numpy.tanh(jax.numpy.concatenate([x_BD, carry[0]], 1) @ params["W"]),)

    mixing = Cell(
        lambda inputs, hidden: {"W": Param((inputs + hidden, hidden), uniform(hidden))}, vector_carry("h"), step=step
    )
    monkeypatch.setattr(stack, "cell_of", lambda config: mixing)
    with pytest.raises(UserError, match="the vocabularies must be equal: set model.embedding"):
        parent.find_symbol_axes(Config().model, 7)
    assert parent.find_symbol_axes(Config.from_dict({"model": {"embedding": 5}}).model, 7)["layer_0"]["W"] == -1


def test_frozen_params_do_not_move(folder):
    """Also single ones of the upper layers, which are stacked on the devices; a resumed run ends bit for bit."""
    deep = {"model__layers": 5, "model__hidden": 6, "model__embedding": 6, "optim__ema": 0.9}
    frozen = ("embedding", "layer_2", "output")
    settings = {"optim__name": "adamw", "optim__weight_decay": 0.5, "train__freeze": frozen}
    for name, lengths in {"once": (10,), "twice": (5, 10)}.items():
        for steps in lengths:
            given = config(folder / "other.txt", **deep, **settings, train__steps=steps)
            api.train(given, folder / name, show=False)
    end = leaves(folder / "once", 10)
    same_bits(end, leaves(folder / "twice", 10))
    key, _ = jax.random.split(jax.random.PRNGKey(0))
    begin = model.init_params(tiny(**deep).model, len(load_run(folder / "once").vocabulary), key)
    for name, leaf in named_leaves(begin).items():
        for copy in ("params", "average"):
            stays = name.split(".")[0] in frozen
            assert (leaf.tobytes() == end[f"{copy}.{name}"].tobytes()) == stays, (copy, name)


@pytest.mark.parametrize(
    "freeze, complaint",
    [
        (("layer_2",), "train.freeze names 'layer_2': the modules of this model are layer_0, layer_1, output."),
        (("embedding",), "train.freeze names 'embedding'"),
        (("layer_0", "layer_1", "output"), "names all modules"),
    ],
)
def test_freezing_nothing_or_everything_is_refused(freeze, complaint):
    with pytest.raises(UserError, match=complaint):
        tiny(train__freeze=freeze)
