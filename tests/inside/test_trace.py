"""A trace holds what the model does while it reads: its states, its gates and the costs that eval reports."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy.special import log_softmax

import rnnlm
from rnnlm.commands import main
from rnnlm.generation.states import CHUNK
from rnnlm.inside.trace import write_arrays
from tests.conftest import tiny

DTYPES = ["float32", "float64", "float16", "int8", "int32", "int64", "uint8", "uint16", "bool"]


@pytest.fixture(scope="module")
def lm(tmp_path_factory, text_file):
    folder = tmp_path_factory.mktemp("trace") / "run"
    rnnlm.train(tiny(data__files=str(text_file)), folder, show=False)
    return rnnlm.load(folder)


def load(path):
    return dict(np.load(path)) if path.suffix == ".npz" else load_file(path)


@given(data=st.data())
def test_arrays_in_chunks_come_back_joined(tmp_path_factory, data):
    folder, rng = tmp_path_factory.mktemp("arrays"), np.random.default_rng(0)
    names = data.draw(st.lists(st.text("ab.", min_size=1), min_size=1, max_size=3, unique=True))
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    kinds = [(data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from([(), (3,), (2, 2)]))) for _ in names]
    chunks = [
        {name: (rng.random((n, *shape)) * 9).astype(dtype) for name, (dtype, shape) in zip(names, kinds, strict=True)}
        for n in lengths
    ]
    for path in (folder / "a.npz", folder / "a.safetensors"):
        shapes = write_arrays(path, iter(chunks))
        read = load(path)
        assert {name: array.shape for name, array in read.items()} == shapes and set(read) == set(names)
        for name in names:
            whole = np.concatenate([chunk[name] for chunk in chunks])
            assert read[name].dtype == whole.dtype and np.array_equal(read[name], whole)
    assert sorted(path.name for path in folder.iterdir()) == ["a.npz", "a.safetensors"]


def test_a_trace_has_the_states_and_the_costs_of_eval(lm, tmp_path):
    symbols = (100, 100 + CHUNK + 30)
    shapes = lm.trace(tmp_path / "a.npz", "valid", symbols=symbols)
    trace = load(tmp_path / "a.npz")
    count, vocab = symbols[1] - symbols[0], len(lm.vocabulary)
    assert shapes["logits"] == (count, vocab) and shapes["layer_1.gate.f"] == (count, 12)
    nats = -log_softmax(trace["logits"].astype(float), axis=1)[np.arange(count), trace["targets"]]
    score = lm.score("valid", symbols=symbols, protocol=rnnlm.EvalProtocol(lanes=1))
    assert nats.sum() == pytest.approx(score.tally.nats, rel=1e-6)
    assert np.array_equal(trace["inputs"][1:], trace["targets"][:-1])
    read = bytes(trace["codes"][trace["inputs"]].astype(np.uint8))
    seen = [states.carry[1]["c"] for states in lm.states(read)]
    assert np.array_equal(np.concatenate(seen), trace["layer_1.c"])


def test_both_formats_and_a_file_hold_the_same(lm, tmp_path, capsys):
    (tmp_path / "text").write_bytes(b"the cat sat")
    for out in ("a.npz", "a.safetensors"):
        lm.trace(tmp_path / out, text="the cat sat", layers=[1])
        command = ["trace", f"--workdir={lm.workdir}", f"--file={tmp_path}/text", f"-o={tmp_path}/by_{out}"]
        assert main.main([*command, "--layers=1", "--cpu_devices=1"]) == 0
        assert "layer_1.gate.f" in capsys.readouterr().out
    expected = load(tmp_path / "a.npz")
    assert len(expected["inputs"]) == 11 and not any(name.startswith("layer_0") for name in expected)
    for other in ("a.safetensors", "by_a.npz", "by_a.safetensors"):
        found = load(tmp_path / other)
        assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize(
    "out, more, complaint",
    [
        ("a.txt", {}, "ends in .npz or .safetensors"),
        ("a.npz", {"layers": [2]}, "no layer 2: the model has 2, counted from 0"),
        ("a.npz", {"symbols": (9, 9)}, "There are no symbols 9..9"),
        ("a.npz", {"text": "#"}, "byte '#' at offset 0"),
        ("a.npz", {"path": "b"}, "Exactly one of split, text and path is read, but text and path is given"),
        ("no/a.npz", {}, "no/a.npz could not be written"),
    ],
)
def test_what_cannot_be_traced_is_refused_and_leaves_nothing(lm, tmp_path, monkeypatch, out, more, complaint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((rnnlm.UserError, rnnlm.errors.WriteError), match=complaint):
        lm.trace(out, **{"text": "the cat sat", **more})
    assert not list(tmp_path.iterdir())
