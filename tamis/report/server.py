"""The pages over HTTP for a browser on this machine: to be read only, and nothing but the pages.

Another site can make a browser send requests here, and under a name of its own that it points at this machine
read the answers (DNS rebinding). So the server answers only where the browser asked for this machine by name.
"""

import contextlib
import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from tamis.report.address import HOST, INDEX, PagesAddress, keep_port, pages_address
from tamis.store.home import Home

TRIED_PORTS = 50
THIS_MACHINE = {"127.0.0.1", "localhost", "::1"}
TYPES = {".html": "text/html; charset=utf-8", ".png": "image/png", ".svg": "image/svg+xml"}
HEADERS = {
    "Cache-Control": "no-store",  # a page that a withdrawal removed must not come back from a browser's cache
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data: 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
WITH_SCRIPT = ("map_", "neighbours_", "browse_")
"""Pages with a script. Each names its digest in a policy of its own, so that no other one runs in it."""
NOT_HERE = (
    "This address belongs to a different project from the one that is being served here. Run tamis ui in "
    "the folder of the project that the link came from."
)
NO_PAGE = "There is no such file among the pages."
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


Missing = Callable[[str], bytes]
"""Stands in the place of a page that is not made, as HTML in UTF-8."""


class PagesServer(ThreadingHTTPServer):
    """Serve the files of one folder, none below it, at a port of this machine; raises `OSError`."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int, key: str) -> None:
        self.folder, self.key = folder, key
        self.missing: Missing | None = None
        super().__init__((HOST, port), _Pages)

    def server_bind(self) -> None:
        """Bind without asking for the name of this machine, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away."""


class _Pages(BaseHTTPRequestHandler):
    server: PagesServer
    script = False
    server_version, sys_version = "Tamis", ""
    timeout: ClassVar[float] = 20.0  # of a connection over which nothing comes
    error_message_format = (
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>%(message)s</title><style>'
        "body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; "
        "color: #1c2733; }</style><h1>%(message)s</h1><p>%(explain)s</p></html>"
    )

    def do_GET(self) -> None:
        host = self.headers.get_all("Host", [])
        try:
            path = unquote(urlsplit(self.path).path)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST, explain="This address is not valid.")
            return
        key, _, name = path.removeprefix("/").partition("/")
        if len(host) != 1 or _name_of(host[0]) not in THIS_MACHINE:
            self.send_error(
                HTTPStatus.FORBIDDEN,
                explain="This server answers only requests to localhost, from a browser on this machine.",
            )
        elif path in ("/", f"/{self.server.key}"):
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", f"/{self.server.key}/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif key != self.server.key:
            self.send_error(HTTPStatus.NOT_FOUND, explain=NOT_HERE)
        elif (content := _content(self.server.folder, name or INDEX)) is not None:
            self._answer(HTTPStatus.OK, name or INDEX, content)
        elif (content := self._in_place_of(name or INDEX)) is not None:
            # The page of all pages is an answer also before there are any.
            self._answer(HTTPStatus.NOT_FOUND if name and name != INDEX else HTTPStatus.OK, INDEX, content)
        else:
            self.send_error(HTTPStatus.NOT_FOUND, explain=NO_PAGE)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: HTTPStatus, name: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", TYPES[Path(name).suffix])
        self.send_header("Content-Length", str(len(content)))
        self.script = name.startswith(WITH_SCRIPT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _in_place_of(self, name: str) -> bytes | None:
        """Return what is shown in place of a page that is not made; None for what is no page."""
        if self.server.missing is None or not _FILE_NAME.fullmatch(name) or not name.endswith(".html"):
            return None
        try:
            return self.server.missing(name)
        except Exception:  # of a home that is being moved or repaired: the plain answer is enough
            return None

    def _refuse(self) -> None:
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse  # noqa: N815

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            allowed = "; script-src 'unsafe-inline'" * (self.script and name == "Content-Security-Policy")
            self.send_header(name, value + allowed)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal is for what the sensors do."""


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _content(folder: Path, name: str) -> bytes | None:
    """Return a file of the folder; None for what is none, is hidden or of another kind, or a link."""
    if not _FILE_NAME.fullmatch(name) or Path(name).suffix not in TYPES:
        return None
    try:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # Not to wait for a writer, where somebody has put a pipe there.
            found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
        finally:
            os.close(inside)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        return None
    with open(found, "rb") as file:
        return file.read()


@contextlib.contextmanager
def served_pages(
    home: Home, wanted: int | None = None, ui_port: int | None = None, missing: Missing | None = None
) -> Iterator[PagesAddress]:
    """Serve the pages of a home from threads of this process, and yield where; the port is free afterwards.

    `missing` gives what stands in the place of a page that is not made, by its name.

    The port is the one wanted, else the one that the home notes, or the next that is free but for the UI's.
    The home keeps it: links of today go where the pages are tomorrow. Raises `OSError` where the port
    wanted, or every port tried, is taken.
    """
    server = _bound(home, wanted, ui_port)
    server.missing = missing
    thread = threading.Thread(target=server.serve_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield keep_port(home, server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _bound(home: Home, wanted: int | None, ui_port: int | None) -> PagesServer:
    address = pages_address(home)
    if wanted is not None:
        return PagesServer(home.reports, wanted, address.key)
    last = min(address.port + TRIED_PORTS, 2**16 - 1)
    for port in range(address.port, last + 1):
        if port == ui_port:
            continue
        try:
            return PagesServer(home.reports, port, address.key)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"the ports {address.port} to {last} are all in use")
