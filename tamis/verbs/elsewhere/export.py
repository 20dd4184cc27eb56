"""Export: the chosen documents, with the columns of the user's rows, as files that other tools read."""

import errno
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.files import file_digest, replace_folder, whole_file
from tamis.base.numbers import counted
from tamis.corpus.sources import stated_licence
from tamis.corpus.stage import KEPT_ROWS, OCCURRENCES
from tamis.interchange import Description, describe_subset, write_descriptions
from tamis.interchange.export_paths import ExportPathError, described_path, require_free
from tamis.interchange.joined import joined_documents
from tamis.interchange.json_lines import json_lines
from tamis.interchange.subset_rows import COUNT, SubsetRows, subset_rows
from tamis.passages.places import COUNT as PART_COUNT
from tamis.passages.places import GAP, NUMBER, PARENT, PASSAGES
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.records.exported import note_export
from tamis.records.manifest import ManifestFolder
from tamis.records.published import Published, find_published, read_decisions
from tamis.selection.decide import used_score_columns
from tamis.selection.pool import with_texts
from tamis.store.exports import CARD, FOLDER, WITH_SCORES, rows_in_folder
from tamis.store.home import Home, writing
from tamis.store.tables import Store, quoted
from tamis.withdrawal.since import WithdrawnSince, WithdrawnSinceError

__all__ = [
    "FORMS",
    "ExportPathError",
    "Exported",
    "Extras",
    "IncompleteSelectionError",
    "NothingToLoadError",
    "export_selection",
]

FORMS = ("parquet", "jsonl", FOLDER)
ROWS_A_GROUP = 50_000
PATIENCE_SECONDS = 30.0
DECIDED = ("verdict", "reason", "detail", "duplicate_of", "budget_group")
"""What an export with scores says of each document of how it was decided."""
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
NOT_RECORDED = (
    "the export was not recorded, since {home} cannot be written to ({problem}); no checkpoint that is "
    "trained on it can be registered"
)
_JOINED = "{parts:,} chosen passages are joined to rows of {rows}; --passages writes a row for each passage"
_LEFT = "documents that have left the corpora since, and are not exported: {count:,}"


class IncompleteSelectionError(PermanentError):
    """Chosen documents have left the corpora since, or their texts are damaged."""

    def __init__(self, selection: str, chosen: int, found: int, configured: bool) -> None:
        cure = "" if configured else f"put the section of {selection!r} back into tamis.toml, then "
        super().__init__(
            f"{chosen - found:,} of the {counted(chosen, 'document')} of {selection!r} are no longer stored: "
            "they have left the corpora, or their table was damaged. "
            f"{cure}run `tamis materialize`, which chooses again, then export again"
        )


class NothingToLoadError(PermanentError):
    """A selection without documents, as a folder for `datasets`, which loads none without rows."""

    def __init__(self, selection: str) -> None:
        super().__init__(
            f"nothing was written: selection {selection!r} contains no documents, and `datasets` cannot load "
            f"a folder without rows; the page selection_{selection}.html says why each document was dropped "
            "(parquet and jsonl can be exported without rows)"
        )


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What an export writes besides the chosen documents.

    `card`: what describes them, next to a file outside of the folder of exports instead of in that folder.
    `scores`: all other documents of the pool as well, and of each its verdict, its reason and its scores.
    `passages`: a row for each passage of a long document, as with scores, instead of one for all chosen ones.
    """

    card: bool = False
    scores: bool = False
    passages: bool = False


NOTHING_MORE = Extras()


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: a file or folder, how many documents, its data card, what to know of its columns."""

    path: Path
    documents: int
    notes: Sequence[str]
    card: Path | None


@dataclass(frozen=True, kw_only=True)
class Subset:
    """A published selection with its documents, as far as they are stored, in the order of an export.

    decisions: all that it published. documents: doc_id, rank, margin, training_count where any is over 1,
    text, shard, row, source and licence, and where any is a passage its document, number, count and gap.
    chosen: the selected ones of these. places: all of theirs, by shard and row. left: how many documents have
    left the corpora since.
    """

    published: Published
    decisions: pl.DataFrame
    documents: pl.DataFrame
    chosen: pl.DataFrame
    places: pl.DataFrame
    left: int


