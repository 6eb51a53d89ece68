"""Processes of a run that do not come, that are killed, stopped or fail: the others end with a sentence, and resume."""

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from rnnlm.errors import LostProcessError, UserError
from rnnlm.runtime.peers import check_coordinator
from tests.conftest import ROOT, environment, free_port, kill_group, leaves, rows, same_bits, start, train
from tests.test_run import command, last_complete_step

STEPS = 60
RUN = ("--config.eval.every=20", "--config.checkpoint.every=7", "--config.sample.every=0", "--config.model.dropout=0.1")

LOST = "rnnlm: Another process of this run has ended or cannot be reached"


def start_two(workdir, text, steps=STEPS, own=((), ())):
    """Start the two processes of a run; `own` are the flags of each."""
    with free_port() as port:
        flags = (f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--config.train.steps={steps}", *RUN)
    return [start(*command(workdir, text, *flags, f"--process={i}", *own[i])) for i in range(2)]


def finish(processes, seconds=60):
    """Wait until processes end: -> (exit code, output, errors) of each, which show no traceback."""
    try:
        ends = [(*process.communicate(timeout=seconds), process) for process in processes]
    finally:
        for process in processes:
            kill_group(process)
    assert not any("Traceback" in err for _, err, _ in ends), ends
    return [(process.returncode, out, err) for out, err, process in ends]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, text_file):
    """Train a run of STEPS steps in one process of two devices."""
    workdir = tmp_path_factory.mktemp("peers") / "undisturbed"
    train(workdir, text_file, *RUN, f"--config.train.steps={STEPS}", "--cpu_devices=2")
    return workdir


def same_run(a, b):
    assert rows(a) == rows(b)
    same_bits(leaves(a, STEPS), leaves(b, STEPS))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_and_both_resume(undisturbed, tmp_path, text_file, victim):
    workdir = tmp_path / "run"
    both = start_two(workdir, text_file)
    while all(process.poll() is None for process in both) and last_complete_step(workdir) < 15:
        time.sleep(0.05)
    both[victim].send_signal(signal.SIGKILL)
    code, _, err = finish([both[1 - victim]])[0]
    assert code == LostProcessError.exit_code == 75
    assert err.splitlines()[-1].startswith(LOST) and "start all of them again" in err.splitlines()[-1]
    kill_group(both[victim])
    assert [end[0] for end in finish(start_two(workdir, text_file), 120)] == [0, 0]
    same_run(workdir, undisturbed)


@pytest.mark.slow
def test_a_stopped_process_ends_the_other(tmp_path, text_file):
    """A process that is stopped keeps its connections open, but sends no heartbeat: jax's C++ code aborts the other."""
    both = start_two(tmp_path / "run", text_file)
    while all(process.poll() is None for process in both) and last_complete_step(tmp_path / "run") < 5:
        time.sleep(0.05)
    both[1].send_signal(signal.SIGSTOP)
    code, _, err = finish(both[:1])[0]
    kill_group(both[1])
    assert code == 75 and err.splitlines()[-1].startswith(LOST)


@pytest.mark.slow
def test_two_processes_then_one_then_two_are_one_run(undisturbed, tmp_path, text_file):
    """Lanes, masks and carries go on where they were, bit for bit where the number of devices is the same."""
    workdir = tmp_path / "run"
    assert [end[0] for end in finish(start_two(workdir, text_file, steps=20), 120)] == [0, 0]
    train(workdir, text_file, *RUN, "--config.train.steps=40", "--cpu_devices=2")
    assert [end[0] for end in finish(start_two(workdir, text_file), 120)] == [0, 0]
    same_run(workdir, undisturbed)


@pytest.mark.slow
def test_unequal_numbers_of_devices_are_refused(tmp_path, text_file):
    both = start_two(tmp_path / "run", text_file, own=(("--cpu_devices=1",), ("--cpu_devices=2",)))
    for code, _, err in finish(both):
        assert code == 2 and "different numbers of devices (1, 2)" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_who_fails_alone_ends_the_other(tmp_path, text_file):
    """An exception in one process, which the other does not know of, does not leave it waiting."""
    script = f"""
import sys, rnnlm
from tests.conftest import tiny

def on_row(row):  # of process 0 alone
    if row["step"] == 5:
        raise ValueError("no more of this")

port, process = map(int, sys.argv[1:])
rnnlm.configure(coordinator=f"127.0.0.1:{{port}}", processes=2, process=process)
config = tiny(data__files={str(text_file)!r}, train__steps=100_000)
rnnlm.train(config, {str(tmp_path / "run")!r}, on_row=on_row, show=False)
"""
    with free_port() as port:
        pass
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(port), str(i)], cwd=ROOT, env=environment(), **pipes)
        for i in range(2)
    ]
    try:
        errors = [process.communicate(timeout=100)[1] for process in both]
    finally:
        for process in both:
            kill_group(process)
    assert both[0].returncode == 1 and "ValueError: no more of this" in errors[0]
    assert both[1].returncode in (1, 75) and LOST.removeprefix("rnnlm: ") in errors[1]


@pytest.mark.slow
def test_a_process_that_stays_alone_ends(tmp_path, text_file):
    with free_port() as port:
        flags = (f"--coordinator=127.0.0.1:{port}", "--processes=2", "--process=0", "--join_timeout=1")
    code, _, err = finish([start(*command(tmp_path / "run", text_file, *flags))])[0]
    assert code == 2 and "did not bring the processes together within 1 seconds" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_an_address_that_does_not_answer_ends_the_command(tmp_path, text_file):
    with free_port() as port:
        flags = (f"--coordinator=127.0.0.1:{port}", "--processes=2", "--process=1", "--join_timeout=1")
    code, _, err = finish([start(*command(tmp_path / "run", text_file, *flags))])[0]
    assert code == 2 and not (tmp_path / "run").exists()
    assert err.startswith(f"rnnlm: --coordinator=127.0.0.1:{port} does not answer (Connection refused)")
    assert err.count("\n") == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:abc", ":7777", "host:0", "host:65536", "host:-1"])
@pytest.mark.parametrize("process", [0, 1])
def test_an_address_without_a_port_is_refused(address, process):
    with pytest.raises(UserError, match=f"--coordinator={address} is no address"):
        check_coordinator(address, process, 1)


def test_an_unknown_host_is_named():
    with pytest.raises(UserError, match=r"does not answer \(.*[a-z].*\), for 0 seconds"):
        check_coordinator("nohost.invalid:7777", 1, 0)


def test_an_address_is_free_in_process_0_and_answers_in_the_others():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_coordinator(address, 0, 1)
        later = threading.Timer(0.5, server.listen)
        later.start()
        check_coordinator(address, 1, 60)  # waits until somebody listens
        later.join()
        with pytest.raises(UserError, match="another program, perhaps another run, listens there"):
            check_coordinator(address, 0, 1)
