"""Turn SIGTERM and Ctrl-C into a question that a loop can ask."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

interrupted = False
"""Whether Ctrl-C has come within `interruptible`."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Remember a Ctrl-C within the context, which raises KeyboardInterrupt as ever.

    That exception alone does not do: an import or a callback under way may turn it into another one, or swallow it.
    """
    global interrupted
    interrupted = False
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupted = False


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    global interrupted
    interrupted = True
    raise KeyboardInterrupt


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
