"""The ids of trials, and the values that reach them."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.folder import SweepDir, shown
from launch.sweep import Source
from launch.trials import resolve_trials, trial_id
from rnnlm.commands.config_file import load_config
from rnnlm.errors import UserError
from tests.conftest import ROOT

NAMES = st.sampled_from(["model.hidden", "optim.learning_rate", "data.files", "sample.prompt", "seed"])
VALUES = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.booleans(), st.lists(st.integers()))


@given(st.dictionaries(NAMES, VALUES, min_size=1), st.dictionaries(NAMES, VALUES, min_size=1))
def test_ids_are_safe_names_that_tell_values_apart(a, b):
    assert re.fullmatch(r"[A-Za-z0-9._+=,~-]{1,160}", trial_id(a))
    same = {k: repr(v) for k, v in a.items()} == {k: repr(v) for k, v in b.items()} and list(a) == list(b)
    alike = [str(v) for v in a.values()] == [str(v) for v in b.values()]  # 1 and "1" are one value of a key
    assert (trial_id(a) == trial_id(b)) <= (same or alike or json.dumps(a) == json.dumps(b))


def test_ids_are_readable():
    overrides = {"optim.learning_rate": 0.001, "model.hidden": 128, "train.steps": 5, "seed": 0}
    assert trial_id(overrides) == "learning_rate=0.001,hidden=128,train.steps=5,seed=0"


def resolve(listed, given=()):
    return resolve_trials(load_config(str(ROOT / "tests/tiny.py")), listed, given)


def test_a_value_has_one_id_however_it_is_written():
    ids = {resolve([{"optim.learning_rate": text}])[0].id for text in ("1e-3", "0.001", "1.0e-03", 0.001)}
    assert ids == {"learning_rate=0.001"}


def test_a_key_that_follows_another_follows_its_swept_value():
    small, large = resolve([{"model.dropout": "0.1"}, {"model.dropout": "0.5"}])
    assert (small.config.model.dropout_output, large.config.model.dropout_output) == (0.1, 0.5)


@pytest.mark.parametrize(
    ("listed", "given", "message"),
    [
        ([{"model.hiden": "1"}], (), "no config key model.hiden"),
        ([{"model.hidden": "x"}], (), "does not fit"),
        ([{"model.hidden": "8"}, {"model.hidden": "-1"}], (), "impossible"),
        ([{"model.hidden": "8"}], ("--config.model.hidden=9",), "is swept, and set for all trials"),
        ([{"optim.learning_rate": "1e-3"}, {"optim.learning_rate": "0.001"}], (), "Two trials are the same"),
        ([{"model.hidden": {}}], (), "cannot be swept"),
    ],
)
def test_a_wrong_trial_is_refused(listed, given, message):
    with pytest.raises(UserError, match=message):
        resolve(listed, given)


STUB = """import json, sys
words = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[2:])
print(json.dumps({"prompt": json.load(open(words["config"]))["sample"]["prompt"], "workdir": words["workdir"]}))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stub")
    (folder / "stub.py").write_text(STUB)
    (folder / "rnnlm").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {folder}/stub.py "$@"\n')
    (folder / "rnnlm").chmod(0o755)
    return folder


def test_values_arrive_unharmed_through_a_shell(stub, tmp_path_factory):
    source = Source(str(ROOT / "tests/tiny.py"), ["--config.data.files=x"], False)

    @settings(max_examples=10)
    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
    def check(text):
        for value in (text, 'it\'s $HOME, "a b" `ls` \\n;\n* é'):
            [trial] = source.resolve([{"sample.prompt": value.replace("\\", "\\\\")}])
            sweep = SweepDir(tmp_path_factory.mktemp("a b'c$d") / "s")
            [trial] = sweep.write(source.base, [trial], "")
            line = shown(sweep.commands(trial)[0])
            got = subprocess.run(
                ["bash", "-c", line], env={"PATH": f"{stub}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
            )
            assert json.loads(got.stdout) == {"prompt": value, "workdir": str(sweep.run_dir(trial))}

    check()
