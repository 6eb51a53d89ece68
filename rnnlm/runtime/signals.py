"""Handle SIGTERM and Ctrl-C: end a command, or tell a training loop that asks to save and stop."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import NoReturn

EXIT_CODE = 130
"""The exit code of a command that Ctrl-C ends."""

REPEAT_SECONDS = 1.0
"""Seconds after which a KeyboardInterrupt that has not ended the command is raised again."""

interrupted = False
"""Whether Ctrl-C has come within `interruptible`."""


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Let a Ctrl-C within the context end the command, whatever it is doing.

    While a module is imported, the handler writes the message and ends the process: an exception there may crash native
    code or be swallowed. Else it raises KeyboardInterrupt, again and again until `end_interrupt` is called, since a
    callback under way may swallow one or turn it into another exception.
    """
    global interrupted
    interrupted = False
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    handler = partial(_interrupt, message)
    alarm = signal.signal(signal.SIGALRM, handler)
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        end_interrupt()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGALRM, alarm)
        interrupted = False


def end_interrupt() -> None:
    """Raise no further KeyboardInterrupt for a Ctrl-C that has come."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(message: str, number: int, frame: FrameType | None) -> NoReturn:
    global interrupted
    if is_importing(frame):
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os.write(sys.stderr.fileno(), message.encode())
        os._exit(EXIT_CODE)
    interrupted = True
    signal.setitimer(signal.ITIMER_REAL, REPEAT_SECONDS)
    raise KeyboardInterrupt


def is_importing(frame: FrameType | None) -> bool:
    """Return whether one of the frames from this one up is of Python's import system."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let a SIGTERM within the context raise SystemExit, so that temporary files are removed."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Signals:
    """Tell by a call whether a signal has come, within the context; a second signal ends the process at once.

    Python delivers signals to the main thread alone; in another one the context changes nothing and no signal comes.
    Raises KeyboardInterrupt, before the context begins, where one was swallowed.
    """

    def __enter__(self) -> "Signals":
        if interrupted:
            raise KeyboardInterrupt
        self.received = False
        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGTERM, signal.SIGINT) if main else ()
        self._before = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        signal.signal(number, signal.SIG_DFL)
