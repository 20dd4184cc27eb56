"""Watches one command until it ends; a script by itself, so that it starts in milliseconds and stays small.

It leaves the processes of whoever starts it at once, since they may be ended together. It holds a lock while
it runs: a command is never started twice in a folder, and another process with its number is never taken for
it. Its argument is the job as JSON; see `own_command.start`.
"""

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

LOOK_SECONDS = 0.05
RSS_BYTES = 1 if sys.platform == "darwin" else 1_024
"""Unit of the peak memory that the system reports."""
_asked: list[int] = []


def supervise(job: dict[str, Any]) -> None:
    """Run the command of a job under its time limit, and write down how it ended."""
    lock = os.open(job["lock"], os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if Path(job["ended"]).exists():
        return
    signal.signal(signal.SIGTERM, lambda number, _frame: _asked.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    began = time.monotonic()
    until = time.time() + job["time_limit"] + 2 * job["grace"]
    processes = {"supervisor": _named(os.getpid()), "until": until}
    try:
        # A session of its own: the group of the command does not hold its supervisor.
        child = subprocess.Popen(
            job["command"], cwd=job["cwd"], stdin=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        _write(job["ended"], {"code": code, "seconds": 0.0})
        _write(job["process"], processes)
        return
    _write(job["process"], processes | {"command": _named(child.pid)})
    timed_out, is_erased = False, False
    while child.poll() is None and not (_asked or timed_out or is_erased):
        time.sleep(LOOK_SECONDS)
        timed_out = time.monotonic() - began > job["time_limit"]
        is_erased = not Path(job["process"]).exists()  # by another machine, maybe, which can send no signal
    stopped = bool(_asked) and child.poll() is None
    _end(child, job["grace"])
    if is_erased:
        return
    _write(
        job["ended"],
        {
            "code": child.wait(),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * RSS_BYTES,
            "seconds": time.monotonic() - began,
            "timed_out": timed_out,
            "stopped": stopped,
        },
    )


def _end(child: "subprocess.Popen[bytes]", grace: float) -> None:
    """End what is left of the command's group: workers outlive the process that started them."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            child.poll()
            os.killpg(child.pid, 0)
            time.sleep(LOOK_SECONDS)
        os.killpg(child.pid, signal.SIGKILL)


def _named(number: int) -> str:
    """Name a process as `tamis.base.processes.process_named` does."""
    return f"{socket.gethostname()[:30]}:{number}:{psutil.Process(number).create_time():.0f}"


def _write(path: str, values: dict[str, Any]) -> None:
    draft = Path(f"{path}.draft")
    draft.write_text(json.dumps(values), encoding="utf-8")
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


if __name__ == "__main__" and os.fork() == 0:
    supervise(json.loads(sys.argv[1]))