def export_selection(
    project: Project,
    selection: str,
    form: str,
    columns: Sequence[str] = (),
    output: Path | None = None,
    extras: Extras = NOTHING_MORE,
) -> Exported:
    """Write the documents of a selection in its order, as a file of that form or a folder for `datasets`.

    Of a selection that a blocking check refused, or that is being made, it is the last value that passed.

    Columns doc_id, rank, margin, shard, row and source of the first place it occurs in, the licence of the
    first that states one, text, the columns of the row of the first place, and in `other_origins` all other
    places with theirs; or only some `columns`.
    Where documents are in the training set several times, training_count says how often each is.
    The chosen passages of a long document are one row (`joined_documents`), unless `extras` has them apart.
    The export is recorded with its version, so that `tamis register` knows it.
    With them: a data card, a Croissant description, and the lineage as OpenLineage events and PROV-JSON.
    `output`: the file or folder to write, if not in the folder of exports; a file is written alone there, and
    what describes it into the folder of exports.

    Raises `UnknownNameError`, `NotMadeError`, `SelectionRefusedError`, `IncompleteSelectionError`,
    `ExportPathError`, `NothingToLoadError`, `WithdrawnSinceError`, `UnfinishedWithdrawalError` or, before
    anything is written, `ManifestError` where the lineage is broken.
    """
    name = f"{selection}{WITH_SCORES}" if extras.scores else selection
    path = output.absolute() if output else project.home.exports / f"{name}.{form}"
    path = path / f"{name}.{form}" if path.is_dir() and form != FOLDER else path
    described = described_path(project, path, form, extras.card)
    require_free(project, path, form, described)
    since = WithdrawnSince(project.home)
    subset = read_subset(project, selection, scores=extras.scores)
    exported, places = subset.documents, subset.places
    if not (extras.scores or extras.passages):
        exported, places = joined_documents(exported, places)
    if form == FOLDER and exported.is_empty():
        raise NothingToLoadError(selection)
    facts, lineage = describe_subset(project, subset.published, subset.decisions, subset.chosen)
    rows = subset_rows(project, exported, places)
    rows = _among(project.home.store, rows, columns) if columns else rows
    since.require_none(path.name)

    path.parent.mkdir(parents=True, exist_ok=True)
    description = Description(facts=facts, lineage=lineage, known=rows.known, all_documents=extras.scores)
    written, notes = _written(rows, path, form, described, description)
    publish_unless_withdrawn(project.home, path, written, since)
    data = rows_in_folder(path) if form == FOLDER else path
    notes += noted(project.home, subset.published, facts.version, path, data, len(exported), form)
    left = [_LEFT.format(count=subset.left)] if subset.left else []
    if PASSAGES in exported.columns:
        split = exported[PASSAGES].drop_nulls()
        left.append(_JOINED.format(parts=split.list.len().sum(), rows=counted(len(split), "long document")))
    return Exported(
        path=path,
        documents=len(exported),
        notes=[*rows.notes(form), *left, *notes],
        card=next((one for one in written if one.name.endswith(CARD)), None),
    )


def noted(
    home: Home, published: Published, version: int, path: Path, data: Path, documents: int, form: str
) -> list[str]:
    """Record an export, so that `tamis register` knows it; return a note where the home cannot be written.

    `data`: the file with the rows at `path`, of `documents` documents.
    """
    try:
        note_export(home, published, version, path.name, file_digest(data), documents, form)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        return [NOT_RECORDED.format(home=home.place, problem=error.strerror)]
    return []


def read_subset(project: Project, selection: str, *, scores: bool = False) -> Subset:
    """Return a selection as it is published; with `scores` all documents of the pool.

    Raises `UnknownNameError`, `NotMadeError`, `SelectionRefusedError` or `IncompleteSelectionError`.
    """
    store, folder = project.home.store, ManifestFolder.of(project.home)
    configured = [section.name for section in project.settings.selection]
    found = find_published(read_current_values(store), folder, selection, configured)
    decisions = pl.DataFrame(pl.from_arrow(read_decisions(store, folder, found)))
    ranks = _ranks(decisions, scores)
    documents = with_texts(store, ranks.with_row_index("order")).sort("order").drop("order")
    selected = _selected(decisions)["doc_id"]
    is_chosen = pl.col("doc_id").is_in(selected.implode())
    if (stored := len(documents.filter(is_chosen))) != len(selected):
        raise IncompleteSelectionError(selection, len(selected), stored, selection in configured)
    columns = ["doc_id", "shard", "row", "source", "licence", PARENT, NUMBER, PART_COUNT, GAP]
    places = store.read(OCCURRENCES.name, columns)
    places = places.join(documents.select("doc_id"), on="doc_id", how="semi").sort("shard", "row", NUMBER)
    if not len(places[PARENT].drop_nulls()):
        places = places.drop(PARENT, NUMBER, PART_COUNT, GAP)
    placed = _with_first_place(documents, places)
    return Subset(
        published=found,
        decisions=decisions,
        documents=placed,
        chosen=placed.filter(is_chosen),
        places=places,
        left=len(ranks) - len(documents),
    )


