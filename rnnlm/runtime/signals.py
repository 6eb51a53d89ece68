"""Turn SIGTERM and Ctrl-C into a question that a loop can ask."""

import signal
import threading
from types import FrameType


class Signals:
    """Tell by a call whether a signal has come, within the context; a second signal ends the process at once.

    Python delivers signals to the main thread alone; in another one the context changes nothing and no signal comes.
    """

    def __enter__(self) -> "Signals":
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
