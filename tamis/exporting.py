"""Export: the chosen documents, with the columns of the user's rows, as files that other tools read."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.files import replace_folder, whole_file
from tamis.base.numbers import counted
from tamis.corpus.listing import is_temporary, reads
from tamis.corpus.sources import stated_licence
from tamis.corpus.stage import OCCURRENCES
from tamis.interchange import describe_subset, write_descriptions
from tamis.interchange.json_lines import json_lines
from tamis.interchange.subset_rows import COUNT, SubsetRows, subset_rows
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.records.published import find_published, read_decisions
from tamis.selection.pool import with_texts
from tamis.settings.sections import CorpusSection, TargetSection
from tamis.store.exports import CROISSANT, DESCRIPTIONS, FOLDER, description_path, rows_in_folder
from tamis.store.home import Home, writing
from tamis.store.tables import Store
from tamis.withdrawal.since import WithdrawnSince, WithdrawnSinceError

FORMS = ("parquet", "jsonl", FOLDER)
ROWS_A_GROUP = 50_000
PATIENCE_SECONDS = 30.0


class IncompleteSelectionError(PermanentError):
    """Chosen documents have left the corpora since, or their texts are damaged."""

    def __init__(self, selection: str, chosen: int, found: int, configured: bool) -> None:
        self.selection, self.chosen, self.found = selection, chosen, found
        cure = "" if configured else f"put the section of {selection!r} back into tamis.toml, then "
        super().__init__(
            f"{chosen - found:,} of the {counted(chosen, 'document')} of {selection!r} are no longer stored: "
            "they have left the corpora, or their table was damaged. "
            f"{cure}run `tamis materialize`, which chooses again, then export again"
        )


class ExportPathError(PermanentError):
    """A path that an export must not write to: why not, and what to name instead. Nothing was written."""

    def __init__(self, path: Path, problem: str, cure: str) -> None:
        self.path, self.problem, self.cure = path, problem, cure
        super().__init__(f"{path} {problem}; {cure}")


class NothingToLoadError(PermanentError):
    """A selection without documents, as a folder for `datasets`, which loads none without rows."""

    def __init__(self, selection: str) -> None:
        self.selection = selection
        super().__init__(
            f"nothing was written: selection {selection!r} contains no documents, and `datasets` cannot load "
            f"a folder without rows; the page selection_{selection}.html says why each document was dropped "
            "(parquet and jsonl can be exported without rows)"
        )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: a file or folder, how many documents, and what to know of their columns."""

    path: Path
    documents: int
    notes: Sequence[str]


def export_selection(
    project: Project, selection: str, form: str, columns: Sequence[str] = (), output: Path | None = None
) -> Exported:
    """Write the documents of a selection in its order, as a file of that form or a folder for `datasets`.

    Of a selection that a blocking check refused, or that is being made, it is the last value that passed.

    Columns doc_id, rank, margin, shard, row and source of the first place it occurs in, the licence of the
    first that states one, text, the columns of the row of the first place, and in `other_origins` all other
    places with theirs; or only some `columns`.
    Where documents are in the training set several times, training_count says how often each is.
    Next to it: a data card, a Croissant description, and its lineage as OpenLineage events and PROV-JSON.
    `output`: the file or folder to write, if not in the folder of exports.

    Raises `UnknownNameError`, `NotMadeError`, `SelectionRefusedError`, `IncompleteSelectionError`,
    `ExportPathError`, `NothingToLoadError`, `WithdrawnSinceError`, `UnfinishedWithdrawalError` or, before
    anything is written, `ManifestError` where the lineage is broken.
    """
    path = output.absolute() if output else project.home.exports / f"{selection}.{form}"
    path = path / f"{selection}.{form}" if path.is_dir() and form != FOLDER else path
    _require_free(project, path, form)
    store, since = project.home.store, WithdrawnSince(project.home)
    configured = [section.name for section in project.settings.selection]
    folder = ManifestFolder.of(project.home)
    found = find_published(read_current_values(store), folder, selection, configured)
    decisions = pl.DataFrame(pl.from_arrow(read_decisions(store, folder, found)))
    ranks = decisions.filter(pl.col("verdict") == "selected").select("doc_id", "rank", "margin", COUNT)
    ranks = ranks.with_columns(pl.col(COUNT).fill_null(1)) if ranks[COUNT].count() else ranks.drop(COUNT)
    chosen = with_texts(store, ranks)
    if len(chosen) != len(ranks):
        raise IncompleteSelectionError(selection, len(ranks), len(chosen), selection in configured)
    _require_rows(selection, form, chosen)
    places = _places(store, chosen)
    first = places.unique("doc_id", keep="first", maintain_order=True).drop("licence")
    licences = places.group_by("doc_id").agg(stated_licence())
    for known in (first, licences):
        chosen = chosen.join(known, on="doc_id", how="left", maintain_order="left")
    facts, lineage = describe_subset(project, found, decisions, chosen)
    rows = subset_rows(project, chosen, places)
    rows = _among(rows, columns) if columns else rows
    since.require_none(path.name)

    path.parent.mkdir(parents=True, exist_ok=True)
    if form == FOLDER:
        with replace_folder(path) as draft:
            subset = rows_in_folder(draft)
            subset.parent.mkdir()
            _write(rows, subset, "parquet")
            write_descriptions(facts, lineage, subset, rows.schema)
        written = [one for one in path.rglob("*") if one.is_file()]
    else:
        _write(rows, path, form)
        written = [path, *write_descriptions(facts, lineage, path, rows.schema).paths]
    if path.is_relative_to(project.home.exports):
        project.home.publish(written)
    _take_back_if_withdrawn(project.home, path, written, since)
    return Exported(path=path, documents=len(chosen), notes=rows.notes(form))


