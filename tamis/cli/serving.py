"""The verbs that run the platform itself: `ui`, `health`, `bench`."""

import contextlib
import errno
import os
import runpy
import socket
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import click

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.installation import PLATFORM, ROOT
from tamis.base.progress import say, visible
from tamis.base.trust import accept, accepted, unaccepted
from tamis.cli.parts import CallError, ListCommand, answer, json_option, runtime_module
from tamis.project import open_project
from tamis.report.address import PagesAddress, missing_page, pages_address
from tamis.report.server import served_pages
from tamis.settings.config import UnreadableProjectError
from tamis.store.home import Home
from tamis.store.served import served
from tamis.trust import asked_by, plugins_asked

PARTS = ("tables", "writer", "dagster", "daemon", "tracking", "object_store")
LAST_PORT = 65535
BENCHMARKS = ROOT / "benchmarks"
WORKSPACE = (PLATFORM / "workspace.yaml").resolve()
"""Dagster reads further files of the folder that it is in: it works in that of Tamis."""
NO_LOGIN = (
    "there is no login: anyone who can reach {} can run and delete everything (docs/deploy.md); the report "
    "pages open only in browsers on this machine"
)
STOPPED = "the UI and the sensors have stopped"


class PortTakenError(PermanentError):
    """A port at which somebody serves already, and the option that names another."""

    def __init__(self, port: int, problem: OSError, option: str = "--port") -> None:
        # Two further: the next one is where another `tamis ui` usually serves its pages.
        other = port + 2 if port + 2 <= LAST_PORT else port - 2
        super().__init__(
            f"port {port} is taken ({problem.strerror}), perhaps by another `tamis ui`; "
            f"stop it, or use another port: tamis ui {option} {other}"
        )


@click.command()
@click.option(
    "--port", type=click.IntRange(1, LAST_PORT), default=3000, show_default=True, help="Port of Dagster's UI."
)
@click.option(
    "--reports-port",
    type=click.IntRange(1, LAST_PORT),
    help="Port of the report pages, kept for later calls.  [default: the last one used, else 3001; if that "
    "is taken, the next free one]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve on; anyone who can reach it can run and delete everything (docs/deploy.md).",
)
@click.option("--verbose", is_flag=True, help="Also print Dagster's log of every sensor tick.")
def ui(port: int, reports_port: int | None, host: str, verbose: bool) -> int:
    """Serve until Ctrl-C."""
    project = open_project()
    if webserver := served(project.home):  # of two, the sensors would ask one alone to load definitions
        raise CallError(
            f"this project is already served at http://{webserver.host}:{webserver.port}; open that address, "
            "or stop the server there first"
        )
    if ended := runtime_module("services").end_left_over(project.file):
        say(
            f"stopped the {' and the '.join(ended)} that a killed `tamis ui` of this project had left running"
        )
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTakenError(port, error) from error
            raise CallError(
                f"cannot serve at {host}: {error}; pass an address of this machine, such as --host 127.0.0.1"
            ) from error
    with _pages(project.home, reports_port, port) as pages:
        runtime_module("instance").prepare(project)
        os.environ["TAMIS_PROJECT"] = str(project.file)
        os.chdir(WORKSPACE.parent)
        say("starting Dagster's UI and the sensors")
        say(f"{pages.url} shows the report pages: selections, models, comparisons")
        if host not in ("127.0.0.1", "localhost", "::1"):
            say(NO_LOGIN.format(host))
        try:
            with runtime_module("services").children_awaited():
                runtime_module("services").serve(
                    project.home,
                    host,
                    port,
                    ready=lambda: say(f"http://{host}:{port} shows {project.file}; stop it with Ctrl-C"),
                    verbose=verbose,
                )
        except KeyboardInterrupt as asked:
            raise KeyboardInterrupt(STOPPED) from asked
    return 0


@contextlib.contextmanager
def _pages(home: Home, wanted: int | None, ui_port: int) -> Iterator[PagesAddress]:
    """Serve the pages as long as the UI, and say where they are if that is another port than before."""
    if wanted == ui_port:
        raise CallError(
            f"--port and --reports-port are both {ui_port}; the UI and the report pages need different ports"
        )
    before = pages_address(home).port
    with contextlib.ExitStack() as open_until_the_end:
        try:
            serving = served_pages(home, wanted, ui_port, partial(missing_page, home))
            pages = open_until_the_end.enter_context(serving)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES) or error.filename:
                raise  # of the file that notes the port
            raise PortTakenError(wanted or before, error, "--reports-port") from error
        if wanted is None and pages.port != before:
            say(
                f"port {before} is taken; the report pages and new links to them now use port {pages.port}; "
                f"earlier links in Dagster's UI lead to port {before}"
            )
        yield pages


@click.command()
@click.option("--list", "listed", is_flag=True, help="Accept nothing; list what is accepted and what is not.")
def trust(listed: bool) -> int:
    """Accept what the project asks for, as it is now."""
    try:
        project = open_project()
    except UnreadableProjectError:
        if not listed:
            raise
        asked = []
    else:
        asked = [
            *runtime_module("instance_file").asked_by(project),
            *asked_by(project),
            *plugins_asked(project),
        ]
    missing = unaccepted(asked)
    if not listed:
        accept(missing)
    known = accepted() if listed else missing
    lines = [f"accepted: {one.file} {one.effect}" for one in known]
    lines += [f"not accepted: {one.file} {one.effect}" for one in missing if listed]
    print("\n".join(map(visible, lines or ["nothing is accepted, and nothing has to be"])))
    return 0


@click.command(cls=ListCommand)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(PARTS),
    metavar="PART ...",
    help=f"Check only these parts: {', '.join(PARTS)}.",
)
@json_option
def health(only: Sequence[str], as_json: bool) -> int:
    """Look at each part; 1 where one is ill."""
    found = runtime_module("commands").findings(open_project(), only)
    healthy = all(one.healthy for one in found)
    value = {"healthy": healthy, "parts": [one.to_json() for one in found]}
    answer(as_json, value, [one.line for one in found])
    return int(not healthy)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", required=False, metavar="[NAME]")
@click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENT]...")
def bench(name: str | None, rest: Sequence[str]) -> int:
    """Run a benchmark in this process."""
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py") if not path.stem.startswith("_"))
    if not names:
        raise CallError(
            f"{ROOT} contains no benchmarks: they are in the repository of Tamis; clone it, and run "
            "`pip install -e .` there"
        )
    if name is None:
        print("\n".join(names))
        return 0
    if name not in names:
        raise UnknownNameError("benchmark", name, names)
    sys.argv = [name, *rest]
    sys.path.insert(0, str(ROOT))
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    return 0
