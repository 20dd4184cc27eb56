"""Where a browser finds the pages: an address that stays, since events of Dagster link there for ever."""

import json
import os
import secrets
from dataclasses import dataclass, replace
from urllib.parse import quote

from tamis.base.files import write_atomically
from tamis.store.home import Home

HOST, DEFAULT_PORT = "127.0.0.1", 3001
INDEX = "index.html"
"""The page that leads to all others."""
NOTE = "pages.json"
BASE_VARIABLE = "TAMIS_REPORTS_URL"
"""Where something else than `tamis ui` serves the folder of pages: its URL; set but empty: nothing does."""


@dataclass(frozen=True, kw_only=True)
class PagesAddress:
    """The port of a home's pages, and the key that begins their paths.

    The key is the home's own: a link to a page of one project never shows that of another, which may be
    served at the same port by now.
    """

    port: int
    key: str

    @property
    def url(self) -> str:
        """Return the URL of the page that leads to all others."""
        return f"http://{HOST}:{self.port}/{self.key}/"


def pages_address(home: Home) -> PagesAddress:
    """Return the address that the home notes; where it notes none, note one."""
    try:
        found = json.loads((home.dagster / NOTE).read_text())
        return PagesAddress(port=int(found["port"]), key=str(found["key"]))
    except (OSError, ValueError, LookupError, TypeError):  # no note, or a damaged one
        return _noted(home, PagesAddress(port=DEFAULT_PORT, key=secrets.token_hex(4)))


def keep_port(home: Home, port: int) -> PagesAddress:
    """Note that the pages are at this port from now on; return their address."""
    address = pages_address(home)
    return address if address.port == port else _noted(home, replace(address, port=port))


def page_url(home: Home, page: str) -> str | None:
    """Return the URL of a page by its file name, for links that are kept; None where nothing serves it."""
    base = os.environ.get(BASE_VARIABLE)
    if base is None:
        base = pages_address(home).url
    return f"{base.rstrip('/')}/{quote(page)}" if base else None


def _noted(home: Home, address: PagesAddress) -> PagesAddress:
    note = json.dumps({"port": address.port, "key": address.key})
    write_atomically(home.dagster / NOTE, note.encode())
    return address
