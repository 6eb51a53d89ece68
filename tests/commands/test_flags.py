"""What the help of a flag promises is what the flag does, under every protocol."""

import json

import pytest

import rnnlm
from rnnlm.commands import main
from tests.conftest import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory, text_file):
    """A run whose lanes and warm-up are not the defaults of rnnlm."""
    folder = tmp_path_factory.mktemp("flags") / "run"
    config = tiny(data__files=str(text_file), train__steps=2, eval__every=0, eval__lanes=3, eval__warmup=40)
    rnnlm.train(config, folder, show=False)
    return folder


@pytest.mark.parametrize(
    "flags, protocol",
    [
        ("", "carry, 3 lanes, 40 warm-up"),
        ("--lanes=0 --warmup=9", "carry, 2 lanes, 9 warm-up"),
        ("--protocol=records", r"records after '\n', 3 lanes, 40 warm-up"),
        ("--protocol=windows --window=8", "windows of 8, stride 4"),
        ("--dynamic=sgd", "dynamic sgd, 1 stream, segment 20, rate 0.1, decay 0"),
        ("--dynamic=sgd --lanes=0", "dynamic sgd, 1 stream, segment 20, rate 0.1, decay 0"),
        ("--dynamic=sgd --lanes=2", "dynamic sgd, 2 streams, 40 warm-up, segment 20, rate 0.1, decay 0"),
        ("--dynamic=sgd --lanes=2 --warmup=50", "dynamic sgd, 2 streams, 60 warm-up, segment 20, rate 0.1, decay 0"),
    ],
)
def test_lanes_and_warmup_are_the_runs_unless_the_help_says_otherwise(capsys, run, flags, protocol):
    rates = "--learning_rate=0.1 --decay=0" if "dynamic" in flags else ""
    args = ["eval", f"--workdir={run}", "--json", "--symbols_to=150", "--cpu_devices=1", *flags.split(), *rates.split()]
    assert main.main(args) == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == f"{protocol}, symbols 0..150"
    recorded = json.loads((run / "result.jsonl").read_text().splitlines()[-1])
    assert (recorded["lanes"] == 38) == ("windows" in flags)  # as many as there are windows


def test_the_help_says_so(capsys):
    with pytest.raises(SystemExit):
        main.main(["eval", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "eval.lanes of the run for carry and records, 0 for windows and for --dynamic" in text
    assert "0 as many as suit the length, but 1 for --dynamic" in text
    assert "for --dynamic up to a whole segment; unless given eval.warmup of the run; not for windows" in text


def test_tuning_does_not_print_its_trials_unless_asked(capsys, run):
    args = ["eval", f"--workdir={run}", "--dynamic=sgd", "--tune", "--symbols_to=50", "--cpu_devices=1"]
    assert main.main(args) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 15 and [line.startswith("tuned: ") for line in lines].count(True) == 1
    assert not any(line.startswith("valid ") for line in lines)
    assert main.main(["eval", f"--workdir={run}", "--verbose"]) == 2
    assert "--verbose prints each trial of --tune" in capsys.readouterr().err
