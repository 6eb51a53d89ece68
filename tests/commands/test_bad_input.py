"""Each mistake ends with exit code 2, a sentence or two, and nothing written or lost."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from rnnlm.commands import main, overrides
from rnnlm.errors import UserError
from rnnlm.runs.checkpoint import Checkpoints
from rnnlm.runs.checkpoint import steps as saved
from tests.conftest import ROOT, leaves, make_text, rnnlm, rows, slow, start, train


def refused(capsys, *args):
    """The message of a command line that must fail, run in this process."""
    assert main.main([str(arg) for arg in args]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("rnnlm: ") and "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    "override, complaint",
    [
        ("model.hiden=3", "There is no config key model.hiden; did you mean model.hidden?"),
        ("modle.hidden=3", "no config key modle.hidden; did you mean model.hidden?"),
        ("model.hidden=abc", "--config.model.hidden=abc does not fit: it takes int, such as 12."),
        ("model.hidden=2.5", "takes int"),
        ("model.tied=maybe", "model.tied=maybe does not fit: it takes bool"),
        ("model=3", "--config.model is a section: set one of its keys"),
        ("model.hidden=0", "model.hidden=0 is impossible: it must be at least 1."),
        ("model.dropout=1.5", "model.dropout=1.5 is impossible: it must be at least 0 and below 1."),
        ("data.split=0.5/0.5", "is no split"),
        ("data.corpus=nothing", "There is no corpus 'nothing'"),
        ("data.files=/no/such/file", "no file is there"),
        ("train.batch=3000", "is 1 for each of train.batch=3000 lanes"),
        ("data.split=graves_96_4", "100,000,000 bytes"),
        ("model.forget_bias=x", "--config.model.lstm.forget_bias=x does not fit: it takes float"),
        ("seed=99999999999999999999", "seed=99999999999999999999 is impossible"),
        ("model.hidden=200000", "Training needs at least 7,680.7 GB of memory on each device (params 3,840.2 GB"),
    ],
)
def test_a_bad_override_writes_nothing(capsys, tmp_path, text_file, override, complaint):
    name = override.split("=")[0]
    files = [] if name in ("data.files", "data.corpus") else [f"--config.data.files={text_file}"]
    workdir = tmp_path / "run"
    message = refused(
        capsys,
        "train",
        "--config=tests/tiny.py",
        f"--workdir={workdir}",
        *files,
        f"--config.{override}",
        "--cpu_devices=1",
    )
    assert complaint in message and not workdir.exists()


@pytest.mark.parametrize(
    "args, complaint",
    [
        (["trian"], "no verb 'trian'"),
        (["eval", "--flagfile=/nope"], "/nope"),
        (["train", "--config", "--workdir=x"], "config"),
        (["train", "--config=README.md", "--workdir=x"], "--config=README.md is no sound config file"),
        (["sample", "--workdir=README.md"], "--workdir=README.md is a file"),
        (["train"], "--config is missing"),
        (["train", "--config=tests/tiny.py"], "--workdir is missing"),
        (["train", "--config=nothing.py", "--workdir=x"], "--config=nothing.py cannot be read"),
        (["train", "--config=tests/tiny.py", "--wrkdir=x"], "Did you mean: workdir"),
        (["train", "--config=tests/tiny.py", "--workdir=x", "more"], "'more' was not expected"),
        (["eval", "--workdir=/no/run"], "There is no folder /no/run"),
        (["sample", "--workdir=/no/run"], "There is no folder /no/run"),
        (["data", "enwik7"], "no corpus 'enwik7'"),
        (["train", "--config", "tests/tiny.py", "--workdir=x", "--processes=2"], "--coordinator=''"),
        (["eval", "--workdir=x", "--json", "--compressors"], "leave out --compressors"),
        (["eval", "--lanes=-1", "--workdir=x"], "lanes"),
        (["eval", "--protocol=stripes", "--workdir=x"], "protocol"),
        (["compare"], "Name the run folders"),
        (["compare", "/no/run"], "There is no folder /no/run"),
        (["compare", "x", "--plot=figure.txt"], "The plot figure.txt is no figure"),
        (["compare", "x", "--x=seed"], "--x=seed is for a plot: add --plot"),
        (["compare", "x", "--plot=a.png", "--x=optim.learning_rte"], "did you mean optim.learning_rate?"),
        (["sample", "--temperature=hot", "--workdir=x"], "temperature=hot: expected a number"),
        (["eval", "--workdir=x", "--lanes=many"], "lanes=many: expected a whole number"),
        (["eval", "--workdir=x", "--symbols-from=1", "--workdir", "y"], "--workdir is given twice"),
        (["compare", "x", "--plot=a.png", "--x=optim.lr"], "did you mean optim.learning_rate?"),
        (
            ["sample", "--prime=a", "--prompt=b", "--workdir=x"],
            "--prime is the old name of --prompt: give one of them.",
        ),
        (["train", "--workdir=x"], "--config is missing: give a config file"),
        (["train", "--workdir=x", "--config.train.steps=9"], "or a --workdir with a run to continue"),
        (["train", "--workdir=x", "--config"], "--config is without a file"),
        (["compress", "README.md", "--workdir=x", "--config=tests/tiny.py"], "--config is for --online"),
        (["compress", "README.md", "--online"], "--config is missing"),
    ],
)
def test_bad_command_lines(capsys, args, complaint):
    assert complaint in refused(capsys, *args)


def test_old_names_of_config_keys_are_mapped():
    old, new = "--config.model.forget_bias=0.5", "--config.model.lstm.forget_bias=0.5"
    configs = [overrides.read_config("tests/tiny.py", [word]) for word in (old, new)]
    assert configs[0] == configs[1] and configs[0]["model"]["lstm"]["forget_bias"] == 0.5
    with pytest.raises(
        UserError, match="model.forget_bias is the old name of --config.model.lstm.forget_bias: give one"
    ):
        overrides.read_config("tests/tiny.py", [new, old])


def test_what_corpora_there_are(capsys):
    assert main.main(["data"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("enwik8", "enwik9", "text8", "tinyshakespeare", "warpeace", "stdlib"))
    assert main.main(["data", "stdlib"]) == 0
    described = capsys.readouterr().out
    assert "sha256" in described and "(byte_seen)" in described and "(char)" in described and "train 0.." in described


def test_batch_and_devices_must_agree(tmp_path, text_file):
    message = train(tmp_path / "run", text_file, "--cpu_devices=2", "--config.train.accumulate=4", code=2)
    assert "train.batch=4 in train.accumulate=4 pieces of 1 cannot be split evenly over 2 devices" in message
    message = train(tmp_path / "run", text_file, "--cpu_devices=3", code=2)
    assert "train.batch=4 cannot be split evenly over 3 devices" in message and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "data, symbols, complaint", [(b"", "byte", "is empty"), (b"ab\xff" * 500, "char", "is not UTF-8")]
)
def test_bad_text(capsys, tmp_path, data, symbols, complaint):
    text = tmp_path / "text"
    text.write_bytes(data)
    workdir = tmp_path / "run"
    message = refused(
        capsys, "train", "--config=tests/tiny.py", f"--workdir={workdir}", f"--config.data.files={text}",
        f"--config.data.symbols={symbols}", "--cpu_devices=1",
    )  # fmt: skip
    assert complaint in message and not workdir.exists()


def test_a_workdir_that_cannot_be(capsys, tmp_path, text_file):
    plain = tmp_path / "file"
    plain.write_text("kept")
    common = ["train", "--config=tests/tiny.py", f"--config.data.files={text_file}", "--cpu_devices=1"]
    assert "is a file" in refused(capsys, *common, f"--workdir={plain}")
    assert "is not a folder" in refused(capsys, *common, f"--workdir={plain}/below")
    assert plain.read_text() == "kept"
    # /proc takes no folders, not even from root.
    assert "cannot be written" in refused(capsys, *common, "--workdir=/proc/run")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with a text of its own, to be copied."""
    folder = tmp_path_factory.mktemp("bad") / "run"
    text = folder.parent / "text.txt"
    text.write_bytes(make_text(6000))
    train(folder, text)
    return folder, text


