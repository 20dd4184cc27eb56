"""The address of the pages in a browser: one that stays, since events of Dagster link there for ever."""

import json
import os
import secrets
from dataclasses import dataclass, replace
from urllib.parse import quote

from tamis.base.files import write_atomically
from tamis.base.numbers import counted
from tamis.corpus.stage import DOCUMENTS
from tamis.report.rendering import render
from tamis.selection.stage import SELECTION_STAGE
from tamis.store.home import HEADS, Home, writer
from tamis.store.served import activity
from tamis.store.table_errors import DamagedTableError

HOST, DEFAULT_PORT = "127.0.0.1", 3001
INDEX = "index.html"
"""The page that leads to all others."""
NOTE = "pages.json"
BASE_VARIABLE = "TAMIS_REPORTS_URL"
"""URL at which something else than `tamis ui` serves the folder of pages; set but empty: nothing does."""
SECONDS = 5
"""Between two loads of the page."""
STARTING = (
    "Dagster is starting, which takes half a minute; after that the sensors look at files and settings."
)


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
    write_atomically(home.dagster / NOTE, json.dumps({"port": address.port, "key": address.key}).encode())
    return address


@dataclass(frozen=True, kw_only=True)
class MissingPage:
    """`lines`: what goes on, with backticks around commands; `ui`: address of Dagster's UI, None for none."""

    title: str
    index: bool
    answer: str
    lines: list[str]
    ui: str | None
    selections: str | None
    seconds: int = SECONDS


def missing_page(home: Home, name: str) -> bytes:
    """Return the page, in UTF-8, that is shown while the page of this name does not exist."""
    found, holder = activity(home), writer(home)
    lines = [f"Sensors: {line}." for line in found.lines] if found else [STARTING]
    lines += [f"{holder} is writing to the home."] if holder else []
    documents = _rows(home, DOCUMENTS.name)
    lines += [f"{counted(documents, 'document')} read so far."] if documents else []
    if name != INDEX:
        title = "This page does not exist"
        answer = "It is not made yet, or no longer belongs to the project; all pages are listed on one."
    elif _rows(home, HEADS):
        title = "The report pages are not written yet"
        answer = "Something was made already. Pages are written with the first selection, and appear here."
    else:
        title = "Nothing has been made yet"
        answer = "Once the first selection is made, its pages appear here: what was chosen, and why."
    ui = found.ui.url if found else None
    selections = f"{ui}/assets/{SELECTION_STAGE.name}" if ui else None
    return render(
        "missing.html",
        MissingPage(
            title=title, index=name == INDEX, answer=answer, lines=lines, ui=ui, selections=selections
        ),
    ).encode()


def _rows(home: Home, table: str) -> int:
    try:
        return home.store.count(table)
    except DamagedTableError:
        return 0