def _take_back_if_withdrawn(home: Home, path: Path, written: Sequence[Path], since: WithdrawnSince) -> None:
    """Remove what was written, and raise, where documents were withdrawn before it had its name."""
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


def _places(store: Store, chosen: pl.DataFrame) -> pl.DataFrame:
    places = store.read(OCCURRENCES.name, ["doc_id", "shard", "row", "source", "licence"])
    return places.join(chosen.select("doc_id"), on="doc_id", how="semi").sort("shard", "row")


def _among(rows: SubsetRows, columns: Sequence[str]) -> SubsetRows:
    """Return these columns alone, and the id, by which a withdrawal finds the row."""
    for name in columns:
        if name not in rows.table.column_names:
            raise UnknownNameError("column", name, rows.table.column_names)
    return rows.select(list(dict.fromkeys(["doc_id", *columns])))


def _write(rows: SubsetRows, path: Path, form: str) -> None:
    with whole_file(path) as draft:
        if form == "parquet":
            pq.write_table(rows.table, draft, compression="zstd", row_group_size=ROWS_A_GROUP)
        else:
            with draft.open("w", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in json_lines(rows.objects()))


def _require_rows(selection: str, form: str, chosen: pl.DataFrame) -> None:
    if form == FOLDER and chosen.is_empty():
        raise NothingToLoadError(selection)


def _require_free(project: Project, path: Path, form: str) -> None:
    """Refuse a path where an export would destroy something, be read as documents, or escape a withdrawal."""
    _require_unread(project, path, form)
    real, home = path.resolve(), project.home
    exports = home.exports.resolve()
    if home.root.resolve() in (real, *real.parents) and exports not in real.parents:
        raise ExportPathError(
            path, "is in the Tamis home folder", f"choose a path outside that folder, or in {exports}"
        )
    if form == FOLDER:
        ours = {*_files(path, form), rows_in_folder(path).parent}
        # A withdrawal removes what describes an export; nobody else has such a folder among the exports.
        exported = description_path(rows_in_folder(path), CROISSANT).is_file() or exports in real.parents
        for one in sorted(path.rglob("*")) if path.is_dir() else ():
            if one not in ours or not exported:  # the whole folder would be replaced
                problem = f"contains {one.relative_to(path)}, which was not written by an export"
                raise ExportPathError(path, problem, "choose a new or empty folder")
        if path.is_file():
            raise ExportPathError(path, "is a file", "choose a new or empty folder")
        return
    # A withdrawal finds the files of exports by these endings.
    if path.suffix != f".{form}":
        cure = f"name it {path.with_suffix(f'.{form}').name}, or choose another --format"
        raise ExportPathError(path, f"does not end in .{form}, the suffix of the format {form}", cure)
    if description_path(path, CROISSANT).is_file() or exports in real.parents:
        return
    for one in _files(path, form):
        if one.exists():
            raise ExportPathError(
                one,
                "already exists and was not written by an export",
                "choose another path, or remove the file first",
            )


def _files(path: Path, form: str) -> list[Path]:
    """Return all files that an export to a path writes."""
    rows = rows_in_folder(path) if form == FOLDER else path
    return [rows, *(description_path(rows, ending) for ending in DESCRIPTIONS)]


def _require_unread(project: Project, path: Path, form: str) -> None:
    """Refuse a path where a corpus or a target reads, or would read a file that an export writes."""
    real = path.resolve()
    read: list[CorpusSection | TargetSection] = [*project.settings.corpus, *project.settings.target]
    for one in read:
        if not one.path or "://" in one.path:
            continue
        folder = (project.root / one.path).resolve()
        inside = real == folder or folder in real.parents
        if inside and real != folder:
            # The project's folder does not read its home, which is hidden, nor what its globs leave out.
            names = [file.relative_to(folder).as_posix() for file in _files(real, form)]
            if not any(_reads(one, name) for name in names):
                continue
        if inside or (form == FOLDER and real in folder.parents):
            problem = f"{'is' if inside else 'contains'} where the documents of {one.name!r} are read from"
            raise ExportPathError(path, problem, "choose a path that no corpus or target reads")


def _reads(section: CorpusSection | TargetSection, name: str) -> bool:
    """Whether a file of this name below the folder of a corpus or target is read; a target has no globs."""
    if isinstance(section, CorpusSection) and section.kind == "files":
        return reads(section, name)
    return not any(map(is_temporary, name.split("/")))
