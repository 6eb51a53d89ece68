"""SIGTERM and Ctrl-C as a question that a loop can ask."""

import signal
from types import FrameType


class Signals:
    """Within its context, a call says whether a signal has come. A second one ends the process at once."""

    def __enter__(self) -> "Signals":
        self.came = False
        self._before = {n: signal.signal(n, self._note) for n in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.came

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        signal.signal(number, signal.SIG_DFL)
