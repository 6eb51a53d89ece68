"""Compression, dynamic evaluation, baselines and comparisons as a person calls them, on one small run."""

import csv
import io
import json
import shutil
import signal
import time

import pytest

from tests.conftest import kill_group, make_text, rnnlm, rows, slow, start, train
from tests.test_disk import STRACE


@pytest.fixture(scope="module")
def run(tmp_path_factory, text_file):
    folder = tmp_path_factory.mktemp("verbs") / "run"
    train(folder, text_file, "--config.data.symbols=byte_seen")
    return folder


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--lanes=3",),
        slow(("--dynamic", "--segment=8", "--learning_rate=1e-3", "--decay=1e-3")),
    ],
)
def test_compress_and_decompress(run, tmp_path, options):
    text, packed, again = tmp_path / "text", tmp_path / "text.rnz", tmp_path / "again"
    text.write_bytes(make_text(3000, seed=5) + b"\x00\xff Zz")
    printed = rnnlm("compress", str(text), f"--workdir={run}", "-o", str(packed), *options)
    assert f"{packed.stat().st_size:,} bytes" in printed and "verified" in printed
    assert packed.stat().st_size < 0.8 * 3000
    rnnlm("decompress", str(packed), f"--workdir={run}", "-o", str(again))
    assert again.read_bytes() == text.read_bytes()


@pytest.mark.slow
def test_online_needs_no_run(tmp_path):
    text, packed, again = tmp_path / "text", tmp_path / "text.rnz", tmp_path / "again"
    text.write_bytes(make_text(4000))
    rnnlm("compress", str(text), "--online", "--config=tests/tiny.py", "-o", str(packed), "--lanes=2")
    rnnlm("decompress", str(packed), "-o", str(again))
    assert again.read_bytes() == text.read_bytes()


@pytest.mark.slow
def test_what_cannot_be_decoded_leaves_nothing(run, tmp_path, text_file):
    text, packed, again = tmp_path / "text", tmp_path / "text.rnz", tmp_path / "again"
    text.write_bytes(make_text(500))
    rnnlm("compress", str(text), f"--workdir={run}", "-o", str(packed))
    other = tmp_path / "other"
    train(other, text_file, "--config.data.symbols=byte_seen", "--config.seed=1")
    printed = rnnlm("decompress", str(packed), f"--workdir={other}", "-o", str(again), code=2)
    assert "another model than that of" in printed and "params was" in printed
    packed.write_bytes(packed.read_bytes()[:-3])
    assert "damaged" in rnnlm("decompress", str(packed), f"--workdir={run}", "-o", str(again), code=2)
    assert "no file of" in rnnlm("decompress", str(text), f"--workdir={run}", "-o", str(again), code=2)
    assert "could not be read (No such file" in rnnlm(
        "compress", str(tmp_path / "none"), f"--workdir={run}", "-o", "x", code=2
    )
    assert not again.exists()
    online = "compress", str(text), "--online", "--config=tests/tiny.py", "-o", str(packed), "--lanes=2"
    rnnlm(*online, "--force")
    printed = rnnlm("decompress", str(packed), "-o", str(again), code=2, env={"XLA_FLAGS": " "})
    assert "cannot be decoded here" in printed and "flags was" in printed
    assert not again.exists()


@pytest.mark.slow
@pytest.mark.skipif(not STRACE, reason="there is no strace here")
def test_killed_while_it_writes_it_leaves_the_file_that_was_there(run, tmp_path):
    """The kill comes once all is written but for the rename: each sync, which stands before it, takes half a minute."""
    text, out = tmp_path / "text", tmp_path / "out"
    text.write_bytes(make_text(3000))
    out.mkdir()
    (out / "text.rnz").write_bytes(b"of yesterday")
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=30000000"]
    command = "compress", str(text), f"--workdir={run}", "-o", str(out / "text.rnz"), "--force"
    process = start(*command, prefix=slow)
    while process.poll() is None and not (written := [p for p in out.glob(".text.rnz.*.part") if p.stat().st_size]):
        time.sleep(0.01)
    kill_group(process)
    assert written and process.returncode == -signal.SIGKILL
    assert (out / "text.rnz").read_bytes() == b"of yesterday"
    rnnlm(*command)
    assert (out / "text.rnz").stat().st_size > 100 and (out / "text.rnz").read_bytes() != b"of yesterday"


def test_what_would_be_destroyed_is_refused(run, tmp_path):
    text = tmp_path / "text"
    text.write_bytes(make_text(500))
    command = ("compress", str(text), f"--workdir={run}")
    assert "is the very file that is read" in rnnlm(*command, "-o", str(text), code=2)
    assert "-o is without a file" in rnnlm(*command, "-o", code=2)
    assert "is a folder" in rnnlm(*command, "-o", str(tmp_path), code=2)
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    rnnlm(*command, "-o", str(link))
    assert link.is_symlink() and target.stat().st_size > 0 and text.read_bytes() == make_text(500)


