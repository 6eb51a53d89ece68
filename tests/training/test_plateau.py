"""Decisions by the validations equal the rules of those who published them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm import api
from rnnlm.errors import UserError
from rnnlm.training.plateau import NEVER, UNDECIDED, average_start, count_drops, decide
from tests.conftest import leaves, rows, same_bits, tiny

BPCS = st.lists(st.integers(0, 6).map(float), max_size=25)


def config(**overrides):
    return tiny(**{f"optim__{k}": v for k, v in overrides.items()}).optim


def lamb_drops(bpcs, turns):
    """Drop as monitoring.py of google-deepmind/lamb does: max(best_turn, last_drop_turn) + drop_turns < turn."""
    best_turn, best, last, drops = 0, None, -1, 0
    for turn, bpc in enumerate(bpcs):
        if best is None or bpc < best:
            best, best_turn = bpc, turn
        if max(best_turn, last) + turns < turn:
            last, drops = turn, drops + 1
    return drops


@given(BPCS, st.integers(0, 4))
def test_drops_are_those_of_lamb(bpcs, patience):
    assert count_drops(bpcs, patience) == lamb_drops(bpcs, patience)


@given(BPCS, st.integers(0, 4))
def test_drops_are_those_of_pytorch(bpcs, patience):
    """ReduceLROnPlateau(patience, threshold=0) drops after more than `patience` bad validations, and counts anew."""
    best, bad, drops = float("inf"), 0, 0
    for bpc in bpcs:
        best, bad = (bpc, 0) if bpc < best else (best, bad + 1)
        if bad > patience:
            bad, drops = 0, drops + 1
    assert count_drops(bpcs, patience) == drops


@given(BPCS, st.integers(1, 5))
def test_the_nonmonotonic_trigger_is_that_of_awd_lstm(bpcs, nonmono):
    """main.py: len(best_val_loss) > nonmono and val_loss > min(best_val_loss[:-nonmono]), then append."""
    seen, wanted = [], None
    for i, bpc in enumerate(bpcs):
        if wanted is None and len(seen) > nonmono and bpc > min(seen[:-nonmono]):
            wanted = i
        seen.append(bpc)
    assert average_start(config(average="nonmonotonic", average_patience=nonmono), bpcs) == wanted


@given(BPCS, st.integers(1, 5), st.integers(0, 9))
def test_the_patient_trigger_is_that_of_lamb(bpcs, patience, latest):
    """training.py: turn - best_turn >= trigger_averaging_turns, or turn >= trigger_averaging_at_the_latest."""
    found = average_start(config(average="patience", average_patience=patience, average_latest=latest), bpcs)
    for turn in range(len(bpcs)):
        best = int(np.argmin(bpcs[: turn + 1]))
        due = turn - best >= patience or (latest and turn + 1 >= latest)
        if found == turn:
            assert due
            break
        assert not due


def test_decisions_are_of_the_steps_of_validations():
    scores = {30: 2.0, 10: 1.0, 20: 2.0, 40: 2.0}
    assert decide(config(), scores) == UNDECIDED and UNDECIDED.average_from == NEVER
    plateau = config(schedule="plateau", patience=1, decay=0.1)
    assert [float(decide(plateau, {s: scores[s] for s in seen}).rate) for seen in ([10, 20], [10, 20, 30], scores)] == [
        1.0,
        pytest.approx(0.1),
        pytest.approx(0.1),
    ]
    assert decide(config(average="patience", average_patience=2), scores).average_from == 30


@pytest.mark.parametrize("keys", [{"optim__schedule": "plateau"}, {"optim__average": "patience"}])
def test_decisions_need_a_validation_split(keys, tmp_path, text_file):
    with pytest.raises(UserError, match="no validation split with data.split=0.9/0/0.1"):
        api.train(tiny(data__files=str(text_file), data__split="0.9/0/0.1", **keys), tmp_path / "run", show=False)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_an_interrupted_run_decides_as_an_uninterrupted_one(tmp_path, text_file):
    """The learning rate and the average are those of the validations in metrics.jsonl, whoever has made them."""
    keys = {
        "data__files": str(text_file),
        "optim__name": "sgd",
        "optim__momentum": 0.0,
        "optim__learning_rate": 20.0,  # so that the validations get worse
        "optim__schedule": "plateau",
        "optim__patience": 0,
        "optim__decay": 0.3,
        "optim__average": "patience",
        "optim__average_patience": 1,
        "eval__every": 3,
        "checkpoint__every": 4,  # so that a part begins before, at and after a validation
    }
    api.train(tiny(**keys, train__steps=24), tmp_path / "whole", show=False)
    for steps in (9, 12, 15, 24):
        api.train(tiny(**keys, train__steps=steps), tmp_path / "parts", show=False)
    same_bits(leaves(tmp_path / "parts", 24), leaves(tmp_path / "whole", 24))
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    rates = [row["learning_rate"] for row in rows(tmp_path / "whole") if "loss" in row]
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[14]  # lowered before a part begins
    scores = {row["step"]: row["valid_bpc"] for row in rows(tmp_path / "whole") if "valid_bpc" in row}
    assert decide(tiny(**keys).optim, scores).average_from < 15
    for changed in ({"eval__max_symbols": 50}, {"eval__every": 6}):  # which would make other decisions of the past
        with pytest.raises(UserError, match="eval"):
            api.train(tiny(**keys | changed, train__steps=30), tmp_path / "parts", show=False)
