"""Export: the chosen documents as a file that polars and `datasets.load_dataset` read, with descriptions."""

import os
from pathlib import Path

import polars as pl

from tamis.errors import NotMadeError, PermanentError, UnknownNameError
from tamis.interchange import describe_subset, write_beside
from tamis.project import Project
from tamis.selection.pool import chosen_documents
from tamis.store.exports import DESCRIPTIONS, beside
from tamis.store.tables import Store, quoted


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

    Columns doc_id, rank, margin, text, and shard, row, source and licence of the first place it stands in.
    Beside it: a data card, a Croissant description, and its lineage as OpenLineage events and PROV-JSON.

    Raises `UnknownNameError`, `NotMadeError`, `IncompleteSelectionError` or, before anything is written,
    `ManifestError` where the lineage is broken.
    """
    store = project.home.store
    made = store.read("selected_subset", ["selection"])["selection"].unique()
    if selection not in made:
        configured = [section.name for section in project.settings.selection]
        if selection in configured:
            raise NotMadeError(selection)
        raise UnknownNameError("selection", selection, {*made, *configured})
    chosen = chosen_documents(store, selection)
    expected = store.count("selected_subset", f"selection = {quoted(selection)}")
    if len(chosen) != expected:
        raise IncompleteSelectionError(selection, expected, len(chosen))
    chosen = chosen.join(_origins(store), on="doc_id", how="left", maintain_order="left")
    chosen = chosen.join(_margins(store, selection), on="doc_id", how="left", maintain_order="left")
    chosen = chosen.select("doc_id", "rank", "margin", "shard", "row", "source", "licence", "text")
    facts, lineage = describe_subset(project, selection, chosen)
    path = project.home.exports / f"{selection}.{form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    if form == "parquet":
        chosen.write_parquet(temporary)
    else:
        chosen.write_ndjson(temporary)
    os.replace(temporary, path)
    write_beside(facts, lineage, path)
    project.home.publish([path, *(beside(path, ending) for ending in DESCRIPTIONS)])
    return path, len(chosen)


def _origins(store: Store) -> pl.DataFrame:
    places = store.read("occurrences", ["doc_id", "shard", "row", "source", "licence"]).sort("shard", "row")
    return places.unique("doc_id", keep="first", maintain_order=True)


def _margins(store: Store, selection: str) -> pl.DataFrame:
    return store.read("decisions", ["doc_id", "margin"], f"selection = {quoted(selection)}")