@pytest.mark.slow
def test_settings_are_tuned_once_and_taken_by_who_needs_them(run, tmp_path):
    printed = rnnlm("eval", f"--workdir={run}", "--dynamic=rms", "--tune", "--verbose")
    tried = [float(line.split()[1]) for line in printed.splitlines() if line.startswith("valid ")]
    (kept,) = (run / "dynamic").glob("tuned-*-rms-tensor.json")
    found = json.loads(kept.read_text())
    segment, rate, decay = found["settings"]
    assert len(tried) > 9 and found["bpc"] == pytest.approx(min(tried), abs=1e-4) and 0 < decay <= 1
    made = {path: path.stat().st_mtime_ns for path in (run / "dynamic").iterdir()}
    again = json.loads(rnnlm("eval", f"--workdir={run}", "--dynamic=rms", "--json"))
    assert f"segment {segment:.0f}, rate {rate:g}, decay {decay:g}" in again["protocol"]
    text, packed = tmp_path / "text", tmp_path / "text.rnz"
    text.write_bytes(make_text(1000))
    printed = rnnlm("compress", str(text), f"--workdir={run}", "-o", str(packed), "--dynamic")
    assert f"segment {segment:.0f}, rate {rate:g}" in printed
    rnnlm("decompress", str(packed), f"--workdir={run}", "-o", str(tmp_path / "again"))
    assert made == {path: path.stat().st_mtime_ns for path in (run / "dynamic").iterdir()}
    assert "leave out --decay" in rnnlm("eval", f"--workdir={run}", "--dynamic=rms", "--tune", "--decay=0", code=2)


@pytest.mark.slow
def test_dynamic_evaluation_is_recorded_and_compared(run):
    static = json.loads(rnnlm("eval", f"--workdir={run}", "--lanes=1", "--json"))
    args = ("eval", f"--workdir={run}", "--dynamic=sgd", "--json")
    still = json.loads(rnnlm(*args, "--learning_rate=0", "--decay=0"))
    assert still["nats"] == pytest.approx(static["nats"], rel=1e-6) and still["protocol"].startswith(
        "dynamic sgd, 1 stream, segment 20"
    )
    message = rnnlm(*args, code=2)
    assert "keeps no settings of dynamic sgd" in message and "or let `rnnlm eval" in message
    message = rnnlm(*args, "--segment=10", "--decay=0", code=2)
    assert "--dynamic is without --learning_rate: give both" in message
    for extra in ("--protocol=windows", "--segment=10", "--tune"):
        assert "dynamic" in rnnlm("eval", f"--workdir={run}", extra, *args[2 : 2 + (extra[2] == "p")], code=2)
    printed = json.loads(rnnlm(*args, "--learning_rate=0.1", "--decay=0.001", "--segment=10"))
    assert abs(printed["nats"] - static["nats"]) > 1 and printed["count"] == static["count"]


@pytest.mark.slow
def test_runs_are_compared_only_by_the_same_symbols(run, tmp_path, text_file):
    other = tmp_path / "other"
    train(other, text_file, "--config.data.symbols=byte_seen", "--config.model.hidden=20", "--config.train.steps=60")
    assert "has no evaluation on test, symbols 0..600, under carry: it has none. Make one" in rnnlm(
        "compare", str(other), "--split=test", code=2
    )
    for folder in (run, other):
        rnnlm("eval", f"--workdir={folder}", "--json")
    figure = tmp_path / "figure.png"
    rows = json.loads(rnnlm("compare", str(run), str(other), "--format=json", f"--plot={figure}"))
    assert figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [row["bpc"] for row in rows] == sorted(row["bpc"] for row in rows)
    assert rows[0]["worse_by"] == 0 and rows[1]["worse_by"] == pytest.approx(rows[1]["bpc"] - rows[0]["bpc"], abs=1e-4)
    assert {row["model.hidden"] for row in rows} == {12, 20} and {row["train.steps"] for row in rows} == {30, 60}
    found = list(csv.DictReader(io.StringIO(rnnlm("compare", str(run), str(other), "--format=csv"))))
    assert [float(row["bpc"]) for row in found] == [row["bpc"] for row in rows]
    title, _, *table = rnnlm("compare", str(run), str(other), "--format=md").splitlines()
    assert "split test of 0.8/0.1/0.1, symbols 0..600" in title
    assert len(table) == 4 and table[0].startswith("| run | bpc |")
    assert f"{rows[0]['bpc']:.4f}" in rnnlm("compare", str(run), str(other))
    rnnlm("eval", f"--workdir={other}", "--json", "--symbols-to=300")
    assert json.loads(rnnlm("compare", str(run), str(other), "--format=json")) == rows  # of the whole split
    assert len(json.loads(rnnlm("compare", str(other), "--symbols-to=300", "--format=json"))) == 1
    printed = rnnlm("compare", str(run), str(other), "--symbols-to=300", code=2)
    assert "has no evaluation on test, symbols 0..300, under carry" in printed
    rnnlm("eval", f"--workdir={other}", "--json", "--split=valid")
    both = json.loads(rnnlm("compare", str(run), str(other), "--split=valid", "--format=json"))
    assert {row["run"]: row["source"] for row in both} == {str(run): "validation", str(other): "eval"}


