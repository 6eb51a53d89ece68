"""The folder of a sweep: what it refuses, what it mends, and what it says of its trials."""

import json

import pytest

from launch.folder import SweepDir
from launch.sweep import Source
from rnnlm.errors import UserError
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def source():
    return Source(str(ROOT / "tests/tiny.py"), ["--config.data.files=x"], False)


@pytest.fixture
def sweep(tmp_path, source):
    """Write a sweep of two trials, of which none is trained."""
    made = SweepDir(tmp_path / "s")
    made.write(source.base, source.resolve([{"model.hidden": 6}, {"model.hidden": 8}]), "")
    return made


@pytest.mark.parametrize("parent", ["file", "/proc/none"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, source, parent):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        SweepDir(tmp_path / parent / "s").write(source.base, [], "")


@pytest.mark.parametrize(
    "damage",
    [{"trials": 3}, {"trials": ["hidden=6"]}, {"trials": [{"id": "hidden=6"}]}, {"version": 2}, {"base": None}],
)
def test_a_damaged_list_of_trials_is_refused(sweep, source, damage):
    saved = json.loads(sweep.file.read_text()) | damage
    if saved["base"] is None:
        del saved["base"]
    sweep.file.write_text(json.dumps(saved))
    with pytest.raises(UserError, match="sweep.json is damaged"):
        sweep.write(source.base, [], "")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', None])
def test_a_damaged_config_of_a_trial_is_named_and_written_again(sweep, source, text):
    trials = sweep.trials()
    file = sweep.config(trials[0])
    whole = file.read_bytes()
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(UserError, match=r"trials/hidden=6\.json is missing or damaged"):
        sweep.trials()
    sweep.write(source.base, trials, "")
    assert file.read_bytes() == whole and sweep.trials() == trials


def test_a_trial_is_done_when_it_is_evaluated_on_the_split_of_the_sweep(sweep, source):
    trial, _ = sweep.trials()
    folder = sweep.run_dir(trial)
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    (folder / "result.json").write_text("{}")
    assert sweep.state(trial) == "done"
    sweep.write(source.base, [], "test")
    assert sweep.state(trial) == "stopped"
    (folder / "result.jsonl").write_text('{"split": "valid", "step": 30}\n')
    assert sweep.state(trial) == "stopped"
    with (folder / "result.jsonl").open("a") as file:
        file.write('{"split": "test", "step": 30}\n')
    assert sweep.state(trial) == "done"
