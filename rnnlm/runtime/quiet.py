"""Keep orbax and tensorstore from reporting a failure themselves, since rnnlm reports it once, as a sentence."""

import contextlib
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from absl import logging as absl_logging

LOCK = threading.Lock()
users = 0
"""How many callers want silence, in all threads: the first installs the hooks, the last removes them."""
hooks = contextlib.ExitStack()
IGNORED = (
    r"coroutine '.*(is_path_finalized|_coro_with_registration|metadata)' was never awaited",
    "Error (reading|writing) persistent compilation cache entry",  # the program is compiled again
)
"""Warnings that tell a user nothing, as regular expressions."""
LINGER = 5.0
"""Seconds after a failure in which late reports come."""


@contextlib.contextmanager
def silence_orbax() -> Iterator[None]:
    """Silence orbax's reports of a failure within the context, and some seconds longer where it fails.

    orbax logs it for each thread. The reads or writes beside it, still under way in C++, report later that their event
    loop is gone, through the process's exception hooks, or that nobody asked for their result, through asyncio's log.
    """
    begin_silence()
    try:
        yield
    except BaseException:
        timer = threading.Timer(LINGER, end_silence)
        timer.daemon = True
        timer.start()
        raise
    end_silence()


def begin_silence() -> None:
    """Silence orbax until `end_silence`, or until the process ends, so that late reports do not appear either."""
    global users
    with LOCK:
        if not users:
            install_hooks(hooks)
        users += 1


def end_silence() -> None:
    """End one `begin_silence`; after the last one all is as it was before the first."""
    global users
    with LOCK:
        users -= 1
        if not users:
            hooks.close()


def install_hooks(stack: contextlib.ExitStack) -> None:
    """Install hooks and filters that drop the reports; closing the stack removes them."""
    absl, asyncio = absl_logging.get_absl_logger(), logging.getLogger("asyncio")
    excepthook, unraisablehook = sys.excepthook, sys.unraisablehook

    def on_exception(kind: Any, value: Any, trace: Any) -> None:
        if str(value) != "Event loop is closed":
            excepthook(kind, value, trace)

    def on_unraisable(unraisable: Any) -> None:
        ctrl_c = isinstance(unraisable.exc_value, KeyboardInterrupt)  # in a callback; signals.py remembers it
        if not ctrl_c and not re.search("Event loop is closed|_UnixSelectorEventLoop", str(unraisable.exc_value)):
            unraisablehook(unraisable)

    def keep_record(record: logging.LogRecord) -> bool:
        return not (record.exc_info and "tensorstore" in str(record.exc_info[1]))

    stack.callback(absl.setLevel, absl.level)
    absl.setLevel(logging.CRITICAL)
    asyncio.addFilter(keep_record)
    stack.callback(asyncio.removeFilter, keep_record)
    sys.excepthook, sys.unraisablehook = on_exception, on_unraisable
    stack.callback(restore_hook, "excepthook", on_exception, excepthook)
    stack.callback(restore_hook, "unraisablehook", on_unraisable, unraisablehook)
    for message in IGNORED:
        warnings.filterwarnings("ignore", message)
        stack.callback(remove_filter, warnings.filters[0])


def restore_hook(name: str, installed: object, before: object) -> None:
    """Put back a hook of `sys`, unless someone has replaced the one installed here."""
    if getattr(sys, name) is installed:
        setattr(sys, name, before)


def remove_filter(entry: Any) -> None:
    """Remove one of Python's warnings filters, if it is still there."""
    with contextlib.suppress(ValueError):
        warnings.filters.remove(entry)  # type: ignore[attr-defined]
