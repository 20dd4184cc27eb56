"""Going back to an earlier version of a selection, and letting go of it again."""

from tamis.base.errors import UnknownNameError
from tamis.corpus.stage import DOCUMENTS
from tamis.lineage.heads import read_heads
from tamis.lineage.pins import Pin, pin, read_pins, unpin
from tamis.lineage.versions import decisions_of, find_version, note_version
from tamis.project import Project
from tamis.selection.pinned import repeated
from tamis.store.home import writing

PATIENCE_SECONDS = 30.0


def restore(project: Project, selection: str, number: int) -> tuple[Pin, list[str]]:
    """Pin a selection to a version; the next materialization of it repeats that version.

    Returns the pin and the documents that were chosen then but are gone. Raises `UnknownNameError` for what
    tamis.toml does not name, and as `difference` does.
    """
    home, names = project.home, _configured(project, selection)
    with writing(home, "tamis restore", PATIENCE_SECONDS):
        note_version(home, read_heads(home.store), selection)
        version = find_version(home.store, selection, number, names)
        then = decisions_of(home, version)
        gone = repeated(then, home.store.read(DOCUMENTS.name, ["doc_id"])).gone
        made = pin(home.store, selection, version.version, version.decisions, version.subset, version.rows)
    return made, gone


def release(project: Project, selection: str) -> Pin | None:
    """Let a selection follow the corpora again; the pin it had."""
    _configured(project, selection)
    with writing(project.home, "tamis restore", PATIENCE_SECONDS):
        before = read_pins(project.home.store).get(selection)
        unpin(project.home.store, selection)
    return before


def _configured(project: Project, selection: str) -> list[str]:
    names = [section.name for section in project.settings.selection]
    if selection not in names:
        raise UnknownNameError("selection", selection, names)
    return names
