"""Runs in real processes are killed, stopped, and resumed on other devices; their folders are complete."""

import bz2
import json
import random
import signal
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rnnlm as api
from rnnlm.runs import layout, results
from rnnlm.runs.checkpoint import steps as saved
from tests import conftest
from tests.conftest import leaves, rnnlm, rows, same_bits, start, train

STEPS = 120
AS_FOR_USERS = {"XLA_FLAGS": ""}
LONG = (
    f"--config.train.steps={STEPS}",
    "--config.eval.every=24",
    "--config.checkpoint.every=7",
    "--config.sample.every=30",
    "--config.model.dropout=0.1",
)


def command(workdir, text, *more):
    return ("train", "--config=tests/tiny.py", f"--workdir={workdir}", f"--config.data.files={text}", *more)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, text_file):
    """Train an uninterrupted run on two devices."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    train(workdir, text_file, *LONG, env=AS_FOR_USERS)
    return workdir


def same_run(a, b):
    assert rows(a) == rows(b)
    same_bits(leaves(a, STEPS), leaves(b, STEPS))
    assert saved(a / "checkpoints") == saved(b / "checkpoints")
    for path in sorted((a / "samples").iterdir()):
        assert path.read_text() == (b / "samples" / path.name).read_text()
    keys = ("step", "valid_bpc", "best_step", "best_valid_bpc")
    results = [json.loads((d / "result.json").read_text()) for d in (a, b)]
    assert [results[0][k] for k in keys] == [results[1][k] for k in keys]


def test_a_killed_and_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(uninterrupted, tmp_path, text_file):
    rng = random.Random(7)
    workdir, kills = tmp_path / "killed", 0
    for target in (15, 60, 100):
        process = start(*command(workdir, text_file, *LONG), stdout=None, stderr=None, env=AS_FOR_USERS)
        while process.poll() is None and (not workdir.exists() or last_complete_step(workdir) < target):
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)  # in the middle of a step, a save or an evaluation
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        # Kill it also while it starts or resumes.
        process = start(*command(workdir, text_file, *LONG), stdout=None, stderr=None, env=AS_FOR_USERS)
        time.sleep(rng.uniform(0.5, 3))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 3
    train(workdir, text_file, *LONG, env=AS_FOR_USERS)
    same_run(uninterrupted, workdir)


def last_complete_step(workdir):
    try:
        lines = (workdir / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
        return json.loads(lines[-1])["step"] if lines else 0
    except FileNotFoundError:
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_cleanly(uninterrupted, tmp_path, text_file, number):
    workdir = tmp_path / "stopped"
    for target in (30, 60):
        process = start(*command(workdir, text_file, *LONG), env=AS_FOR_USERS)
        while last_complete_step(workdir) < target and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in err
        assert "stopped at step" in out
        step = int(out.split("stopped at step ")[1].split(";")[0])
        assert saved(workdir / "checkpoints")[-1] == step >= target
    train(workdir, text_file, *LONG, env=AS_FOR_USERS)
    assert rows(workdir) == rows(uninterrupted)
    same_bits(leaves(workdir, STEPS), leaves(uninterrupted, STEPS))


@pytest.mark.slow
def test_a_signal_during_evaluation_stops_it(tmp_path, text_file):
    """A signal stops a long evaluation at once; the next start repeats it."""
    slow = ("--config.eval.lanes=1", "--config.eval.every=20", "--config.train.steps=25", "--config.eval.max_symbols=0")
    text = tmp_path / "long.txt"
    text.write_bytes(conftest.make_text(500_000))
    workdir = tmp_path / "run"
    args = command(workdir, text, *slow, "--config.data.split=0.1/0.8/0.1", "--config.log.every=20")
    process = start(*args)
    while process.poll() is None and last_complete_step(workdir) < 20:
        time.sleep(0.01)
    time.sleep(0.7)
    assert process.poll() is None and all("valid_bpc" not in row for row in rows(workdir))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped at step 20" in out
    assert saved(workdir / "checkpoints")[-1] == 20
    assert [row["step"] for row in rows(workdir)] == [20] and "loss" in rows(workdir)[0]
    rnnlm(*args)
    assert [(row["step"], "valid_bpc" in row) for row in rows(workdir)] == [
        (20, False),
        (20, True),
        (25, False),
        (25, True),
    ]
    assert rows(workdir)[1]["valid_count"] == 400_000


@pytest.fixture(scope="module")
def device_runs(tmp_path_factory, text_file):
    """Train 30 steps on one, two and four devices, without dropout."""
    folder = tmp_path_factory.mktemp("devices")
    for n in (1, 2, 4):
        train(folder / str(n), text_file, f"--cpu_devices={n}")
    return folder


def near(a, b):
    for x, y in zip(rows(a), rows(b), strict=True):
        assert x["step"] == y["step"]
        for name in ("loss", "grad_norm", "valid_nats"):
            if name in x:
                assert x[name] == pytest.approx(y[name], rel=1e-5)
    one, other = leaves(a, 30), leaves(b, 30)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_devices_do_not_change_the_run(device_runs):
    near(device_runs / "1", device_runs / "2")
    near(device_runs / "1", device_runs / "4")


def test_accumulated_gradients_on_two_devices_give_an_equal_run(device_runs, tmp_path, text_file):
    train(tmp_path / "run", text_file, "--cpu_devices=2", "--config.train.accumulate=2")
    near(device_runs / "1", tmp_path / "run")


@pytest.mark.slow
def test_dropout_does_not_depend_on_devices(tmp_path, text_file):
    for n in (1, 2):
        train(tmp_path / str(n), text_file, f"--cpu_devices={n}", "--config.model.dropout=0.4")
    near(tmp_path / "1", tmp_path / "2")


@pytest.mark.slow
def test_a_run_of_two_devices_resumes_on_one_and_on_four(device_runs, tmp_path, text_file):
    for n in (1, 4):
        workdir = tmp_path / str(n)
        train(workdir, text_file, "--cpu_devices=2", "--config.train.steps=20")
        train(workdir, text_file, f"--cpu_devices={n}")
        near(device_runs / "2", workdir)


def test_two_processes_equal_one(device_runs, tmp_path, text_file):
    workdir = tmp_path / "run"
    with conftest.free_port() as port:
        address = f"127.0.0.1:{port}"
    flags = [f"--coordinator={address}", "--processes=2"]
    both = [start(*command(workdir, text_file, *flags, f"--process={i}")) for i in range(2)]
    try:
        ends = [process.communicate(timeout=120) for process in both]
    finally:
        for process in both:
            process.send_signal(signal.SIGKILL)
    assert [process.returncode for process in both] == [0, 0], ends
    assert "done: step 30" in ends[0][0] and "step" not in ends[1][0]
    near(device_runs / "1", workdir)
    assert rows(device_runs / "2") == rows(workdir)  # one process of two devices gives the same bits
    same_bits(leaves(device_runs / "2", 30), leaves(workdir, 30))
    # One process resumes the run of two.
    train(workdir, text_file, "--config.train.steps=35", "--cpu_devices=2")
    assert saved(workdir / "checkpoints")[-1] == 35


def test_the_run_folder(uninterrupted, text_file):
    config = json.loads((uninterrupted / "config.json").read_text())
    assert config["model"]["hidden"] == 12 and config["train"]["steps"] == STEPS
    run = json.loads((uninterrupted / "run.json").read_text())
    assert run["corpus"]["bytes"] == 6000 and len(run["corpus"]["sha256"]) == 64
    assert run["symbols_per_step"] == 32 and run["parameters"] > 1000
    assert run["starts"][0]["versions"]["jax"] and run["starts"][0]["devices"] and run["starts"][0]["argv"]
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in lines if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    assert {
        "step",
        "epoch",
        "loss",
        "bpc",
        "grad_norm",
        "param_norm",
        "learning_rate",
        "symbols_per_second",
        "seconds",
    } == set(steps[0])
    assert steps[-1]["bpc"] == pytest.approx(steps[-1]["loss"] / np.log(2))
    assert steps[-1]["bpc"] < 0.8 * steps[0]["bpc"]
    valid = [row for row in lines if "valid_bpc" in row]
    assert [row["step"] for row in valid] == list(range(24, STEPS + 1, 24)) and valid[0]["valid_count"] == 600
    result = json.loads((uninterrupted / "result.json").read_text())
    best = min(valid, key=lambda row: row["valid_bpc"])
    assert result["best_step"] == best["step"] and result["valid_bpc"] == valid[-1]["valid_bpc"]
    assert set(saved(uninterrupted / "checkpoints")) >= {STEPS, best["step"]}
    assert "temperature 0.5" in (uninterrupted / "samples" / f"{STEPS:09d}.txt").read_text()


def test_tensorboard_events_equal_the_metrics(uninterrupted):
    events = EventAccumulator(str(uninterrupted), size_guidance={"tensors": 0}).Reload()
    tags = events.Tags()
    assert {"train/loss", "train/bpc", "train/learning_rate", "valid/bpc"} <= set(tags["scalars"])
    mirrored = [(e.step, pytest.approx(e.value, rel=1e-6)) for e in events.Scalars("valid/bpc")]
    assert [(r["step"], r["valid_bpc"]) for r in rows(uninterrupted) if "valid_bpc" in r] == mirrored
    logged = [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors("samples/text_summary")]
    samples = [(int(path.stem), path.read_text()) for path in sorted((uninterrupted / "samples").iterdir())]
    assert logged == [(step, f"```\n{text}\n```") for step, text in samples]
    assert events.Scalars("final/valid_bpc")[-1].value == pytest.approx(rows(uninterrupted)[-1]["valid_bpc"], rel=1e-6)
    assert b"model.hidden" in events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content


@pytest.mark.slow
@pytest.mark.parametrize("target", [3, 40])
def test_after_a_kill_tensorboard_shows_each_step_once(tmp_path, text_file, target):
    """A kill before the first checkpoint or after some leaves one event for each step."""
    workdir = tmp_path / "run"
    process = start(*command(workdir, text_file, *LONG), stdout=None, stderr=None)
    while process.poll() is None and last_complete_step(workdir) < target:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    train(workdir, text_file, *LONG)
    events = EventAccumulator(str(workdir)).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == list(range(1, STEPS + 1))
    assert len(json.loads((workdir / "run.json").read_text())["starts"]) == 2


def test_a_finished_run_that_is_started_again_stays_unchanged(device_runs, text_file):
    before = rows(device_runs / "1"), saved(device_runs / "1" / "checkpoints")
    out = train(device_runs / "1", text_file, "--cpu_devices=1")
    assert "step 30" in out and before == (rows(device_runs / "1"), saved(device_runs / "1" / "checkpoints"))


def test_eval_sample_and_load_agree(uninterrupted, text_file):
    line = json.loads(rnnlm("eval", f"--workdir={uninterrupted}", "--split=valid", "--json", "--step=latest"))
    uncertainty = {"stderr", "interval", "no_interval"}
    assert set(line) == {"split", "protocol", "count", "nats", "bpc", "bpb", "step"} | uncertainty
    recorded = [row for row in rows(uninterrupted) if "valid_bpc" in row][-1]
    assert line["bpc"] == pytest.approx(recorded["valid_bpc"], rel=1e-5) and line["count"] == 600
    text = rnnlm("eval", f"--workdir={uninterrupted}", "--compressors")
    assert "xz -9e" in text and "bits per byte" in text and "split     test" in text
    some = rnnlm("eval", f"--workdir={uninterrupted}", "--compressors", "--symbols_from=100", "--symbols_to=400")
    scored = b"".join(api.load(uninterrupted).dataset.slice("test").raw())[100:400]
    assert "the same 300 bytes" in some and f"  bzip2 -9  {8 * len(bz2.compress(scored, 9)) / 300:.3f}" in some

    lm = api.load(uninterrupted)
    assert lm.sample("the ", length=70, temperature=0.7, seed=3) + "\n" == rnnlm(
        "sample", f"--workdir={uninterrupted}", "--prime=the ", "--length=70", "--temperature=0.7", "--seed=3"
    )
    several = ("sample", f"--workdir={uninterrupted}", "--length=70", "--num=4", "--top_p=0.9", "--seed=0")
    samples = rnnlm(*several, "--cpu_devices=2")
    assert samples.count("----- sample") == 4 and samples == rnnlm(*several, "--cpu_devices=1")

    string = "the cat sat on a mat"
    lm.reset()
    nats, symbol = 0.0, lm.vocabulary.bos_id
    for following in lm.vocabulary.encode(string):
        log_p = lm.step(int(symbol))
        assert np.exp(log_p).sum() == pytest.approx(1, rel=1e-5)
        nats, symbol = nats - log_p[following], following
    assert lm.bpc(string) == pytest.approx(nats / len(string) / np.log(2), rel=1e-5)
    lm.reset()
    first = lm.step("t")
    assert not np.allclose(first, lm.step("t"))  # each step continues from the carry
    lm.reset()
    np.testing.assert_array_equal(first, lm.step("t"))


@pytest.mark.slow
def test_evaluations_are_appended_and_stay(tmp_path, text_file):
    workdir = tmp_path / "run"
    train(workdir, text_file)
    first = json.loads(rnnlm("eval", f"--workdir={workdir}", "--json"))
    rnnlm("eval", f"--workdir={workdir}", "--json", "--symbols-to=100")
    with (workdir / "result.jsonl").open("a") as file:
        file.write('{"cut off')
    curve = tmp_path / "curve.csv"
    args = ("--protocol=windows", "--window=20", "--stride=5", "--symbols_from=50", f"--by-block={curve}")
    rnnlm("eval", f"--workdir={workdir}", "--json", *args)
    train(workdir, text_file)
    recorded = results.read_results(layout.load_run(workdir))
    assert [row["count"] for row in recorded] == [600, 100, 550]
    assert {k: recorded[0][k] for k in first} == first
    assert recorded[2]["protocol"] == "windows of 20, stride 5, symbols 50..600" and recorded[2]["symbols"] == [50, 600]
    run = json.loads((workdir / "run.json").read_text())
    for row in recorded:
        assert row["corpus"] == run["corpus"]["sha256"] and row["step"] == recorded[0]["step"]
        assert row["params"] == recorded[0]["params"] and sum(row["blocks"]) == pytest.approx(row["nats"], abs=0.01)
    [heading, line] = curve.read_text().splitlines()
    assert heading == "from,count,nats,bpc" and line.startswith("50,550,")


@pytest.mark.slow
def test_a_run_resumes_from_another_directory(tmp_path, text_file):
    workdir = tmp_path / "run"
    args = ("train", f"--config={conftest.ROOT}/tests/tiny.py", f"--workdir={workdir}")
    data_dir = text_file.parent
    rnnlm(
        *args,
        "--config.data.files=words.txt",
        "--config.train.steps=10",
        cwd=data_dir,
        env={"PYTHONPATH": str(conftest.ROOT)},
    )
    train(workdir, text_file, "--config.train.steps=20")
    assert json.loads(rnnlm("eval", f"--workdir={workdir}", "--json", cwd=tmp_path))["count"] == 600


@pytest.mark.slow
def test_a_run_continues_when_its_output_pipe_is_closed(tmp_path, text_file):
    process = start(*command(tmp_path / "run", text_file))
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "run" / "result.json").exists()
    process.stderr.close()


@pytest.mark.slow
def test_evaluation_uses_the_average(tmp_path, text_file):
    workdir = tmp_path / "run"
    train(workdir, text_file, "--config.optim.ema=0.8")
    tree = leaves(workdir, 30)
    lm = api.load(workdir, "latest")
    np.testing.assert_array_equal(lm.params["output"]["W"], tree["average.output.W"])
    assert not np.array_equal(tree["average.output.W"], tree["params.output.W"])
    line = json.loads(rnnlm("eval", f"--workdir={workdir}", "--split=valid", "--json", "--step=latest"))
    assert line["bpc"] == pytest.approx([r for r in rows(workdir) if "valid_bpc" in r][-1]["valid_bpc"], rel=1e-5)
