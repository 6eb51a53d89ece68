"""The script benchmarks/gpu.sh runs its parts and writes its page, tried on a CPU."""

import gzip
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from benchmarks import gpu, gpu_scale, profiles
from tests.conftest import ROOT, environment


def script(*args, code=0, **variables):
    """Run benchmarks/gpu.sh and check its exit code: -> its output."""
    env = environment() | {"PYTHON": sys.executable} | variables
    command = [str(ROOT / "benchmarks" / "gpu.sh"), *map(str, args)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=1800)
    assert done.returncode == code and "Traceback" not in done.stdout, done.stdout
    return done.stdout


def rows(folder, part):
    return gpu.Run(folder, cpu=True).rows(part)


@pytest.mark.slow
def test_parts_leave_rows_and_a_page(tmp_path):
    output = script("--cpu", f"--out={tmp_path}", "machine", "flags")
    [machine] = rows(tmp_path, "machine")
    [device] = rows(tmp_path, "device")
    assert device["backend"] == "cpu" and machine["versions"]["jax"] and machine["python"]
    assert all(f"This machine lacks {what}." in output for what in machine["lacks"])
    assert ("nvidia-smi" in machine["lacks"]) == (shutil.which("nvidia-smi") is None)
    [flagged] = rows(tmp_path, "flags")
    low, high = flagged["interval"]
    assert flagged["flag"] in gpu_scale.FLAGS.values() and low <= flagged["ratio"] <= high
    page = (tmp_path / "gpu.md").read_text()
    assert page in output and "## machine" in page and flagged["flag"] in page


def test_rows_of_an_earlier_run_of_the_script_are_ignored(tmp_path):
    run = gpu.Run(tmp_path, cpu=True)
    for part, n in (("machine", 1), ("flags", 1), ("machine", 2), ("flags", 2), ("flags", 3)):
        run.add(part, n=n)
    assert [row["n"] for row in run.rows("flags")] == [2, 3] and [row["n"] for row in run.rows("machine")] == [2]


@pytest.mark.slow
def test_a_part_that_is_cut_off_keeps_its_rows(tmp_path):
    row = {"name": "no flag", "flag": "", "killed": True, "equal": True, "first_differing_row": None}
    gpu.Run(tmp_path, cpu=True).add("resume", **row)
    with (tmp_path / "gpu.jsonl").open("a") as file:
        file.write('{"part": "res')
    output = script("--cpu", f"--out={tmp_path}", "train", "profile", BUDGET="13")
    assert re.search(r"train was cut off after 1[123] s", output) and "No time is left for profile." in output
    assert "- no flag: equal bit for bit" in (tmp_path / "gpu.md").read_text()


def test_a_signal_stops_it_and_its_parts(tmp_path):
    command = [str(ROOT / "benchmarks" / "gpu.sh"), "--cpu", f"--out={tmp_path}", "train", "resume"]
    env = environment() | {"PYTHON": sys.executable, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout.readline().startswith("--- train")
    while not list(tmp_path.glob("*/run/lock")):  # the run of the part has begun
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)  # waits for all processes that could still write there
    assert process.returncode == 130 and "Stopped" in output and "resume" not in output


def test_a_machine_without_a_gpu_is_refused(tmp_path):
    output = script(f"--out={tmp_path}", "machine", "contest", code=2, JAX_PLATFORMS="cpu")
    assert "JAX sees no GPU here, only cpu" in output and "contest" not in output
    assert "contents is no part" in script("contents", code=2)
    assert "There is no /no/python here" in script("machine", code=2, PYTHON="/no/python")


def trace(path, *events):
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    return path


def test_kernels_are_the_events_of_the_gpus_streams(tmp_path):
    def name(kind, pid, tid, text):
        return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": text}}

    def event(pid, tid, text, dur):
        return {"ph": "X", "name": text, "pid": pid, "tid": tid, "ts": 0, "dur": dur}

    meta = [name("process_name", 1, 0, "/device:GPU:0"), name("process_name", 2, 0, "/host:CPU")]
    meta += [name("thread_name", 1, 7, "Stream #7(Compute)"), name("thread_name", 1, 8, "XLA Ops")]
    runs = [event(1, 7, "gemm", 300), event(1, 7, "fusion", 500), event(1, 7, "gemm", 400)]
    others = [event(1, 8, "while", 900), event(2, 7, "python", 900)]
    kernels = profiles.kernels(trace(tmp_path / "trace.gz", *meta, *runs, *others))
    assert [(k["name"], round(k["seconds"] * 1e6), k["calls"]) for k in kernels] == [
        ("gemm", 700, 2),
        ("fusion", 500, 1),
    ]


@pytest.mark.slow
def test_all_parts(tmp_path):
    script("--cpu", f"--out={tmp_path}", BUDGET="1800")  # as a slow machine takes longer
    [contest] = rows(tmp_path, "contest")
    assert {"rnnlm float32", "rnnlm bfloat16", "flax float32", "flax bfloat16"} <= set(contest["ms"])
    assert contest["ratio"].keys() | {"rnnlm float32", "rnnlm bfloat16", "product"} == set(contest["ms"])
    assert all("compiled" in name for name in contest["failed"])  # PyTorch needs a C++ compiler to compile
    [kept, resume] = rows(tmp_path, "resume")
    assert all(row["killed"] and row["equal"] and row["first_differing_row"] is None for row in (kept, resume))
    [quickstart] = rows(tmp_path, "quickstart")
    assert 0 < quickstart["seconds_to_first_row"] < quickstart["seconds"] and quickstart["result"]["step"] == 30
    assert len(rows(tmp_path, "command")) == 4
    [memory] = rows(tmp_path, "memory")
    assert set(memory["ms"]) == {"whole", "in chunks"} and not memory["failed"]
    assert [row["ms"]["rnnlm"] > 0 for row in rows(tmp_path, "sample")] == [True, True]
    assert rows(tmp_path, "plan")[0]["planned"]["speed"]
    [train] = rows(tmp_path, "train")
    [test] = rows(tmp_path, "test")
    assert train["steps"] > 10 and 1 < test["bpc"] < 9 and test["count"] > 100_000
    [profile] = rows(tmp_path, "profile")
    assert profile["kernels"] and profile["kernel_seconds"] > 0
    assert profile["alone_ms"] > 0 and len(list(tmp_path.glob("gpu-profile-*.trace.json.gz"))) == 1
    page = (tmp_path / "gpu.md").read_text()
    assert all(f"## {part}" in page for part in profiles.SECTIONS)