def digest(folder):
    """Of everything that a folder holds but its lock."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "lock")
    return hashlib.sha256(b"".join(str(p).encode() + p.read_bytes() for p in files)).hexdigest()


def test_another_config_is_refused_with_the_difference(run):
    folder, text = run
    before = digest(folder)
    message = train(folder, text, "--config.model.hidden=13", "--config.optim.learning_rate=0.5", code=2)
    assert "model.hidden: 12 there, 13 here" in message and "optim.learning_rate: 0.01 there, 0.5 here" in message
    assert digest(folder) == before


def test_a_changed_text_is_refused(run, tmp_path):
    folder, text = run
    before, data = digest(folder), text.read_bytes()
    text.write_bytes(data.replace(b"cat", b"dog", 1))
    try:
        assert "has changed since the run" in train(folder, text, "--config.train.steps=40", code=2)
        assert "has changed since the run" in rnnlm("eval", f"--workdir={folder}", code=2)
        assert digest(folder) == before
    finally:
        text.write_bytes(data)


def test_another_process_in_the_same_folder_is_refused(run, tmp_path):
    _, text = run
    args = ("train", "--config=tests/tiny.py", f"--workdir={tmp_path}/run", f"--config.data.files={text}")
    first = start(*args, "--config.train.steps=1000000")
    while first.poll() is None and not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.05)
    assert "Another process is training" in rnnlm(*args, "--config.train.steps=1000000", code=2)
    first.terminate()
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_data_is_for_a_run_that_is_there(capsys, tmp_path, text_file):
    args = ("train", "--config=tests/tiny.py", f"--config.data.files={text_file}", f"--workdir={tmp_path / 'new'}")
    message = refused(capsys, *args, f"--data={text_file}", "--cpu_devices=1")
    assert "holds none: name the text of a new run by data.files" in message and not (tmp_path / "new").exists()


def test_a_temperature_that_is_none(capsys, run):
    for temperature in ("nan", "inf"):
        assert "a temperature from 0 up" in refused(
            capsys, "sample", f"--workdir={run[0]}", f"--temperature={temperature}", "--cpu_devices=1"
        )
    message = refused(capsys, "sample", f"--workdir={run[0]}", "--top_p=0", "--cpu_devices=1")
    assert "top_p is a share of the probability above 0" in message


@pytest.mark.parametrize(
    "name, text, complaint",
    [
        ("vocab.json", '{"kind": "foo", "codes": [1]}', "unknown kind"),
        ("vocab.json", '{"kind": "byte_seen", "codes": ["a", -3]}', "damaged"),
        ("vocab.json", '{"kind": "byte_seen", "codes": [5, 3]}', "out of order"),
        ("run.json", "{}", "damaged"),
        ("run.json", None, "holds no whole run: it has no run.json"),
        ("config.json", "[1]", "config.json is no JSON object"),
        ("config.json", "{", "config.json cannot be read"),
    ],
)
def test_a_garbled_run_folder(capsys, run, tmp_path, name, text, complaint):
    folder = copy(run, tmp_path)
    (folder / name).unlink() if text is None else (folder / name).write_text(text)
    before = digest(folder)
    assert complaint in refused(capsys, "eval", f"--workdir={folder}", "--cpu_devices=1")
    common = ("--config=tests/tiny.py", f"--workdir={folder}", f"--config.data.files={run[1]}", "--cpu_devices=1")
    assert complaint in refused(capsys, "train", *common)
    assert digest(folder) == before


def test_an_output_that_cannot_be_written(run):
    with open("/dev/full", "w") as full:
        process = start("sample", f"--workdir={run[0]}", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "No space left" in err and "Traceback" not in err


def test_an_unknown_symbol_in_a_prompt_is_named(capsys, run):
    assert "byte '#' at offset 4" in refused(
        capsys, "sample", f"--workdir={run[0]}", "--prompt=the #", "--cpu_devices=1"
    )


def test_asking_for_what_is_not_there(capsys, run):
    assert "has no split 'tset'" in refused(capsys, "eval", f"--workdir={run[0]}", "--split=tset", "--cpu_devices=1")
    assert "has no checkpoint 7: it has best, latest and" in refused(
        capsys, "eval", f"--workdir={run[0]}", "--step=7", "--cpu_devices=1"
    )


def copy(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    return folder


def test_a_checkpoint_of_another_architecture_is_refused(capsys, run, tmp_path):
    folder = copy(run, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["hidden"] = 20
    (folder / "config.json").write_text(json.dumps(config))
    assert "another architecture" in refused(capsys, "eval", f"--workdir={folder}", "--cpu_devices=1")


def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_is_used(run, tmp_path):
    folder = copy(run, tmp_path)
    newest = saved(folder / "checkpoints")[-1]
    before = saved(folder / "checkpoints")[-2]
    for file in (folder / "checkpoints" / str(newest) / "state").rglob("d/*"):
        data = bytearray(file.read_bytes())
        data[::16] = bytes(byte ^ 4 for byte in data[::16])  # in every array
        file.write_bytes(data)
    process = start("eval", f"--workdir={folder}", "--step=latest", "--json")
    out, err = process.communicate(timeout=60)
    assert (
        process.returncode == 0 and f"{newest} is damaged" in err and f"using step {before}" in err and json.loads(out)
    )
    # Training goes on from there too, and comes to the same end.
    process = start("train", "--config=tests/tiny.py", f"--workdir={folder}", f"--config.data.files={run[1]}")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and f"{newest} is damaged" in out + err and f"going on from step {before}" in out
    assert rows(folder) == rows(run[0])
    assert [p.name for p in (folder / "damaged").iterdir()] == [f"{newest}.0"]


def test_a_diverged_run_stops_and_keeps_the_last_good_checkpoint(tmp_path, text_file):
    args = ("--config.optim.name=sgd", "--config.optim.clip_norm=0.0", "--config.optim.schedule=epoch")
    warm = ("--config.optim.warmup=1000", "--config.optim.learning_rate=1e38")
    message = train(tmp_path / "run", text_file, *args, *warm, "--config.checkpoint.every=1", code=2)
    assert "The loss at step " in message and "gradient norm" in message and "has diverged" in message
    step = int(message.split("The loss at step ")[1].split()[0])
    have = saved(tmp_path / "run" / "checkpoints")
    assert (not have and "There is no checkpoint yet" in message) or f"checkpoints/{have[-1]}." in message
    assert step not in have and all(row["step"] < step for row in rows(tmp_path / "run"))


def test_a_validation_that_is_no_number_stops_the_run(tmp_path, text_file):
    """Here of params that are none; the training loss alone would be noticed a step later."""
    workdir = tmp_path / "run"
    train(workdir, text_file, "--config.train.steps=10")
    tree = leaves(workdir, 10)
    tree["params.output.b"] = np.full_like(tree["params.output.b"], np.nan)
    shutil.rmtree(workdir / "checkpoints" / "10")
    saves = Checkpoints(workdir / "checkpoints", 9, {})
    saves.save(10, tree)
    saves.close()
    metrics = workdir / "metrics.jsonl"
    before = [line for line in metrics.read_text().splitlines(keepends=True) if "valid_bpc" not in line]
    metrics.write_text("".join(before))
    message = train(workdir, text_file, "--config.train.steps=20", code=2)
    assert "The validation cost at step 10 is nan bpc: the run has diverged" in message
    assert metrics.read_text() == "".join(before) and saved(workdir / "checkpoints")[-1] == 10


def mounted(folder: Path, size: str) -> bool:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize("kind", ["small disk", slow("file size limit")])
def test_a_full_disk_keeps_and_names_the_last_good_checkpoint(tmp_path, text_file, kind):
    disk, options = tmp_path / "disk", {}
    if kind == "small disk":
        if not mounted(disk, "3m"):
            pytest.skip("only root can mount a small disk; the limit on file size is tested anyway")
    else:
        disk.mkdir()
    try:
        workdir = disk / "run"
        big = ("--config.model.hidden=64", "--config.checkpoint.keep=100", "--config.checkpoint.every=1")
        if kind == "file size limit":
            train(workdir, text_file, *big, "--config.train.steps=3")
            options["prefix"] = ["prlimit", "--fsize=100000"]
        message = train(workdir, text_file, *big, "--config.train.steps=400", code=2, **options)
        assert "could not be written" in message and "The last good checkpoint is" in message
        named = int(message.split("The last good checkpoint is ")[1].split("checkpoints/")[1].split(".")[0])
        assert named == saved(workdir / "checkpoints")[-1]
        assert json.loads(rnnlm("eval", f"--workdir={workdir}", f"--step={named}", "--json"))["count"] == 600
    finally:
        if kind == "small disk":
            subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_loads_nothing_large(flag):
    code = f"""
