"""Child processes of a service: some end seconds after the one that started them, as Dagster's servers do."""

import contextlib
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil

LOOKED_AT_SECONDS, PATIENCE_SECONDS = 5.0, 20.0
SERVICES = {"dagster_webserver": "webserver", "dagster._daemon": "daemon"}
CODE_SERVERS = {"code-server", "grpc"}
"""Words on the command lines of the services that load the code."""
OF_ANOTHER = "--shutdown-pipe"
"""How `tamis ui` and `dagster dev` start a service; one that somebody runs by itself has no such option."""


def end_left_over(project_file: Path) -> list[str]:
    """End Dagster's services of this project whose `tamis ui` was killed; return what they are.

    They go on without code, keep the port, and the daemon would fail the runs of a new UI.
    """
    found = {
        process: name for process in psutil.process_iter() if (name := _left_over(process, project_file))
    }
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in _alive_after_waiting(found):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return sorted(found.values())


def kill_services() -> None:
    """Kill Dagster's services below this process; a run that they have begun goes on."""
    services = {*SERVICES, *CODE_SERVERS}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if services.intersection(process.cmdline()):
                process.kill()


def _alive_after_waiting(processes: Collection[psutil.Process]) -> list[psutil.Process]:
    """Return which processes have not ended, after waiting for them for 20 s at most."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (alive := [one for one in processes if not _has_ended(one)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended, though nobody may have asked how: in a container none may."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _left_over(process: psutil.Process, project_file: Path) -> str:
    """Return which service of the project a process is, "" for none or one whose parent lives."""
    try:
        words = process.cmdline()  # empty once it has ended
        name = next((name for module, name in SERVICES.items() if module in words), "")
        if not name or OF_ANOTHER not in words:
            return ""
        parent = process.parent()
        above = " ".join(parent.cmdline()) if parent else ""
        ours = process.environ().get("TAMIS_PROJECT") == str(project_file)
        return name if ours and not ("tamis" in above or "dagster" in above) else ""
    except psutil.Error:  # it ended just now, or belongs to somebody else
        return ""


@contextlib.contextmanager
def children_awaited() -> Iterator[None]:
    """Return only when all processes that were started in this block have ended, directly or not.

    An orphan is no child any more, so they are noted while they live. After 20 s it is not waited for longer:
    a run that is still in progress ends by itself.
    """
    before = set(psutil.Process().children(recursive=True))
    seen: set[psutil.Process] = set()
    ended = threading.Event()

    def note() -> None:
        with contextlib.suppress(psutil.Error):
            seen.update(set(psutil.Process().children(recursive=True)) - before)

    def watch() -> None:
        while not ended.wait(LOOKED_AT_SECONDS):
            note()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        note()
        _alive_after_waiting(seen)
