"""A gap between train and valid is pointed out where the order of the text is its likely cause, and only there."""

import pytest

from rnnlm.config import DataConfig
from rnnlm.training.gap import explain_gap

OWN = DataConfig(files="texts")


def rows(train=2.0, valid=3.0, epoch=1.0, count=20_000, before=20):
    made = [{"step": step, "epoch": epoch / 2, "bpc": train} for step in range(before)]
    return [*made, {"step": before, "epoch": epoch, "valid_bpc": valid, "valid_count": count}]


def test_it_is_pointed_out_with_the_cause_and_what_to_do():
    said = explain_gap(OWN, 7, rows(), 2500)
    assert "After 1 epochs the validation split cost 3.00 bpc and the training split 2.00" in said
    assert "7 files are joined by name; data.shuffle=files puts the files" in said
    assert "data.shuffle=records with data.separator" in explain_gap(OWN, 1, rows(), 2500)
    later = [*rows(), {"step": 99, "epoch": 40.0, "valid_bpc": 9.0, "valid_count": 20_000}]
    assert explain_gap(OWN, 7, later, 2500) == said  # what comes after three epochs does not count


@pytest.mark.parametrize(
    "config, found",
    [
        (OWN, rows(valid=2.2)),  # not large
        (OWN, rows(train=5.0, valid=5.6)),  # in bits, but not as a share: 15 % of 5 are 0.75
        (OWN, rows(epoch=3.5)),  # perhaps overfitting
        (OWN, rows(count=5000)),  # of few symbols
        (OWN, rows(before=3)),  # of few symbols
        (OWN, []),
        (DataConfig(files="texts", shuffle="files"), rows()),
        (DataConfig(files="texts", shuffle="records", separator="\n"), rows()),
        (DataConfig(corpus="warpeace"), rows()),
    ],
)
def test_it_is_not_pointed_out(config, found):
    assert explain_gap(config, 7, found, 2500) == ""


def test_a_gap_that_closes_within_three_epochs_is_none():
    assert explain_gap(OWN, 7, [*rows(), *rows(valid=2.1, epoch=2.0)], 2500) == ""
