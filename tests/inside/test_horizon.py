"""A symbol's cost under a context is that of a model that has read the context and nothing before it."""

import json

import numpy as np
import pytest

import rnnlm
from rnnlm.commands import main
from rnnlm.evaluation.evaluator import Evaluator
from rnnlm.inside import horizon
from rnnlm.runtime import parallel
from tests.conftest import tiny


@pytest.fixture(scope="module")
def lm(tmp_path_factory, text_file):
    folder = tmp_path_factory.mktemp("horizon") / "run"
    rnnlm.train(tiny(data__files=str(text_file), train__steps=100), folder, show=False)
    return rnnlm.load(folder)


def test_the_cost_is_that_of_reading_the_context_alone(lm):
    part = lm.dataset.slice("valid")
    evaluator = Evaluator(lm.config.model, len(lm.vocabulary))
    costs = horizon.cost_by_context(evaluator, parallel.replicate(lm.params), part, (1, 4, 30), 150)
    targets = horizon.choose_targets(part, 30, 150)
    assert len(set(targets)) == 150 and part.begin + 30 <= targets[0] and targets[-1] < part.end
    for i in (0, 77, 149):
        for context, nats in costs.items():
            lm.reset()
            for id_ in part.text.encode(np.arange(targets[i] - context, targets[i])):
                log_p = lm.step(int(id_))
            assert nats[i] == pytest.approx(-log_p[int(part.text.encode(targets[i : i + 1])[0])], rel=1e-4)


def test_rows_compare_each_context_with_the_longest_on_the_same_targets(lm):
    rows = lm.horizon("valid", (1, 4, 30), 150)
    assert [(row["context"], row["count"]) for row in rows] == [(1, 150), (4, 150), (30, 150)]
    assert rows[-1]["worse_by"] == 0 and rows[-1]["interval"] == [0, 0]
    assert rows[0]["worse_by"] == pytest.approx(rows[0]["bpc"] - rows[-1]["bpc"])
    low, high = rows[0]["interval"]
    assert 0 < low < rows[0]["worse_by"] < high


def test_the_command_prints_and_plots_what_python_returns(lm, tmp_path, capsys):
    args = [str(lm.workdir), "--contexts=1,4", "--targets=40", "--cpu_devices=1"]
    assert main.main(["horizon", *args, "--json", f"--plot={tmp_path}/horizon.png"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    about = {"workdir": str(lm.workdir), "split": "valid"}
    assert [line.items() >= about.items() for line in lines] == [True, True]
    for line, row in zip(lines, lm.horizon("valid", (1, 4), 40), strict=True):
        assert line["context"] == row["context"] and line["nats"] == pytest.approx(row["nats"], rel=1e-5)
        assert line["interval"] == pytest.approx(row["interval"], rel=1e-4)
    assert (tmp_path / "horizon.png").read_bytes().startswith(b"\x89PNG")
    assert main.main(["horizon", *args]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["context", "bpc", "worse", "by", "+-", "95", "%"]


@pytest.mark.parametrize(
    "args, complaint",
    [
        ({"contexts": (0, 5)}, r"contexts=\[0, 5\] cannot be read"),
        ({"contexts": (30,), "targets": 10**6}, "too few for 1,000,000 of them that have a context of 30"),
        ({"contexts": ()}, r"contexts=\[\] cannot be read"),
        ({"contexts": (1, 10**6)}, "too few for 2 of them that have a context of 1,000,000"),
        ({"split": "nothing"}, "nothing"),
    ],
)
def test_what_cannot_be_scored_is_refused(lm, args, complaint):
    with pytest.raises(rnnlm.UserError, match=complaint):
        lm.horizon(**args)


def test_bad_flags_are_refused(lm, capsys):
    for flag, complaint in (("--contexts=1,x", "expected numbers"), ("--plot=a.txt", "no figure")):
        assert main.main(["horizon", str(lm.workdir), flag]) == 2
        assert complaint in capsys.readouterr().err
    assert main.main(["horizon"]) == 2
