"""Which signals this process has received, though Dagster and asyncio put handlers of their own in place.

Python writes the number of each signal that it handles into a pipe, whatever the handler makes of it.
"""

import contextlib
import os
import signal

_pipe: list[int] = []
_received: set[int] = set()


def record_signals() -> None:
    """Keep the numbers of the signals that come from now on; the main thread calls it, once."""
    _pipe[:] = os.pipe()
    for end in _pipe:
        os.set_blocking(end, False)
    signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)


def received_signals() -> set[int]:
    """The signals that have come since `record_signals`; none where they are not recorded."""
    with contextlib.suppress(BlockingIOError):
        _received.update(os.read(_pipe[0], 1024) if _pipe else b"")
    return set(_received)
