"""Export: the chosen documents as a file that polars and `datasets.load_dataset` read."""

import os
from pathlib import Path

from tamis.errors import UnknownNameError
from tamis.project import Project
from tamis.selection.pool import chosen_documents


def export_selection(project: Project, selection: str, form: str) -> tuple[Path, int]:
    """Write doc_id, rank and text of a selection in its order; returns the path and the number of rows.

    Raises `UnknownNameError` when no such selection has been made.
    """
    store = project.home.store
    made = store.read("selected_subset", ["selection"])["selection"].unique()
    if selection not in made:
        raise UnknownNameError("selection", selection, made)
    chosen = chosen_documents(store, selection)
    path = project.home.exports / f"{selection}.{form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    if form == "parquet":
        chosen.write_parquet(temporary)
    else:
        chosen.write_ndjson(temporary)
    os.replace(temporary, path)
    return path, len(chosen)
