"""A finished run is not shortened, a lengthened one tells its rates, and what changes nothing learned may change."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import rnnlm as api
from rnnlm.errors import UserError
from rnnlm.runs import checkpoint
from rnnlm.runs.layout import RunDir, load_run
from rnnlm.runs.params import candidate_steps
from rnnlm.training import resume
from tests.conftest import leaves, rows, same_bits, tiny

COSINE = {"train__steps": 20, "optim__schedule": "cosine", "optim__final": 0.02}


def config(text_file, **overrides):
    return tiny(**{"data__files": str(text_file), "sample__every": 0, "checkpoint__keep": 9, **COSINE, **overrides})


def train(workdir, text_file, **overrides):
    return api.train(config(text_file, **overrides), workdir, show=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, text_file):
    """Train a run of 20 steps by a cosine: -> its folder."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    train(workdir, text_file)
    return workdir


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def contents(folder: Path):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def rates(workdir):
    return {row["step"]: row["learning_rate"] for row in rows(workdir) if "loss" in row}


def test_a_run_is_not_shortened_below_the_step_that_it_has_reached(run, text_file):
    before = contents(run)
    with pytest.raises(UserError, match="is at step 20 already, beyond train.steps=10: give at least 20"):
        train(run, text_file, train__steps=10)
    assert contents(run) == before


def test_a_finished_run_stays_as_it_is(run, text_file, capsys):
    before = (run / "result.json").read_text()
    train(run, text_file)
    assert (run / "result.json").read_text() == before and "all 20 steps are made" in capsys.readouterr().out


def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(run, text_file):
    shutil.rmtree(run / "checkpoints")
    before = contents(run)
    with pytest.raises(UserError, match="a run that was at step 20, but no checkpoint of it: restore checkpoints/"):
        train(run, text_file)
    assert contents(run) == before