import sys
from rnnlm.commands.main import main
assert main(["{flag}"]) == 0
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = set(done.stderr.split())
    assert "rnnlm" in done.stdout and "rnnlm.commands.main" in loaded
    assert not {"jax", "numpy", "absl", "ml_collections", "rich"} & loaded


def test_used_up_memory_is_a_sentence(capsys, run):
    message = refused(capsys, "sample", f"--workdir={run[0]}", "--num=1000000000000", "--cpu_devices=1", "--seed=0")
    assert message == "rnnlm: The memory is used up: draw fewer at once (--num).\n"
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        jax.numpy.zeros((10**7, 10**7)).block_until_ready()
    assert main.is_out_of_memory(raised.value) and not main.is_out_of_memory(RuntimeError("INTERNAL: other"))
    message = main.describe_out_of_memory("train", raised.value)
    assert "used up (400,000.0 GB more were asked for): train with a lower model.hidden, train.batch" in message


def test_a_folder_of_other_files_is_no_place_for_a_run(capsys, tmp_path, text_file):
    (tmp_path / "thesis.tex").write_text("kept")
    args = ("--config=tests/tiny.py", f"--workdir={tmp_path}", f"--config.data.files={text_file}", "--cpu_devices=1")
    assert "holds no run, but other files (thesis.tex): name a new or an empty folder" in refused(
        capsys, "train", *args
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
