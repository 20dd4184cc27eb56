"""Dagster's services: `dagster dev` in this process until somebody ends it, its webserver, its processes.

Some processes end seconds after the one that started them, as Dagster's servers do.
"""

import contextlib
import http.client
import json
import os
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType

import psutil

from tamis.base.errors import TransientError
from tamis.base.processes import end_by_itself, received_signals
from tamis.base.progress import complain
from tamis.base.user_folders import socket_folder
from tamis.runtime.dagster_internals import dev_command
from tamis.store.home import Home
from tamis.store.served import NOTE, note_served

SOCKET_NAME_BYTES = 20
"""Of a socket's name below the folder for temporary files: `/tmp` and eight characters, so far."""
BEGUN_SECONDS = 2.0
"""How long a refusal may take; a webserver that says nothing in that time is loading them."""
RELOAD = """mutation ($location: String!) {
  reloadRepositoryLocation(repositoryLocationName: $location) {
    ... on Error { message }
  }
}"""
LOOKED_AT_SECONDS, PATIENCE_SECONDS = 5.0, 20.0
SERVICES = {"dagster_webserver": "webserver", "dagster._daemon": "daemon"}
CODE_SERVERS = {"code-server", "grpc"}
"""Words on the command lines of the services that load the code."""
OF_ANOTHER = "--shutdown-pipe"
"""How `tamis ui` and `dagster dev` start a service; one that somebody runs by itself has no such option."""


class ServicesEndedError(TransientError):
    """One of Dagster's services ended though nobody asked for it; Dagster has logged which."""

    def __init__(self) -> None:
        super().__init__(
            "one of Dagster's services stopped unexpectedly (see the lines above); run `tamis ui` again"
        )


def serve(home: Home, host: str, port: int, ready: Callable[[], None], verbose: bool = False) -> None:
    """Run `dagster dev` for workspace.yaml in the working directory; call `ready` once it answers.

    While it runs, the home notes the address for the sensors. Its services print warnings and errors; with
    `verbose` every tick of every sensor too. Raises `KeyboardInterrupt` once it was ended by Ctrl-C or
    SIGTERM, after which Dagster closes its services and comes back as if nothing had happened; services that
    do not answer yet are killed. `ServicesEndedError` where it ended for another reason.
    """
    end_by_itself()  # services get the time that they need to close
    warnings.filterwarnings("ignore", "Function `dev_command` is superseded")
    _shorten_temporary_folder()
    level = "info" if verbose else "warning"
    arguments = ["-w", "workspace.yaml", "-h", host, "-p", str(port), "--log-level", level]
    command, ended, answers = dev_command(), threading.Event(), threading.Event()

    def when_it_answers() -> None:
        answers.set()
        ready()

    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    threading.Thread(target=_when_it_answers, args=(here, port, when_it_answers, ended), daemon=True).start()
    try:
        with (
            noted(home, here, port),
            _services_killed_before(answers),
            command.make_context("dagster dev", arguments) as context,
        ):
            command.invoke(context)
    finally:
        ended.set()
    if received_signals().isdisjoint({signal.SIGINT, signal.SIGTERM}):
        raise ServicesEndedError
    raise KeyboardInterrupt


@contextlib.contextmanager
def noted(home: Home, host: str, port: int) -> Iterator[None]:
    """Note in the home where this process serves the UI, as long as it does."""
    note = note_served(home, host, port)
    path = home.dagster / NOTE
    try:
        yield
    finally:
        if path.exists() and path.read_text() == note:  # another one may have begun since
            path.unlink()


def ask_reload(host: str, port: int, location: str) -> str:
    """Ask the webserver to load the definitions of a code location again; returns why it does not, or "".

    Its answer comes when they are loaded, and is not waited for: the process that asks is replaced by then.
    """
    connection = HTTPConnection(host, port, timeout=BEGUN_SECONDS)
    body = json.dumps({"query": RELOAD, "variables": {"location": location}})
    try:
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        found = json.loads(connection.getresponse().read())
        said = found["data"]["reloadRepositoryLocation"]
        return str(said.get("message", ""))
    except TimeoutError:
        return ""
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        return f"http://{host}:{port} does not answer like Dagster's webserver ({type(error).__name__})"
    finally:
        connection.close()


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


def _shorten_temporary_folder() -> None:
    """Have services make their sockets where paths are short; raises `LongTemporaryFolderError`."""
    own, short = tempfile.gettempdir(), str(socket_folder(SOCKET_NAME_BYTES))
    if short != own:
        complain(f"the path of TMPDIR is too long for the sockets of Dagster's services, which use {short}")
        os.environ["TMPDIR"] = tempfile.tempdir = short


@contextlib.contextmanager
def _services_killed_before(answers: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM kill the services as long as they are loading.

    Asked to end, each would print a traceback of the import that it was at.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if not answers.is_set():
            kill_services()
        raise KeyboardInterrupt

    # Dagster handles SIGTERM as it finds SIGINT handled.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _when_it_answers(host: str, port: int, ready: Callable[[], None], ended: threading.Event) -> None:
    while not ended.wait(0.3):
        connection = http.client.HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", "/server_info")
            if connection.getresponse().status == http.client.OK:
                ready()
                return
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()


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
