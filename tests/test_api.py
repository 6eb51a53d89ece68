"""What a Python user calls gives what the commands give, and leaves the process as it found it."""

import contextlib
import gzip
import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import rnnlm
from rnnlm.cells import foreign
from rnnlm.commands import main
from rnnlm.config import Config
from rnnlm.errors import UserError
from rnnlm.evaluation.dynamic import Adaptation
from rnnlm.generation import states
from rnnlm.runtime import quiet
from tests.conftest import ROOT, environment, make_text, rows, tiny

SGD = Adaptation("sgd", 10, 0.1, 0.001)


def config_for(text, **overrides):
    return tiny(data__files=str(text), data__symbols="byte_seen", **overrides)


@pytest.fixture(scope="module")
def run(tmp_path_factory, text_file):
    """A run folder, the rows that `on_row` received while it was made, and what train returned."""
    folder, received = tmp_path_factory.mktemp("api") / "run", []
    result = rnnlm.train(config_for(text_file), folder, received.append, show=False)
    return folder, received, result


@pytest.fixture
def lm(run):
    return rnnlm.load(run[0])


def command(capsys, *args):
    """Run a command line in this process: -> what it printed."""
    capsys.readouterr()
    assert main.main([*map(str, args), "--cpu_devices=1"]) == 0
    return capsys.readouterr().out


