"""Runs are ranked only if they have the same symbols and protocol, with old and new result lines alike."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from rnnlm import api
from rnnlm.errors import UserError
from rnnlm.runs import compare
from rnnlm.runs.metrics import read_rows
from rnnlm.runs.results import upgrade_row
from tests.conftest import ROOT, tiny

FIXTURES = ROOT / "tests" / "fixtures"
BLOCK = 10_000


def make_run(name="a", shift=0.0, noise=0.0, **fields):
    """Make a run whose blocks cost 2 + `shift` bits per symbol, with noise, from a line without a version."""
    nats = BLOCK * np.log(2) * (2 + shift + noise * np.random.default_rng(0).normal(size=30))
    row = {"split": "test", "symbols": [0, 30 * BLOCK], "kind": "byte", "corpus": "f" * 64, "stderr": 0.01}
    row |= {"lanes": 7, "warmup": 512, "step": 5}
    row |= {"protocol": "carry, 7 lanes, 512 warm-up", "bpc": nats.sum() / np.log(2) / (30 * BLOCK)}
    row |= {"count": 30 * BLOCK, "block": BLOCK, "blocks": nats.tolist()} | fields
    result = upgrade_row(row, "0.8/0.1/0.1")
    return compare.Run(name, tiny(), result, parameters=100, symbols=1000, flops=1e9, seconds=10.0)


def split_blocks(run):
    """Cut a run's blocks into blocks of 1,000 symbols of unequal cost."""
    shares = 0.1 + 0.05 * np.sin(np.arange(10))
    nats = np.outer(run.result["blocks"], shares / shares.sum()).ravel()
    return dataclasses.replace(run, result=run.result | {"block": 1_000, "blocks": nats.tolist()})


def test_the_paired_difference_has_a_smaller_error_than_each_run():
    """The noise of two runs with equal noise cancels in their difference."""
    rows = compare.table([make_run("worse", 0.02, 0.1), make_run("better", 0.0, 0.1)])
    assert [row["run"] for row in rows] == ["better", "worse"]
    low, high = rows[1]["interval"]
    assert rows[1]["worse_by"] == pytest.approx(0.02) and low == pytest.approx(high, abs=1e-9)
    apart = compare.table([make_run("even", 0.0, 0.0), make_run("noisy", 0.02, 0.1)])
    low, high = apart[1]["interval"]
    noise = 0.1 * np.random.default_rng(0).normal(size=30)
    waves = [np.sqrt(2 / 30) * noise @ np.cos(np.pi * j * (np.arange(30) + 0.5) / 30) for j in range(1, 11)]
    assert high - low == pytest.approx(2 * 2.228 * np.sqrt(np.mean(np.square(waves)) / 30), rel=1e-3)
    assert apart[1]["bpc_interval"][1] - apart[1]["bpc"] == pytest.approx((high - low) / 2)


@pytest.mark.parametrize(
    "other",
    [
        {"split": "valid"},
        {"symbols": [0, 10]},
        {"kind": "char"},
        {"corpus": "0" * 64},
        {"protocol": "windows of 512, stride 256"},
        {"protocol": "dynamic rms, 1 stream, segment 20, rate 1e-05, decay 0.1, tensor mean", "lanes": 1, "warmup": 0},
        {"protocol": "carry, 7 lanes, 8 warm-up", "warmup": 8},
    ],
    ids=lambda other: "-".join(map(str, other.values()))[:30],
)
def test_runs_of_other_splits_or_protocols_are_not_ranked(other):
    with pytest.raises(UserError, match="a and b cannot be ranked together"):
        compare.rank([make_run(), make_run("b", **other)])
    exact = make_run("b", protocol="carry, 1 lane", lanes=1, warmup=0)  # equal to many lanes to 1e-3
    assert len(compare.rank([make_run(), exact])) == 2
    words = "dynamic rms, {} streams, 512 warm-up, segment 20, rate 1e-05, decay 0.1, tensor mean"
    streams = [{"protocol": words.format(n), "lanes": n} for n in (2, 3)]
    with pytest.raises(UserError, match="a and b cannot be ranked together"):
        compare.rank([make_run("a", **streams[0]), make_run("b", **streams[1])])


def test_only_settings_that_differ_are_shown():
    wider = dataclasses.replace(make_run("b"), config=tiny(model__hidden=20))
    assert [row["model.hidden"] for row in compare.table([make_run(), wider])] == [12, 20]
    assert not any("." in name for name in compare.table([make_run(), make_run("b")])[0])


