"""Processes by a name that stays theirs, signals that this process received, and its end by them."""

import contextlib
import ctypes
import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import psutil

CLOCK_SECONDS = 5.0
ENDING = frozenset({signal.SIGINT, signal.SIGTERM})
PATIENCE_SECONDS = 10.0
"""How long the main thread may take to end after the first of `ENDING`."""
LOOKED_AT_SECONDS = 0.5
_pipe: list[int] = []
_received: list[int] = []
_lock = threading.Lock()
_patience = [math.inf]
_asked_at: list[float] = []
_notes: list[object] = []


def this_process() -> str:
    """Return host, process id and start of this process."""
    return process_named(os.getpid())


def process_named(number: int) -> str:
    """Return host, process id and start of a process; raises `psutil.Error` where there is none."""
    import psutil

    return f"{socket.gethostname()[:30]}:{number}:{psutil.Process(number).create_time():.0f}"


def lives(process: str) -> bool | None:
    """Return whether a process that `this_process` named lives; None where it is another machine's."""
    import psutil

    host, number, created = process.rsplit(":", 2)
    if host != socket.gethostname()[:30]:
        return None
    try:
        return abs(psutil.Process(int(number)).create_time() - float(created)) < CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return False


def record_signals() -> None:
    """Keep the numbers of the signals that come from now on; the main thread calls it, once."""
    _pipe[:] = os.pipe()
    for end in _pipe:
        os.set_blocking(end, False)
    signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)


def received_signals() -> set[int]:
    """The signals that have come since `record_signals`; none where they are not recorded."""
    return set(_all_received())


def _all_received() -> list[int]:
    with _lock:
        with contextlib.suppress(BlockingIOError):
            _received.extend(os.read(_pipe[0], 1024) if _pipe else b"")
        if not _asked_at and not ENDING.isdisjoint(_received):
            _asked_at.append(time.monotonic())
        return list(_received)


@contextlib.contextmanager
def signals_noted() -> Iterator[Callable[[], set[int]]]:
    """Yield a function that returns the signals that have come since the block began.

    The main thread enters it. Where signals are not recorded, they are while the block lasts.
    """
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    others = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if _pipe and others == _pipe[1]:
        signal.set_wakeup_fd(others)
        os.close(reader)
        os.close(writer)
        before = len(_all_received())
        yield lambda: set(_all_received()[before:])
        return
    found: list[int] = []

    def noted() -> set[int]:
        with contextlib.suppress(BlockingIOError):
            found.extend(os.read(reader, 64))
        return set(found)

    try:
        yield noted
    finally:
        noted()
        signal.set_wakeup_fd(others)
        os.close(reader)
        os.close(writer)
        if others != -1:  # whoever listened before learns of them too
            os.write(others, bytes(found))


def end_when_asked() -> None:
    """End this process `PATIENCE_SECONDS` after Ctrl-C or SIGTERM, if it has not ended by then.

    For a command, once its signals are recorded.
    """
    _patience[:] = [PATIENCE_SECONDS]
    threading.Thread(target=_watch, args=(_end_command,), daemon=True, name="signals").start()


def end_by_itself() -> None:
    """Leave it to the command when it ends, as one that waits for services of its own."""
    _patience[:] = [math.inf]


def _watch(end: Callable[[int], None]) -> None:
    while True:
        select.select([_pipe[0]], [], [], LOOKED_AT_SECONDS)
        numbers = _all_received()
        if _asked_at and time.monotonic() - _asked_at[0] > _patience[0]:
            end(signal.SIGTERM if signal.SIGTERM in numbers else signal.SIGINT)
        elif _asked_at:
            time.sleep(LOOKED_AT_SECONDS)  # the pipe may hold nothing to wait for


def _end_command(number: int) -> None:
    """Say so, end the processes that this one has started, and exit as after the signal."""
    said = "terminated" if number == signal.SIGTERM else "interrupted"
    line = "\r\x1b[K" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}tamis: {said}; run the same command again to continue\n".encode())
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    os._exit(128 + number)


def end_when_stuck() -> None:
    """End this process after SIGINT or SIGTERM where its main thread stays within one call all the while.

    For a run that a service of Dagster has started and may cancel: there, the handlers are Dagster's. Called
    by any thread but the main one it does nothing, nor where signals are recorded already.
    """
    if _pipe or threading.current_thread() is not threading.main_thread():
        return
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    if before != -1:  # somebody else listens
        return
    record_signals()
    threading.Thread(target=_watch_main_thread, daemon=True, name="signals").start()


def _watch_main_thread() -> None:
    seen = 0
    while True:
        select.select([_pipe[0]], [], [], LOOKED_AT_SECONDS)
        new, seen = _all_received()[seen:], len(_received)
        if (asked := ENDING.intersection(new)) and _is_stuck():
            os._exit(128 + max(asked))


def _is_stuck() -> bool:
    """Return whether the main thread does not come back to the interpreter for `PATIENCE_SECONDS`.

    It heeds what is pending between two instructions, as it would a signal.
    """
    came_back = threading.Event()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    def note(_given: object) -> int:
        came_back.set()
        return 0

    _notes.append(note)  # freed, it could not be called any more
    ctypes.pythonapi.Py_AddPendingCall(note, None)
    return not came_back.wait(PATIENCE_SECONDS)
