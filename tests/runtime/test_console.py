"""What a person sees on a terminal: bars that end, warnings on standard error, one line for Ctrl-C."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, environment, start, train

BAR = """
from rnnlm.runtime.console import Console
with Console() as console:
    {show}
    console.warn("warned")
    console.say("said")
print("after")
"""
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\r")


def on_terminal(command, stderr=None, act=lambda process, seen: None):
    """Run a command on a terminal of 80 columns: -> (what it shows there, without escapes, its exit code)."""
    ours, theirs = pty.openpty()
    options = {"cwd": ROOT, "env": environment() | {"TERM": "xterm", "COLUMNS": "80"}}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=stderr or theirs, **options)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 10_000)
        except OSError:  # Linux's end of a terminal
            break
        if not data:
            break
        seen += data
        act(process, seen)
    os.close(ours)
    return ESCAPES.sub(b"", seen).decode(), process.wait(timeout=60)


@pytest.mark.parametrize(
    "show", ["console.progress(3, 10, 2.5, 100.0)", "console.share(0.5)", "console.search(4, 2.25)", "pass"]
)
def test_a_warning_goes_to_standard_error_also_beside_a_bar(tmp_path, show):
    command = [sys.executable, "-c", BAR.format(show=show)]
    with (tmp_path / "stderr").open("w+b") as stderr:
        shown, code = on_terminal(command, stderr)
        assert code == 0 and (tmp_path / "stderr").read_text() == "warned\n" and "warned" not in shown
    shown, _ = on_terminal(command)
    assert shown.count("warned") == 1 and shown.index("warned") < shown.index("said") < shown.index("after")
    assert shown.endswith("after\n") and shown.count("after") == 1


def test_a_bar_is_removed_where_the_work_fails():
    code = "from rnnlm.runtime.console import Console\nwith Console() as console:\n    console.share(0.5)\n    1 / 0"
    shown, _ = on_terminal([sys.executable, "-c", code])
    assert "━" in shown and "━" not in shown[shown.index("Traceback") :]


@pytest.mark.slow
def test_no_bar_follows_the_word_that_training_has_stopped(tmp_path, text_file):
    command = [
        sys.executable, "-m", "rnnlm", "train", "--config=tests/tiny.py", f"--workdir={tmp_path / 'run'}",
        f"--config.data.files={text_file}", "--config.train.steps=1000000", "--cpu_devices=1",
    ]  # fmt: skip
    sent = []

    def interrupt(process, seen):
        if b"bpc" in seen and not sent:
            sent.append(process.send_signal(signal.SIGINT))

    shown, code = on_terminal(command, act=interrupt)
    assert code == 0 and sent
    _, bar, stopped = shown.rpartition("stopped at step ")
    assert "━" in shown and bar and re.fullmatch(r"\d+; the same command goes on from there\n", stopped)


def test_ctrl_c_before_there_is_a_folder_says_that_nothing_was_written(tmp_path, text_file):
    fifo = tmp_path / "config.py"  # the command waits for its config, which never comes
    os.mkfifo(fifo)
    process = start("train", f"--config={fifo}", f"--workdir={tmp_path / 'run'}")
    writer = os.open(fifo, os.O_WRONLY)  # returns once the command reads
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    os.close(writer)
    assert (process.returncode, out) == (130, "") and not (tmp_path / "run").exists()
    assert err == "rnnlm: interrupted before training began: no run folder was made or changed\n"


def test_a_ctrl_c_that_a_callback_swallows_is_remembered():
    code = """
import os, signal, sys
from rnnlm.runtime import signals
with signals.interruptible("interrupted\\n"):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass
    try:
        with signals.Signals():
            sys.exit("began")
    except KeyboardInterrupt:
        print("ended")
with signals.interruptible("interrupted\\n"), signals.Signals() as stop:
    print(stop())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ended\nFalse\n"), done.stderr


def test_a_swallowed_ctrl_c_comes_again_until_the_command_ends():
    code = """
import os, signal, time
from rnnlm.runtime import signals
signals.REPEAT_SECONDS = 0.05
with signals.interruptible("interrupted\\n"):
    for i in range(3):
        try:
            os.kill(os.getpid(), signal.SIGINT) if i == 0 else time.sleep(60)
        except KeyboardInterrupt:
            print(i)
    signals.end_interrupt()
    time.sleep(0.2)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n2\n", "")


def test_ctrl_c_while_a_module_is_imported_ends_the_process(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    )
    code = "from rnnlm.runtime import signals\nwith signals.interruptible('interrupted\\n'):\n    import slow"
    path = environment() | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.slow
def test_ctrl_c_at_any_moment_ends_a_command_with_one_sentence(tmp_path, text_file):
    train(tmp_path / "run", text_file, "--config.train.steps=5")
    # Python by itself says nothing of the sockets that orbax leaves open where its import is interrupted.
    env = {"PYTHONWARNINGS": "default,ignore::ResourceWarning"}
    for i in range(25):
        process = start("sample", f"--workdir={tmp_path / 'run'}", "--length=10000000", "--seed=0", env=env)
        time.sleep(0.1 + 0.1 * i)  # after Python itself has started
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "rnnlm: interrupted\n"), f"after {0.1 + 0.1 * i:.2f} s: {err}"


def test_trials_are_a_line_in_ten_seconds_where_there_is_no_terminal(capsys):
    from rnnlm.runtime.console import Console

    with Console() as console:
        for i in range(30):
            console.search(i, 2.5)
    assert capsys.readouterr().out == "trial 1  best 2.5000 bpc\n"
