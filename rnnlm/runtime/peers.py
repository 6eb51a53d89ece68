"""Join the processes of a run, and end this one with a sentence where another one is lost.

Where a process cannot be joined or reached, jax's runtime aborts this one from C++ code, with a stack trace and exit
code 134, and raises nothing in Python that could be caught; the callback that jaxlib has for it fails in JAX 0.10 and
0.11. So the signal of the abort is handled here.
"""

import atexit
import ctypes
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from rnnlm.errors import LostProcessError, UserError

JOIN_SECONDS = 60
"""Seconds in which all processes must have started, unless given."""
HEARTBEAT_SECONDS = 30
"""Seconds after which a process that sends no heartbeat is taken for dead; one that is stopped sends none either."""
FAREWELL_SECONDS = 10
"""Seconds for which a process that has failed waits for the others to fail too, as after `parallel.sync_errors`."""

exit_code = 0
"""The exit code of a command that has failed."""
_abort_handler: Any = None  # what C calls must not be garbage-collected


def join(coordinator: str, processes: int, process: int, seconds: int) -> None:
    """Make this process one of the `processes` of a run, of which all must have started within some seconds.

    `coordinator` is host:port of process 0, or "auto" for address and numbers of the cluster. Raises UserError where
    they do not come together, or ends the process with that sentence and code.
    """
    import jax

    # Preemption notices would swallow SIGTERM; the training loop listens to signals itself.
    jax.config.update("jax_enable_preemption_service", False)
    end = time.monotonic() + seconds
    where: dict[str, Any] = {}
    if coordinator != "auto":
        check_coordinator(coordinator, process, seconds)
        where = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}
    failed = (
        f"--coordinator={coordinator} did not bring the processes together within {seconds} seconds (--join_timeout)"
    )
    what_to_do = (
        "see that each task of the job, or each worker, runs this command"
        if coordinator == "auto"
        else "start all of them with the same command, but each with its own --process, from 0 to --processes - 1"
    )
    explain_abort(f"{failed}: {what_to_do}.", UserError.exit_code)
    atexit.register(leave)  # runs before what jax has registered
    try:
        left = max(1, round(end - time.monotonic()))
        jax.distributed.initialize(**where, initialization_timeout=left, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"--coordinator={coordinator} did not bring the processes together ({error}): "
            "give host:port of process 0, with --processes and --process; auto is for Slurm and TPUs."
        ) from None
    explain_abort(str(LostProcessError()), LostProcessError.exit_code)


def check_coordinator(coordinator: str, process: int, seconds: int) -> None:
    """Check the address of process 0: that it is free in process 0, and answers within some seconds in the others.

    Raises UserError.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"--coordinator={coordinator} is no address: give host:port of process 0, with a port from 1 to 65535, or "
            "auto under Slurm and on TPUs."
        )
    address = host.strip("[]"), int(port)
    if process == 0:  # several servers may listen on one port, which then answers for either
        if connection_error(address, 1.0) is None:
            raise UserError(
                f"--coordinator={coordinator}: another program, perhaps another run, listens there. Give a free port."
            )
        return
    end = time.monotonic() + seconds
    while (error := connection_error(address, max(0.1, min(5.0, end - time.monotonic())))) is not None:
        if time.monotonic() >= end:
            raise UserError(
                f"--coordinator={coordinator} does not answer ({error}), for {seconds} seconds now: start process 0 at "
                "that address first, or give the processes more time (--join_timeout)."
            )
        time.sleep(0.2)


def connection_error(address: tuple[str, int], seconds: float) -> str | None:
    """Connect to an address and hang up: -> what went wrong, None if it answers."""
    try:
        with socket.create_connection(address, timeout=seconds):
            return None
    except OSError as error:
        return error.strerror or str(error)


def explain_abort(sentence: str, code: int) -> None:
    """Have an abort by C++ code, in any thread, print a sentence last and end the process with an exit code.

    The thread has called abort() itself, so that its handler may run Python, unlike that of a signal from outside.
    """
    global _abort_handler
    message = f"rnnlm: {sentence}\n".encode()

    def end(number: int) -> None:
        os.write(2, message)
        os._exit(code)

    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    libc.signal(int(signal.SIGABRT), ctypes.cast(handler, ctypes.c_void_p))
    _abort_handler = handler


def leave() -> None:
    """End a process that has failed: at its exit jax would wait for others, which may wait for it or be dead."""
    code = exit_code or int(getattr(sys, "last_value", None) is not None)  # 1 after an exception of somebody's script
    if not code:
        return
    if code != LostProcessError.exit_code:
        # Where all have failed, each is to tell why before the end of process 0 ends the others.
        from jax._src import distributed  # jax has no public way to ask for its client

        state: Any = distributed.global_state
        with suppress(Exception):
            state.client.wait_at_barrier("rnnlm.leave", FAREWELL_SECONDS * 1000)
            time.sleep(0.0 if state.process_id else 0.5)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)
