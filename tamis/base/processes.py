"""Processes by a name that stays theirs: an id alone is used again after a restart."""

import os
import socket

CLOCK_SECONDS = 5.0


def this_process() -> str:
    """Return host, process id and start of this process."""
    import psutil

    return f"{socket.gethostname()[:30]}:{os.getpid()}:{psutil.Process().create_time():.0f}"


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