def test_baselines_of_a_runs_own_text(run):
    lines = rnnlm("baseline", f"--workdir={run}", "--order=4", "--json").splitlines()
    found = {row["name"]: row for row in map(json.loads, lines)}
    assert {"1-gram", "4-gram", "xz -9e", "brotli -q 11, after train", "zstd --ultra -22"} <= set(found)
    assert {row["count"] for row in found.values()} == {600}
    assert found["4-gram"]["bpc"] < found["2-gram"]["bpc"] < found["1-gram"]["bpc"]
    assert found["xz -9e, after train"]["bytes"] < found["xz -9e"]["bytes"]
    assert "Give one text" in rnnlm("baseline", code=2)
    assert "leave out --split_spec and --symbols" in rnnlm("baseline", f"--workdir={run}", "--symbols=char", code=2)


@pytest.mark.slow
def test_the_old_name_of_a_split_spec_still_works(text_file):
    args = ("baseline", f"--files={text_file}", "--order=2", "--json")
    found = [rnnlm(*args, flag) for flag in ("--parts=0.5/0.3/0.2", "--split-spec=0.5/0.3/0.2")]
    assert found[0] == found[1] and json.loads(found[0].splitlines()[0])["count"] == 1200
    assert "give one of them" in rnnlm(*args, "--parts=0.5/0.3/0.2", "--split_spec=0.5/0.3/0.2", code=2)


@pytest.mark.slow
def test_a_text_that_moved_is_named_by_a_flag(run, tmp_path, text_file):
    moved, other = tmp_path / "moved.txt", tmp_path / "other.txt"
    moved.write_bytes(text_file.read_bytes())
    other.write_bytes(make_text(6000, seed=1))
    rnnlm("eval", f"--workdir={run}", "--json")
    for command in (("baseline", f"--workdir={run}", "--order=2"), ("compare", str(run))):
        rnnlm(*command, f"--data={moved}")
        assert "is another text than the run's" in rnnlm(*command, f"--data={other}", code=2)
    assert "--data is for the text of a run" in rnnlm("baseline", f"--files={moved}", f"--data={moved}", code=2)


@pytest.mark.slow
def test_a_run_is_continued_by_its_folder_alone(run, tmp_path, text_file):
    folder = shutil.copytree(run, tmp_path / "run")
    rnnlm("train", f"--workdir={folder}")
    assert rows(folder) == rows(run)
    rnnlm("train", f"--workdir={folder}", "--config.train.steps=40")
    once = tmp_path / "once"
    train(once, text_file, "--config.data.symbols=byte_seen", "--config.train.steps=40")
    assert rows(folder)[-1]["valid_nats"] == rows(once)[-1]["valid_nats"]
    message = rnnlm("train", f"--workdir={folder}", "--config.model.hidden=13", code=2)
    assert "model.hidden: 12 there, 13 here" in message
    assert "did you mean train.steps" in rnnlm("train", f"--workdir={folder}", "--config.train.step=50", code=2)


@pytest.mark.slow
def test_a_text_that_has_moved_is_found_where_data_says(run, tmp_path, text_file):
    """The run folder and its text, on what might be another machine."""
    folder, text = tmp_path / "run", tmp_path / "here" / "own.txt"
    train(folder, shutil.copy(text_file, tmp_path / "there.txt"))
    before = json.loads(rnnlm("eval", f"--workdir={folder}", "--json"))
    text.parent.mkdir()
    (tmp_path / "there.txt").rename(text)
    message = rnnlm("eval", f"--workdir={folder}", "--json", code=2)
    assert "say where it is with --data=PATH" in message
    assert json.loads(rnnlm("eval", f"--workdir={folder}", "--json", f"--data={text}")) == before
    rnnlm("train", f"--workdir={folder}", "--config.train.steps=32", f"--data={text}")
    assert rows(folder)[-1]["step"] == 32