def test_a_damaged_row_of_metrics_is_named_and_no_other_is_lost(run, text_file):
    path = run / "metrics.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (b"{\n", b"[]\n", b"{}\n", b'{"step": 3'):
        path.write_bytes(b"".join([lines[0], damaged, *lines[2:]]) if damaged.endswith(b"\n") else whole + damaged)
        if damaged.endswith(b"\n"):
            before = contents(run)
            with pytest.raises(UserError, match=f"Line 2 of {path} is damaged"):
                train(run, text_file, train__steps=30)
            assert contents(run) == before
        else:  # what a kill leaves
            train(run, text_file)
            assert path.read_bytes() == whole


def test_a_text_that_is_not_there_is_refused_and_the_manner_of_opening_it_kept(run, tmp_path, text_file):
    before = contents(run)
    with pytest.raises(UserError, match="names no file, and .* has a text already .*: leave it out"):
        train(run, text_file, data__files=str(tmp_path / "mistyped.txt"), train__steps=30)
    assert contents(run) == before
    train(run, text_file, data__binary=True, train__steps=30)
    assert load_run(run).config.data.binary is False


def test_a_folder_in_which_another_process_has_trained_meanwhile_is_refused(run, text_file, monkeypatch):
    read = resume.footprint.refuse_too_large  # the last thing before the folder is locked

    def train_too(*arguments):
        monkeypatch.setattr(resume.footprint, "refuse_too_large", read)
        train(run, text_file, train__steps=25)
        read(*arguments)

    monkeypatch.setattr(resume.footprint, "refuse_too_large", train_too)
    with pytest.raises(UserError, match="Another process has trained in .* meanwhile"):
        train(run, text_file, train__steps=30)
    assert checkpoint.steps(RunDir(run).checkpoints)[-1] == 25


def test_lengthening_tells_both_rates_and_optim_steps_keeps_the_schedule(run, tmp_path, text_file, capsys):
    kept = shutil.copytree(run, tmp_path / "kept")
    train(run, text_file, train__steps=40)
    after = rates(run)
    said = f"goes on with {after[21]:.3g} in place of {0.01 * 0.02:.3g}, since its schedule now has 40 steps"
    assert said in capsys.readouterr().out and after[21] > 10 * after[20]
    train(kept, text_file, train__steps=40, optim__steps=20)
    assert "learning rate" not in capsys.readouterr().out
    assert [rates(kept)[step] for step in range(1, 21)] == [after[step] for step in range(1, 21)]
    assert [rates(kept)[step] for step in range(21, 41)] == pytest.approx([0.01 * 0.02] * 20)
    assert load_run(kept).config.optim.steps == 20


def test_the_schedules_own_length_is_that_of_a_run_of_so_many_steps(tmp_path, text_file):
    train(tmp_path / "longer", text_file, train__steps=24, optim__steps=20)
    train(tmp_path / "whole", text_file)
    assert rows(tmp_path / "longer")[:20] == rows(tmp_path / "whole")[:20]


def test_logs_samples_checkpoints_and_validations_may_change(run, tmp_path, text_file):
    """They do not change what is learned."""
    whole = tmp_path / "whole"
    longer = {"train__steps": 40, "optim__steps": 20}
    train(whole, text_file, **longer)
    changed = {"log__every": 5, "sample__every": 8, "sample__length": 9, "checkpoint__every": 20, "checkpoint__keep": 1}
    train(run, text_file, **longer, **changed, eval__every=8)
    same_bits(leaves(run, 40), leaves(whole, 40))
    assert [row["step"] for row in rows(run) if "loss" in row and row["step"] > 20] == [25, 30, 35, 40]
    assert [row["step"] for row in rows(run) if "valid_bpc" in row] == [10, 20, 24, 32, 40]
    assert sorted(p.name for p in (run / "samples").iterdir()) == [f"{step:09d}.txt" for step in (24, 32, 40)]
    assert load_run(run).config.log.every == 5
    for name, value in {"model__dropout": 0.1, "seed": 3, "optim__clip_norm": 2.0, "train__window": 4}.items():
        with pytest.raises(UserError, match=name.replace("__", ".")):
            train(run, text_file, **longer, **{name: value})


def test_the_best_step_is_chosen_among_validations_that_compare(run, text_file, capsys):
    """After a change of what is validated, however good the scores before it were."""
    path = run / "metrics.jsonl"
    text = path.read_text()
    best = next(row for row in rows(run) if "valid_bpc" in row)["valid_bpc"]
    path.write_text(text.replace(f'"valid_bpc": {best}', '"valid_bpc": 0.5'))
    assert candidate_steps(RunDir(run), "best")[0] == 10
    result = train(run, text_file, train__steps=40, eval__max_symbols=300)
    assert "eval.max_symbols=300 in place of 500000: the best step is chosen among" in capsys.readouterr().out
    scores = {row["step"]: row["valid_bpc"] for row in rows(run) if row.get("valid_count") == 300}
    assert set(scores) == {30, 40} and result["best_step"] == min(scores, key=scores.get)
    assert result["best_step"] in checkpoint.steps(run / "checkpoints")
    assert candidate_steps(RunDir(run), "best")[0] == result["best_step"]


def test_a_validation_due_at_the_step_of_a_resumed_run_is_made_once(run, text_file):
    """A run that is stopped after a change ends as one that goes on after it."""
    shutil.rmtree(run / "checkpoints" / "20")
    (run / "metrics.jsonl").write_text("".join((run / "metrics.jsonl").read_text().splitlines(keepends=True)[:16]))
    assert rows(run)[-1]["step"] == 15 and checkpoint.steps(run / "checkpoints") == [5, 10, 15]
    for _ in range(2):
        train(run, text_file, eval__every=5)
        assert [row["step"] for row in rows(run) if "valid_bpc" in row] == [10, 15, 20]
    assert np.all(np.diff([row["step"] for row in rows(run)]) >= 0)
