"""What stands in place of a page that is not made: what goes on, and where to look. It loads itself again."""

from dataclasses import dataclass

from tamis.base.numbers import counted
from tamis.corpus.stage import DOCUMENTS
from tamis.report.address import INDEX
from tamis.report.rendering import render
from tamis.selection.stage import SELECTION_STAGE
from tamis.store.home import HEADS, Home, writer
from tamis.store.served import activity
from tamis.store.table_errors import DamagedTableError

SECONDS = 5
"""Between two loads of the page."""
STARTING = (
    "Dagster is starting, which takes half a minute; after that the sensors look at files and settings."
)


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
    page = MissingPage(
        title=title, index=name == INDEX, answer=answer, lines=lines, ui=ui, selections=selections
    )
    return render("missing.html", page).encode()


def _rows(home: Home, table: str) -> int:
    try:
        return home.store.count(table)
    except DamagedTableError:
        return 0
