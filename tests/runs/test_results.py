"""Lines of result.jsonl follow the schema, and old lines are read as new ones."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm.evaluation.dynamic import Adaptation
from rnnlm.evaluation.protocol import EvalProtocol, Score
from rnnlm.evaluation.tally import Blocks
from rnnlm.runs import results
from rnnlm.runs.layout import load_run
from tests.conftest import ROOT

FIXTURES = ROOT / "tests" / "fixtures"
PROTOCOLS = [
    EvalProtocol(lanes=1).resolve(2500),
    EvalProtocol(lanes=7, warmup=16).resolve(2500),
    EvalProtocol("windows", window=64, stride=16).resolve(2500),
    EvalProtocol("records", 3, 8, separator="\n").resolve(2500),
    EvalProtocol("records", 1, separator=",").resolve(2500),
    Adaptation("rms", 20, 2e-5, 1e-3).resolve(2500),
    Adaptation("rms", 20, 2e-5, 1e-3, "global", 3, 15).resolve(2500),
    Adaptation("sgd", 10, 0.1, 0.0).resolve(2500),
]


def score(protocol, begin=0, whole=True):
    return Score("test", protocol, begin, begin + 2500, whole, Blocks(np.array([1.23456, 2.0, 3.0]), 2500, 1000), 2600)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_a_line_has_the_fields_of_the_schema(protocol):
    run = load_run(FIXTURES / "lstm_4_layers")
    row = results.result_row(score(protocol), run, "d" * 64, 7, 1.5)
    assert row.keys() == results.FIELDS and json.loads(json.dumps(row)) == row
    documented = results.__doc__.split("\n\n")[1]
    assert all(field in documented for field in results.FIELDS)
    assert row["version"] == 2 and row["split_spec"] == "0.6/0.2/0.2" and row["corpus"] == run.sha256
    assert row["trained_as"] == {"config": run.config_sha256, "parent": None}
    assert row["block"] == 1000 and row["blocks"] == [1.235, 2.0, 3.0]
    assert results.row_blocks(row).counts.tolist() == [1000, 1000, 500]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
@pytest.mark.parametrize("whole", [True, False])
def test_an_old_line_is_upgraded_to_the_fields_of_a_new_one(protocol, whole):
    new = results.result_row(score(protocol, 5, whole), load_run(FIXTURES / "gru_one_hot"), "d" * 64, 7, 1.5)
    added = {"version", "split_spec", "trained_as", *protocol.as_fields()}
    old = {name: value for name, value in new.items() if name not in added}
    upgraded = results.upgrade_row(old, new["split_spec"])
    assert upgraded == new | {"trained_as": None}
    assert results.upgrade_row(new, "another") == new
    early = {name: value for name, value in new.items() if name not in results.LATER_FIELDS} | {"stderr": 0.1}
    assert results.upgrade_row(early, "another") == new  # the blocks are too few, whatever it said


@given(st.sampled_from("\n\t\0'\",\\ aé"), st.integers(1, 5))
def test_any_separator_is_parsed_from_the_protocol(separator, lanes):
    protocol = EvalProtocol("records", lanes, separator=separator).resolve(10**6)
    assert results.parse_protocol(str(protocol), lanes)["separator"] == separator


@pytest.mark.parametrize("name", ["lstm_4_layers", "gru_one_hot"])
def test_lines_of_older_runs_are_read(name):
    run = load_run(FIXTURES / name)
    rows = results.read_results(run)
    expected = json.loads((FIXTURES / "expected.json").read_text())[name]
    static = {row["split"]: row for row in rows if row["protocol_name"] == "carry"}
    assert {split: row["nats"] for split, row in static.items()} == expected["nats"]
    assert all(row.keys() == results.FIELDS and row["split_spec"] == run.config.data.split for row in rows)
    assert all(row["block"] == 10_000 and row["blocks"] == [round(row["nats"], 3)] for row in rows)
    if "dynamic" in expected:
        [dynamic] = [row for row in rows if row["protocol_name"] == "dynamic"]
        assert dynamic["nats"] == expected["dynamic"]
        assert dynamic["dynamic"] == {
            "method": "rms", "segment": 40, "learning_rate": 2e-5, "decay": 1e-3, "normalize": "tensor", "streams": 1,
        }  # fmt: skip


def test_lines_that_are_cut_off_or_lack_fields_are_skipped(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in (FIXTURES / "gru_one_hot").glob("*.json*"):
        (folder / path.name).write_bytes(path.read_bytes())
    run = load_run(folder)
    row = results.result_row(score(PROTOCOLS[0]), run, "d" * 64, 7, 1.5)
    for broken in ('{"cut off', "[1]", '{"split": "test"}', json.dumps({"version": 2, **row, "nats": 1})[:-1]):
        with (folder / "result.jsonl").open("a") as file:
            file.write(broken + "\n")
    del row["window"]
    results.append_result(folder, row)
    assert len(results.read_results(run)) == 2
    early = {name: value for name, value in row.items() if name not in results.LATER_FIELDS}
    results.append_result(folder, early | {"window": None})
    assert len(results.read_results(run)) == 3 and Path(folder / "result.jsonl").read_bytes().endswith(b"}\n")


def test_a_line_that_lacks_a_later_field_is_read_with_null(tmp_path, monkeypatch):
    run = dataclasses.replace(load_run(FIXTURES / "gru_one_hot"), folder=tmp_path)
    row = results.result_row(score(PROTOCOLS[0]), run, "d" * 64, 7, 1.5)
    results.append_result(tmp_path, row)
    monkeypatch.setattr(results, "FIELDS", results.FIELDS | {"entropy"})
    assert results.read_results(run) == [row | {"entropy": None}]
