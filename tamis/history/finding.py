"""Finding the id of a document: by its first digits, by the document's text, or by its file and row."""

from collections.abc import Collection
from pathlib import Path

from tamis.base.errors import NotMadeError, PermanentError
from tamis.base.numbers import counted
from tamis.corpus import Shard
from tamis.corpus.shards import is_group_key
from tamis.corpus.stage import DOCUMENTS, DOCUMENTS_STAGE, OCCURRENCES, QUARANTINE
from tamis.passages.places import PARENT, document_places, read_passages
from tamis.readers.rows import WHOLE_SHARD
from tamis.readers.text import ORIGINAL, document_id, excerpt
from tamis.store.schemas import tables_of_texts
from tamis.store.tables import Store, quoted
from tamis.store.withdrawn import PLACES
from tamis.store.withdrawn import TABLE as WITHDRAWALS

ID_DIGITS = 32
SHORT_DIGITS = 10
"""Of 1,000,000 documents, two with the same first digits are expected once in two such pools."""
SHOWN = 60
LAST_ROW = 2**31
"""More rows than any file has; a larger number could not be compared in every table."""


class UnknownDocumentError(PermanentError):
    """An id, or its first digits, that no document has, or more than one."""

    def __init__(self, doc_id: str, matches: int) -> None:
        self.doc_id, self.matches = doc_id, matches
        found = (
            f"{matches} documents have ids that begin with"
            if matches
            else "no document has an id that begins with"
        )
        super().__init__(
            f"{found} {doc_id!r}; pass all 32 digits of the id, or enough leading digits to make it unique, "
            "or the whole text with --text FILE; browse_SELECTION.html and `tamis explain --file FILE --row "
            "N` show ids"
        )


class UnknownTextError(PermanentError):
    """A text that is not the text of any document."""

    def __init__(self, text: str, doc_id: str) -> None:
        self.text, self.doc_id = text, doc_id
        super().__init__(
            f"no document has this text ({excerpt(text)[:SHOWN]!r}, id {doc_id}); pass the whole text of a "
            "document, which may differ only in white space at the beginning and the end"
        )


class UnknownPlaceError(PermanentError):
    """A file that is not a shard, or a row that holds no document."""

    def __init__(self, file: str, row: int | None, problem: str) -> None:
        self.file, self.row, self.problem = file, row, problem
        place = repr(file) if row is None else f"{file!r} row {row}"
        super().__init__(f"{place} {problem}")


def resolve_document(store: Store, doc_id: str) -> str:
    """Return the full id of a document from an unambiguous prefix.

    Raises `UnknownDocumentError`, `NotMadeError`.
    """
    doc_id = doc_id.strip().lower()
    if not doc_id or set(doc_id) - set("0123456789abcdef"):
        raise UnknownDocumentError(doc_id, 0)
    found = sorted(_beginning_with(store, doc_id))
    _require_documents(store, found)
    if len(found) != 1:
        raise UnknownDocumentError(doc_id, len(found))
    return found[0]


def short_id(doc_id: str) -> str:
    """Return how pages with thousands of documents name one: enough digits to find it, or the page, by it."""
    return f".{doc_id[:SHORT_DIGITS]}"


def _beginning_with(store: Store, doc_id: str) -> set[str]:
    # The table compares a range or equality in place; LIKE takes three times as long.
    after = doc_id[:-1] + chr(ord(doc_id[-1]) + 1)

    def where(column: str) -> str:
        if len(doc_id) == ID_DIGITS:
            return f"{column} = {quoted(doc_id)}"
        return f"{column} >= {quoted(doc_id)} AND {column} < {quoted(after)}"

    tables = (*tables_of_texts(), WITHDRAWALS)
    found = {key for table in tables for key in store.read(table, ["doc_id"], where("doc_id"))["doc_id"]}
    return found | set(read_passages(store, [PARENT], where(PARENT))[PARENT])


def document_of_text(store: Store, text: str) -> str:
    """Return the id of the document with this text, or with the text extracted or mended from it.

    Raises `UnknownTextError`, `NotMadeError`.
    """
    doc_id = document_id(text)
    found = _beginning_with(store, doc_id)
    _require_documents(store, found)
    if found:
        return doc_id
    read_from = f"metadata LIKE '%\"{ORIGINAL}\": %{doc_id}%'"
    changed = store.read(OCCURRENCES.name, ["doc_id"], read_from)["doc_id"].unique().sort()
    if not len(changed):
        raise UnknownTextError(text, doc_id)
    return str(changed[0])


def _require_documents(store: Store, found: Collection[str]) -> None:
    """Raise `NotMadeError` where nothing was found because there are no documents yet."""
    if not found and not store.count(DOCUMENTS.name):
        raise NotMadeError(DOCUMENTS_STAGE.name)


def document_of_place(store: Store, shards: dict[str, Shard], file: str, row: int) -> str:
    """Return the id of the document, withdrawn or not, in a row (from 0) of a file or shard.

    `file`: a path, the key of a shard, or the name of a file below the folder of its corpus.
    Raises `UnknownPlaceError`.
    """
    wanted = Path(file).resolve()
    keys = [key for key, shard in shards.items() if key == file or shard.path.resolve() == wanted]
    if not keys:  # by the name that `tamis explain` shows, where one file alone is called so
        named = [key for key, shard in shards.items() if shard.name == file]
        keys = named if len(named) == 1 else []
    if not keys and is_group_key(file):
        problem = "is not a file but a group of small files; pass the path of one of these files"
        raise UnknownPlaceError(file, None, problem)
    if not keys:
        what = "not in any corpus of this project"
        problem = (
            f"is {what if wanted.exists() else 'neither a file nor the key of a shard'}; pass a file of one "
            "of the project's corpora, or the key of a shard, which `tamis explain DOC_ID` shows"
        )
        raise UnknownPlaceError(file, None, problem)
    scope = f"shard = {quoted(keys[0])}"
    here = f"{scope} AND row = {min(row, LAST_ROW)}"
    found = document_places(store, [], here)["doc_id"]
    if len(found):
        return str(found[0])
    _raise_for_quarantine(store, file, row, here)
    gone = store.read(PLACES, ["doc_id"], here)["doc_id"]
    if len(gone):
        return str(gone[0])
    _raise_for_quarantine(store, file, None, f"{scope} AND row = {WHOLE_SHARD}")
    rows = store.count(OCCURRENCES.name, scope)
    bad = store.count(QUARANTINE.name, scope)
    if rows or bad or store.count(PLACES, scope):
        aside = f"; {counted(bad, 'row')} in quarantine" if bad else ""
        problem = (
            f"contains no document. The file has {counted(rows, 'row')} with a document{aside}. Rows are "
            "numbered from 0"
        )
    else:
        problem = (
            "contains no document: the file is empty or has not been read yet; "
            "`tamis materialize` reads new files"
        )
    raise UnknownPlaceError(file, row, problem)


def _raise_for_quarantine(store: Store, file: str, row: int | None, where: str) -> None:
    """Raise `UnknownPlaceError` with the reason if a row, or for None the whole file, is in quarantine."""
    bad = store.read(QUARANTINE.name, ["reason", "detail"], where)
    if len(bad):
        whole = " as a whole" if row is None else ""
        why = f"is in quarantine{whole}: {bad['reason'][0]}: {bad['detail'][0]}"
        raise UnknownPlaceError(file, row, why)
