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
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

MARK = "TAMIS_COMMAND"
"""Variable by which processes of a command are recognised that have left its group."""
LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.05, 1.0
UNKILLABLE_SECONDS = 10.0
"""Time after SIGKILL in which a process should have gone; the system may hold it for longer."""
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
    mark = uuid.uuid4().hex
    processes = {"supervisor": _named(os.getpid()), "until": until, "mark": mark}
    try:
        # A session of its own: the group of the command does not hold its supervisor.
        child = subprocess.Popen(
            job["command"],
            cwd=job["cwd"],
            env={**os.environ, MARK: mark},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        _write(job["ended"], {"code": code, "seconds": 0.0})
        _write(job["process"], processes)
        return
    timed_out, is_erased = False, False
    try:
        _write(job["process"], processes | {"command": _named(child.pid)})
    except FileNotFoundError:
        is_erased = True
    while child.poll() is None and not (_asked or timed_out or is_erased):
        time.sleep(LOOK_SECONDS)
        timed_out = time.monotonic() - began > job["time_limit"]
        is_erased = _is_erased(job)
    stopped = bool(_asked) and child.poll() is None
    end_processes(child.pid, mark, job["grace"])
    if _is_erased(job):
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


def end_processes(group: int, mark: str, grace: float) -> None:
    """End the processes of a command: SIGTERM, and SIGKILL to those that are left after `grace` seconds.

    They are those of its group, and those with the mark among their variables, since daemons leave the group.
    """
    for process in _processes_of(group, mark):
        with contextlib.suppress(psutil.Error):
            process.terminate()
            process.send_signal(signal.SIGCONT)  # a stopped process does not receive SIGTERM
    # Who was asked may start others to end well, such as a command that cancels a job.
    deadline, pause = time.monotonic() + grace, LOOK_SECONDS
    while processes := [*_processes_of(group, mark)]:
        late = time.monotonic() - deadline
        if late > UNKILLABLE_SECONDS:
            return
        for process in processes if late >= 0 else ():
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(pause if late >= 0 else min(pause, -late))
        pause = min(1.5 * pause, LONGEST_LOOK_SECONDS)


def _processes_of(group: int, mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            is_member = os.getpgid(process.pid) == group or process.environ().get(MARK) == mark
            if is_member and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _is_erased(job: dict[str, Any]) -> bool:
    """Return whether the folder is gone: another machine, which can send no signal, stops a command so.

    A command that has taken away access to the folder has it restored, for Tamis reads and erases it.
    """
    folder = Path(job["process"]).parent
    with contextlib.suppress(OSError):
        mode = folder.stat().st_mode
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)
    return not Path(job["process"]).exists()


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
