"""Export: the chosen documents as a file that polars and `datasets.load_dataset` read, with descriptions."""

from pathlib import Path

import polars as pl

from tamis.base.errors import PermanentError
from tamis.base.files import whole_file
from tamis.corpus.stage import OCCURRENCES
from tamis.interchange import describe_subset, write_beside
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.records.published import find_published, read_decisions
from tamis.selection.pool import with_texts
from tamis.store.exports import DESCRIPTIONS, beside
from tamis.store.tables import Store


class IncompleteSelectionError(PermanentError):
    """Texts of chosen documents are missing from the store."""

    def __init__(self, selection: str, chosen: int, found: int) -> None:
        self.selection, self.chosen, self.found = selection, chosen, found
        super().__init__(
            f"{chosen} documents were chosen for {selection!r}, but the store holds the text of {found}; "
            "`tamis status` says what is damaged, `tamis materialize` makes it again"
        )


def export_selection(project: Project, selection: str, form: str) -> tuple[Path, int]:
    """Write the documents of a selection in its order; returns the path and the number of documents.

    Of a selection that a blocking check refused, or that is being made, it is the last value that passed.

    Columns doc_id, rank, margin, text, and shard, row, source and licence of the first place it occurs in.
    Next to it: a data card, a Croissant description, and its lineage as OpenLineage events and PROV-JSON.

    Raises `UnknownNameError`, `NotMadeError`, `SelectionRefusedError`, `IncompleteSelectionError` or, before
    anything is written, `ManifestError` where the lineage is broken.
    """
    store = project.home.store
    configured = [section.name for section in project.settings.selection]
    folder = ManifestFolder.of(project.home)
    found = find_published(read_current_values(store), folder, selection, configured)
    decisions = pl.DataFrame(pl.from_arrow(read_decisions(store, folder, found)))
    ranks = decisions.filter(pl.col("verdict") == "selected").select("doc_id", "rank", "margin")
    chosen = with_texts(store, ranks)
    if len(chosen) != len(ranks):
        raise IncompleteSelectionError(selection, len(ranks), len(chosen))
    chosen = chosen.join(_origins(store), on="doc_id", how="left", maintain_order="left")
    chosen = chosen.select("doc_id", "rank", "margin", "shard", "row", "source", "licence", "text")
    facts, lineage = describe_subset(project, found, decisions, chosen)
    path = project.home.exports / f"{selection}.{form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        chosen.write_parquet(draft) if form == "parquet" else chosen.write_ndjson(draft)
    write_beside(facts, lineage, path)
    project.home.publish([path, *(beside(path, ending) for ending in DESCRIPTIONS)])
    return path, len(chosen)


def _origins(store: Store) -> pl.DataFrame:
    places = store.read(OCCURRENCES.name, ["doc_id", "shard", "row", "source", "licence"]).sort(
        "shard", "row"
    )
    return places.unique("doc_id", keep="first", maintain_order=True)