def _selected(decisions: pl.DataFrame) -> pl.DataFrame:
    return decisions.filter(pl.col("verdict") == "selected")


def _ranks(decisions: pl.DataFrame, scores: bool) -> pl.DataFrame:
    """Return doc_id, rank and margin of the chosen documents, or of all with scores, the chosen first."""
    filled: pl.Expr = pl.col(COUNT).fill_null(1)
    if scores:
        more = [name for name in (*DECIDED, *used_score_columns(decisions)) if decisions[name].count()]
        chosen = pl.col("verdict") == "selected"
        found = decisions.sort(~chosen, "rank", "doc_id", nulls_last=True)
        filled = pl.when(chosen).then(filled)
    else:
        more, found = [], _selected(decisions).sort("rank")
    found = found.select("doc_id", "rank", "margin", COUNT, *more)
    return found.with_columns(filled) if found[COUNT].count() else found.drop(COUNT)


def _with_first_place(exported: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    first = places.unique("doc_id", keep="first", maintain_order=True).drop("licence")
    for known in (first, places.group_by("doc_id").agg(stated_licence())):
        exported = exported.join(known, on="doc_id", how="left", maintain_order="left")
    return exported


def _written(
    rows: SubsetRows, path: Path, form: str, described: Path, description: Description
) -> tuple[list[Path], list[str]]:
    """Write the rows and what describes them; return the files, and what to know of them."""
    if form == FOLDER:
        with replace_folder(path) as draft:
            subset = rows_in_folder(draft)
            subset.parent.mkdir()
            _write(rows, subset, "parquet")
            write_descriptions(description, subset, rows.schema, subset)
        return [one for one in path.rglob("*") if one.is_file()], []
    _write(rows, path, form)
    try:
        described.parent.mkdir(parents=True, exist_ok=True)
        files = write_descriptions(description, path, rows.schema, described)
    except OSError as error:
        if described.parent == path.parent or error.errno not in READ_ONLY:
            raise
        return [path], [
            f"no data card was written, since {described.parent} cannot be written to ({error.strerror}); "
            "with --with-card it is written next to the file"
        ]
    return [path, *files.paths], []


def publish_unless_withdrawn(home: Home, path: Path, written: Sequence[Path], since: WithdrawnSince) -> None:
    """Publish files; remove them, and raise, where documents were withdrawn before they had their names."""
    if ours := [one for one in written if one.is_relative_to(home.exports)]:
        home.publish(ours)
    try:
        since.require_none(path.name)
    except WithdrawnSinceError:
        if path.is_dir():
            shutil.rmtree(path)
        for one in written:
            one.unlink(missing_ok=True)
        if home.url:  # the object store loses it, too
            with writing(home, "tamis export", PATIENCE_SECONDS):
                home.publish_all()
        raise


def _among(store: Store, rows: SubsetRows, columns: Sequence[str]) -> SubsetRows:
    """Return these columns alone, and the ids, by which a withdrawal finds the row.

    A column that only other documents of the pool have is null, so that what reads the file goes on when the
    choice changes.
    """
    for name in columns:
        if name not in rows.table.column_names:
            key = json.dumps(name, ensure_ascii=False) + ":"
            if not store.count(KEPT_ROWS.name, f"strpos(content, {quoted(key)}) > 0"):
                raise UnknownNameError("column", name, rows.table.column_names)
            rows = rows.with_nulls(name)
    ids = ["doc_id", *(name for name in (PASSAGES,) if name in rows.known)]
    return rows.select(list(dict.fromkeys([*ids, *columns])))


def _write(rows: SubsetRows, path: Path, form: str) -> None:
    with whole_file(path) as draft:
        if form == "parquet":
            pq.write_table(rows.table, draft, compression="zstd", row_group_size=ROWS_A_GROUP)
        else:
            with draft.open("w", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in json_lines(rows.objects()))
