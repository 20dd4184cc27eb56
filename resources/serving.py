"""Dagster's UI, its daemon and the code server: `dagster dev` in this process, until somebody ends it."""

import contextlib
import http.client
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType

from dagster._cli.dev import dev_command

from tamis.base.errors import TamisError, TransientError
from tamis.base.progress import complain
from tamis.base.signals import end_by_itself, received_signals
from tamis.base.sqlite import wait_until_free
from tamis.base.user_folders import socket_folder
from tamis.graph.scan import scan_files
from tamis.platform.resources.children import kill_services
from tamis.platform.resources.databases import TABLES
from tamis.platform.resources.instance import dagster_state, open_instance
from tamis.platform.resources.partitions import register_partitions
from tamis.platform.resources.webserver import noted
from tamis.project import Project
from tamis.store.home import Home, claim, writing

SOCKET_NAME_BYTES = 20
"""Of a socket's name below the folder for temporary files: `/tmp` and eight characters, so far."""


class ServicesEndedError(TransientError):
    """One of Dagster's services ended though nobody asked for it; Dagster has logged which."""

    def __init__(self) -> None:
        super().__init__(
            "one of Dagster's services stopped unexpectedly (see the lines above); run `tamis ui` again"
        )


def prepare(project: Project) -> None:
    """Make the instance of a project, and register what its corpora hold: a click may come before a sensor.

    Where files cannot be listed, the arrivals sensor says so.
    """
    with contextlib.suppress(TamisError), writing(project.home, "tamis ui"):
        if project.home.url is None:  # an object store is asked when something is written to it
            claim(project.home, project.settings.project.name)
    with dagster_state(project):
        wait_until_free(project.home.dagster / path for path in TABLES)
        with open_instance(project) as instance, contextlib.suppress(TamisError):
            register_partitions(instance, scan_files(project), remove=False)


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
    ended, answers = threading.Event(), threading.Event()

    def when_it_answers() -> None:
        answers.set()
        ready()

    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    threading.Thread(target=_when_it_answers, args=(here, port, when_it_answers, ended), daemon=True).start()
    try:
        with (
            noted(home, here, port),
            _services_killed_before(answers),
            dev_command.make_context("dagster dev", arguments) as context,
        ):
            dev_command.invoke(context)
    finally:
        ended.set()
    if received_signals().isdisjoint({signal.SIGINT, signal.SIGTERM}):
        raise ServicesEndedError
    raise KeyboardInterrupt


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