def script(code):
    """Run Python code in a process of its own, which must not warn: -> what it printed."""
    arguments = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(arguments, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_rnnlm_loads_nothing_large():
    code = """
import sys, rnnlm
print(*dir(rnnlm), rnnlm.__version__)
assert not {"jax", "numpy", "flax", "absl", "importlib.metadata"} & set(sys.modules) - {"importlib.metadata"}
"""
    names = script(code).split()
    public = {"load", "train", "compare", "configure", "LanguageModel", "EvalProtocol", "Adaptation", "Score"}
    assert public <= set(names) and names[-1].count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = rnnlm.lode


def test_every_public_name_is_there():
    assert all(getattr(rnnlm, name) is not None for name in dir(rnnlm))


def test_training_returns_what_the_folder_says(run):
    folder, received, result = run
    assert result == json.loads((folder / "result.json").read_text()) and result["step"] == 30
    assert received == [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_training_needs_no_main_thread_and_no_config(run, tmp_path, text_file):
    result, found = run[2], []
    first = replace(config_for(text_file), train=replace(config_for(text_file).train, steps=20))
    thread = threading.Thread(target=lambda: found.append(rnnlm.train(first, tmp_path / "run", show=False)))
    thread.start()
    thread.join()
    assert found[0]["step"] == 20
    assert rnnlm.train(None, tmp_path / "run", show=False)["step"] == 20
    # A plain dict is a config, too.
    assert rnnlm.train(config_for(text_file).as_dict(), tmp_path / "run", show=False)["step"] == 30
    assert rows(tmp_path / "run")[-1]["valid_bpc"] == result["valid_bpc"]


def test_a_model_says_what_it_is(run, lm):
    shown = f"LanguageModel(lstm 2x12, 3,166 parameters, 22 symbols (byte_seen), step {lm.train_step}, {run[0]})"
    assert repr(lm) == shown and run[2]["parameters"] == 3166 and lm.workdir == run[0]


@pytest.mark.parametrize(
    "flags, options",
    [
        ((), {}),
        (("--split=valid", "--lanes=3", "--warmup=7"), {"protocol": rnnlm.EvalProtocol(lanes=3, warmup=7)}),
        (("--protocol=windows", "--window=20"), {"protocol": rnnlm.EvalProtocol("windows", window=20, stride=10)}),
        (("--protocol=streams", "--lanes=7"), {"protocol": rnnlm.EvalProtocol(lanes=7, warmup=0)}),
        (("--protocol=chunks", "--window=30"), {"protocol": rnnlm.EvalProtocol("windows", window=30, stride=30)}),
        (
            ("--temperature=0.8", "--lanes=1"),
            {"protocol": rnnlm.EvalProtocol(lanes=1, temperature=0.8)},
        ),
        (("--symbols_from=50", "--symbols_to=300"), {"symbols": (50, 300)}),
        (("--dynamic=sgd", "--segment=10", "--learning_rate=0.1", "--decay=0.001"), {"dynamic": SGD}),
    ],
    ids=str,
)
def test_a_score_is_that_of_eval(capsys, run, lm, flags, options):
    line = json.loads(command(capsys, "eval", f"--workdir={run[0]}", "--json", *flags))
    score = lm.score("valid" if "--split=valid" in flags else "test", **options)
    assert score.as_dict() | {"step": lm.train_step} == line


def test_a_score_of_several_runs_and_of_the_tuned_temperature_is_that_of_eval(capsys, run, lm, tmp_path, text_file):
    rnnlm.train(replace(config_for(text_file), seed=5), tmp_path / "other", show=False)
    other, folder = rnnlm.load(tmp_path / "other"), shutil.copytree(run[0], tmp_path / "run")
    (folder / "result.jsonl").unlink(missing_ok=True)
    line = json.loads(command(capsys, "eval", f"--workdir={folder}", "--json", f"--ensemble={other.workdir}"))
    assert not (folder / "result.jsonl").exists()
    mean = lm.score("test", ensemble=[other])
    assert mean.as_dict().items() <= line.items() and line["ensemble"] == [str(folder), str(other.workdir)]
    assert mean.tally.bpc < np.mean([model.score("test").tally.bpc for model in (lm, other)])  # Jensen's inequality
    for twice in ([lm], [other, other]):
        with pytest.raises(rnnlm.UserError, match="is in the ensemble more than once"):
            lm.score("test", ensemble=twice)
    line = json.loads(command(capsys, "eval", f"--workdir={folder}", "--json", "--temperature=tune"))
    tempered = replace(rnnlm.EvalProtocol.of_run(lm.config), temperature=lm.tune_temperature())
    assert lm.score("test", protocol=tempered).as_dict().items() <= line.items() and tempered.temperature != 1


def test_exactly_one_text_is_scored(lm, tmp_path):
    text = make_text(700, seed=3)
    path = tmp_path / "text"
    path.write_bytes(text)
    scores = [lm.score(text=text), lm.score(text=text.decode()), lm.score(path=path), lm.score(path=str(path))]
    assert len({score.tally for score in scores}) == 1 and scores[0].tally.count == 700
    packed = tmp_path / "text.gz"
    packed.write_bytes(gzip.compress(text))
    assert lm.score(path=packed).tally == scores[0].tally
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(rnnlm.UserError, match="is no text but PNG"):
        lm.score(path=path)
    one_lane = lm.score(text=text, protocol=rnnlm.EvalProtocol(lanes=1))
    assert lm.bpc(text) == one_lane.tally.bpc
    for wrong in ({}, {"split": "test", "text": "a"}, {"text": "a", "path": path}):
        with pytest.raises(rnnlm.UserError, match="Exactly one of split, text and path is read"):
            lm.score(**wrong)
    with pytest.raises(rnnlm.UserError, match="leave out protocol"):
        lm.score("test", dynamic="rms", protocol=rnnlm.EvalProtocol())
    with pytest.raises(rnnlm.UserError, match="no dynamic method 'adam': it is rms or sgd"):
        lm.score("test", dynamic="adam")
    with pytest.raises(rnnlm.UserError, match="leave out record"):
        lm.score(text="a", record=True)
    with pytest.raises(rnnlm.UserError, match="byte '#' at offset 1"):
        lm.score(text="a#")


def test_a_score_is_recorded_where_asked(capsys, tmp_path, run):
    folder = shutil.copytree(run[0], tmp_path / "run")
    (folder / "result.jsonl").unlink(missing_ok=True)
    lm = rnnlm.load(folder)
    score = lm.score("test")
    assert not (folder / "result.jsonl").exists()
    lm.score("test", record=True)
    command(capsys, "eval", f"--workdir={folder}")
    first, second = (json.loads(line) for line in (folder / "result.jsonl").read_text().splitlines())
    assert {k for k in first if first[k] != second[k]} <= {"time", "seconds"} and first["nats"] == score.tally.nats
    (row,) = rnnlm.compare([folder])
    assert row["bpc"] == first["bpc"] and row["worse_by"] == 0 and row["source"] == "eval"
    (folder / "result.jsonl").unlink()
    (folder / "result.jsonl").mkdir()
    assert lm.score("test", record=True).tally == score.tally  # it is not lost
    assert "The score is not recorded" in capsys.readouterr().err


@pytest.mark.slow
def test_tuned_settings_are_found_again(lm):
    with pytest.raises(rnnlm.UserError, match=r"keeps no settings of dynamic rms for step \d+: give --learning_rate"):
        lm.score("test", dynamic="rms")
    trials = {}
    found = lm.tune_dynamic("rms", on_trial=lambda options, bpc: trials.update({options: bpc}))
    assert trials[found] == min(trials.values()) and len(trials) > 9
    assert lm.tuned("rms") == found
    assert lm.score("test", dynamic="rms") == lm.score("test", dynamic=found)


def test_samples_are_those_of_the_command(capsys, run, lm):
    options = {"length": 70, "temperature": 0.7, "seed": 3, "top_k": 9, "top_p": 0.9}
    flags = [f"--{name}={value}" for name, value in options.items()]
    one = lm.sample("the ", **options)
    assert one + "\n" == command(capsys, "sample", f"--workdir={run[0]}", "--prompt=the ", *flags)
    assert one + "\n" == command(capsys, "sample", f"--workdir={run[0]}", "--prime=the ", *flags)
    several = lm.sample("the ", **options, num=3)
    assert several[0] == one and len(several) == 3
    pieces = zip(*lm.stream("the ", **options, num=3), strict=True)
    assert ["the " + b"".join(text).decode() for text in pieces] == several
    for wrong in ({"length": 0}, {"num": 0}, {"temperature": -1.0}):
        with pytest.raises(rnnlm.UserError, match="Cannot draw"):
            lm.stream(**wrong)


def test_samples_of_several_temperatures_are_named_by_them(capsys, run, lm, tmp_path):
    args = ["sample", f"--workdir={run[0]}", "--prompt=the ", "--length=70", "--seed=3"]
    cold, hot = (lm.sample("the ", 70, temperature, 3, num=2) for temperature in (0.5, 2.0))
    assert [*cold, *hot] == lm.sample("the ", 70, [0.5, 2.0], 3, num=2)
    printed = command(capsys, *args, "--temperature=0.5,2")
    assert printed == f"----- temperature 0.5 -----\n{cold[0]}\n----- temperature 2 -----\n{hot[0]}\n"
    command(capsys, *args, "--temperature=0.5,2", "--num=2", f"--out={tmp_path}/samples")
    written = {path.name: path.read_text() for path in (tmp_path / "samples").iterdir()}
    assert written == {
        f"sample_{i + 1}_temperature_{t}.txt": texts[i] for t, texts in (("0.5", cold), ("2", hot)) for i in range(2)
    }
    with pytest.raises(rnnlm.UserError, match="give num"):
        lm.sample(temperature=[0.5, 1.0])
    assert main.main([*args, f"--out={tmp_path}/samples"]) == 2
    assert "is there already and no empty folder" in capsys.readouterr().err
    assert main.main([*args, "--records=2", "--temperature=1,2"]) == 2
    assert "Records are drawn at one temperature" in capsys.readouterr().err


@pytest.mark.parametrize("dynamic", [None, Adaptation("rms", 8, 1e-3, 1e-3)], ids=["static", "dynamic"])
def test_bytes_are_compressed_and_come_back(capsys, run, lm, tmp_path, dynamic):
    data = make_text(2000, seed=5) + b"\x00\xff Zz"
    coded = lm.compress(data, dynamic, lanes=3)
    assert lm.decompress(coded) == data and rnnlm.decompress(coded, run[0]) == data
    assert coded.lanes == 3 and coded.tally.count == 2001 and coded.escapes > 0
    path = tmp_path / "text"
    path.write_bytes(data)
    flags = ["--dynamic", "--segment=8", "--learning_rate=1e-3", "--decay=1e-3"] if dynamic else []
    command(capsys, "compress", path, f"--workdir={run[0]}", "--lanes=3", f"-o={tmp_path / 'out.rnz'}", *flags)
    assert (tmp_path / "out.rnz").read_bytes() == coded
    with pytest.raises(rnnlm.UserError, match="The compressed file is damaged"):
        lm.decompress(coded[:-2])
    with pytest.raises(rnnlm.UserError, match="name that folder"):
        rnnlm.decompress(coded)
    if not dynamic:
        with pytest.raises(rnnlm.UserError, match="by rms with the tensor mean, not by dynamic sgd"):
            lm.compress(data, SGD)


def test_online_compression_needs_no_model(text_file):
    config, data = config_for(text_file), make_text(3000)
    coded = rnnlm.compress_online(data, config, lanes=2)
    assert rnnlm.decompress(coded) == data and coded.prediction == "learning online, segment 20"
    with pytest.raises(rnnlm.UserError, match="leave dropout, .*ema, .*out of its config"):
        rnnlm.compress_online(data, replace(config, model=replace(config.model, dropout=0.5)))


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """A module `their_cells` with a cell `Mine`, that a test may import; says whether it has been imported."""
    (tmp_path / "their_cells.py").write_text("from rnnlm.cells import rnn\nMine = rnn.make_cell(None)\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda: "their_cells" in sys.modules
    sys.modules.pop("their_cells", None)


def test_a_cell_of_someone_elses_is_imported_only_where_trusted(capsys, cells, tmp_path, text_file):
    folder, config = tmp_path / "run", config_for(text_file, model__cell="their_cells:Mine")
    rnnlm.train(config, folder, show=False)  # one's own config is code anyway
    coded = rnnlm.compress_online(b"the cat", config)
    del sys.modules["their_cells"]
    flags = ["--cpu_devices=1"]
    foreign._load_cell.cache_clear()
    text, packed = tmp_path / "text", tmp_path / "text.rnz"
    text.write_bytes(b"the cat")
    packed.write_bytes(coded)
    sentence = r"has the cell Mine of the module their_cells, which would be imported and run: give --trust_code"
    for act in (
        lambda: rnnlm.load(folder),
        lambda: rnnlm.train(None, folder, show=False),
        lambda: rnnlm.decompress(coded),
        lambda: rnnlm.compare([folder]),
    ):
        with pytest.raises(rnnlm.UserError, match=sentence):
            act()
    for args in (
        ["train", f"--workdir={folder}"],
        ["eval", f"--workdir={folder}"],
        ["sample", f"--workdir={folder}"],
        ["compare", folder],
        ["compress", text, f"--workdir={folder}", f"-o={tmp_path / 'out'}"],
        ["decompress", packed, f"-o={tmp_path / 'again'}"],
    ):
        assert main.main([*map(str, args), *flags[: args[0] != "compare"]]) == 2
        assert "has the cell Mine of the module their_cells" in capsys.readouterr().err
    assert not cells()
    assert rnnlm.load(folder, trust_code=True).bpc("the cat") > 0 and cells()
    assert rnnlm.train(None, folder, trust_code=True, show=False)["step"] == 30
    assert rnnlm.decompress(coded, trust_code=True) == b"the cat"
    command(capsys, "eval", f"--workdir={folder}", "--trust_code")
    command(capsys, "decompress", packed, f"-o={tmp_path / 'again'}", "--trust_code")
    assert (tmp_path / "again").read_bytes() == b"the cat"


def test_configuring_too_late_says_so():
    rnnlm.configure(cpu_devices=1)  # as it is already
    with pytest.warns(UserWarning, match=r"rnnlm\.configure\(\) came too late: jax has already started"):
        rnnlm.configure(cpu_devices=3)
    code = """
import warnings, jax
jax.devices()
import rnnlm
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    rnnlm.configure()
print(*(warning.message for warning in caught))
"""
    assert "came too late" in script(code)


@pytest.mark.slow
def test_the_first_call_configures_jax_unless_it_has_started(run):
    code = f"""
import os, rnnlm
{{}}
lm = rnnlm.load({str(run[0])!r})
import jax
print(jax.device_count(), "xla_cpu" in os.environ["XLA_FLAGS"], lm.bpc("the cat"))
"""
    before = ("", "rnnlm.configure(cpu_devices=2)", "import jax; jax.devices()")
    devices, configured, bpc = zip(*(script(code.format(first)).split() for first in before), strict=True)
    assert configured == ("True", "True", "False") and devices[1:] == ("2", "1")
    assert [float(value) for value in bpc] == pytest.approx([float(bpc[0])] * 3, rel=1e-5)


STATE = """
import asyncio, logging, signal, sys, warnings
import rnnlm, rnnlm.language_model, rnnlm.api, absl.logging
def state():
    hooks = sys.excepthook, sys.unraisablehook, [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    return hooks, [(logger.level, list(logger.filters)) for logger in loggers], list(warnings.filters)
before = state()
"""


@pytest.mark.slow
def test_a_library_leaves_the_process_as_it_was(run, tmp_path):
    code = f"""{STATE}
config = rnnlm.load({str(run[0])!r}).config
assert state() == before
during = []
def look(row):
    during.append(state())
assert rnnlm.train(config, {str(tmp_path / "run")!r}, look, show=False)["step"] == 30
assert state() == before and during and all(seen != before for seen in during)
"""
    script(code)


def test_hooks_come_back_after_a_failure_too(run, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "run")
    for array in (folder / "checkpoints").rglob("d/*"):
        array.write_bytes(b"")
    code = f"""{STATE}
import time
from rnnlm.runtime import quiet
quiet.LINGER = 0.5
try:
    rnnlm.load({str(folder)!r})
except rnnlm.UserError as error:
    assert "is sound: restore the folder from a copy" in str(error)
assert state() != before
time.sleep(2)
assert state() == before
"""
    script(code)


def test_hooks_drop_what_orbax_reports_late_and_nothing_else(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: seen.append(str(error[1])))
    before = sys.excepthook
    with contextlib.ExitStack() as stack:
        quiet.install_hooks(stack)
        for text in ("Event loop is closed", "something else"):
            sys.excepthook(RuntimeError, RuntimeError(text), None)
    assert seen == ["something else"] and sys.excepthook is before
    with contextlib.ExitStack() as stack:
        quiet.install_hooks(stack)
        other = sys.excepthook = lambda *error: None
    assert sys.excepthook is other


def test_the_states_of_a_text_are_those_of_going_through_it(lm):
    text = make_text(states.CHUNK + 30, seed=8)
    chunks = list(lm.states(text))
    assert [len(chunk.ids) for chunk in chunks] == [states.CHUNK, 30]
    assert np.array_equal(np.concatenate([chunk.ids for chunk in chunks]), lm.vocabulary.encode(text))
    lm.reset()
    t = 0
    for chunk in chunks:
        for i, symbol in enumerate(chunk.ids):
            lm.step(int(symbol))
            t += 1
            if t in (1, 17, states.CHUNK, states.CHUNK + 1, len(text)):
                for layer, carry in enumerate(lm.carry):
                    read = [chunk.carry[layer][name][i] for name in ("h", "c")]
                    np.testing.assert_allclose(read, [array[0] for array in carry], rtol=1e-4, atol=1e-5)
    for carry, gates in zip(chunks[1].carry, chunks[1].gates, strict=True):
        h = gates["o"][1:] * np.tanh(gates["f"][1:] * carry["c"][:-1] + gates["i"][1:] * gates["g"][1:])
        np.testing.assert_allclose(h, carry["h"][1:], rtol=1e-4, atol=1e-5)
    with pytest.raises(rnnlm.UserError, match="byte '#' at offset 0"):
        lm.states("#")


def test_steps_agree_with_scores(lm):
    text = make_text(60, seed=9)
    nats, x = 0.0, lm.vocabulary.bos_id
    for y in lm.vocabulary.encode(text):
        nats, x = nats - lm.step(int(x))[y], y
    assert nats == pytest.approx(lm.score(text=text).tally.nats, rel=1e-5)
    lm.reset()
    first = lm.step("t")
    lm.reset()
    np.testing.assert_array_equal(first, lm.step(b"t"))


def test_wrong_types_get_a_sentence(run, tmp_path):
    lm = rnnlm.load(run[0])
    assert lm.score("test", protocol="windows").tally.count == lm.score("test").tally.count
    assert lm.score("test", protocol="carry") == lm.score("test")
    assert lm.score("test", protocol="records").protocol.separator == "\n"
    for call, complaint in (
        (lambda: rnnlm.train("configs/base.py", tmp_path / "x"), "a Config, a ConfigDict .* or a dict, not str"),
        (lambda: rnnlm.compare([]), "nothing to compare"),
        (lambda: lm.sample("a", 5, num=0), "at least one of each"),
        (lambda: lm.score("test", protocol="windws"), "windws"),
        (lambda: rnnlm.train(Config(), ""), "workdir is empty"),
        (lambda: lm.compress("abc"), "takes bytes, not str"),
        (lambda: lm.compress(b"abc", dynamic=True), "dynamic is True"),
        (lambda: lm.score("test", dynamic=True), "dynamic is True"),
        (lambda: lm.score("test", symbols=100), "symbols is 100"),
        (lambda: lm.score("test", symbols=(-5, 10)), "no symbols -5..10"),
        (lambda: lm.score("test", protocol=5), "protocol is 5"),
        (lambda: lm.compress(b"abc", lanes=-1), "lanes is -1"),
        (lambda: rnnlm.compress_online(b"abc", Config(), segment=0), "segment=0"),
    ):
        with pytest.raises(UserError, match=complaint):
            call()
    assert not (tmp_path / "x").exists()