def test_old_and_new_lines_are_paired_by_the_blocks_that_both_have():
    old = [make_run("a", 0.02, 0.1), make_run("b", 0.0, 0.2)]
    expected = compare.table(old)[1]
    mixed = compare.table([old[0], split_blocks(old[1])])[1]
    assert mixed["interval"] == pytest.approx(expected["interval"])
    assert mixed["worse_by"] == pytest.approx(expected["worse_by"])
    new = compare.table([split_blocks(run) for run in old])[1]
    assert new["worse_by"] == pytest.approx(expected["worse_by"])
    assert np.diff(new["interval"]) == pytest.approx(np.diff(expected["interval"]), rel=0.05)


def test_an_old_line_is_compared_by_its_protocol():
    """Comparison keys equal those that version 1 made from the protocol string."""
    keys = {
        "carry, 1 lane": ({"lanes": 1, "warmup": 0}, "carry"),
        "carry, 7 lanes, 8 warm-up, symbols 0..300000": ({"warmup": 8}, "carry, 7 lanes, 8 warm-up"),
        "records after '\\n', 7 lanes, 512 warm-up": ({}, "records after '\\n'"),
        "windows of 512, stride 256": ({"warmup": 0}, "windows of 512, stride 256"),
        "dynamic sgd, 1 stream, segment 20, rate 0.1, decay 0.001": ({"lanes": 1, "warmup": 0}, "dynamic sgd"),
        "dynamic rms, 2 streams, 520 warm-up, segment 20, rate 2e-05, decay 0.001, tensor mean": (
            {"lanes": 2, "warmup": 520},
            "dynamic rms, 2 streams, 520 warm-up",
        ),
    }
    for protocol, (fields, key) in keys.items():
        assert make_run(protocol=protocol, **fields).comparison_key[3] == f"protocol {key}"


def copy_of(name, tmp_path, **files):
    """Copy the fixture of an older run, with files of other content; None removes one."""
    folder = tmp_path / name
    shutil.copytree(FIXTURES / "lstm_4_layers", folder)
    for file, rows in files.items():
        (folder / f"{file}.jsonl").unlink(missing_ok=True)
        if rows is not None:
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_run_without_an_evaluation_is_compared_by_its_last_validation(tmp_path):
    logged, _ = read_rows(FIXTURES / "lstm_4_layers" / "metrics.jsonl")
    last = [row for row in logged if "valid_bpc" in row][-1]
    folder = copy_of("a", tmp_path, result=None)
    better = [row | {"valid_bpc": 1.0} if "valid_bpc" in row else row for row in logged]
    other = copy_of("b", tmp_path, result=None, metrics=better)
    first, second = api.compare([folder, other])
    assert [first["bpc"], second["bpc"]] == [1.0, last["valid_bpc"]] and second["worse_by"] == last["valid_bpc"] - 1
    for row in (first, second):
        assert (
            row["source"] == "validation" and row["step"] == last["step"] and row["protocol"] == last["valid_protocol"]
        )
        assert row["interval"] is row["bpc_interval"] is row["stderr"] is None
    count = last["valid_count"]
    assert api.compare([folder], symbols=(0, count)) == api.compare([folder], split="valid")
    for choice in ({"symbols": (0, count - 1)}, {"protocol": "windows"}, {"split": "test"}, {"split": "train"}):
        with pytest.raises(UserError, match="has no evaluation on"):
            api.compare([folder], **choice)
    fewer = [row | {"valid_count": count - 1} if "valid_bpc" in row else row for row in logged]
    with pytest.raises(UserError, match="cannot be ranked together: symbols"):
        api.compare([folder, copy_of("c", tmp_path, result=None, metrics=fewer)])


def test_the_split_is_test_if_all_were_scored_on_it(tmp_path):
    lines = [json.loads(line) for line in (FIXTURES / "lstm_4_layers" / "result.jsonl").read_text().splitlines()]
    tested = [line for line in lines if line["split"] == "test"]
    assert len(tested) > 0
    folders = [copy_of("a", tmp_path, result=tested), copy_of("b", tmp_path, result=tested)]
    assert [row["source"] for row in api.compare(folders, plot=tmp_path / "a.png", x="seed")] == ["eval", "eval"]
    assert (tmp_path / "a.png").stat().st_size > 1_000
    folders.append(copy_of("c", tmp_path, result=None))
    assert [row["source"] for row in api.compare(folders)] == ["validation"] * 3
    with pytest.raises(UserError, match="c has no evaluation on test"):
        api.compare(folders, split="test")
