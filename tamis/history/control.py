"""Table of control of the history: every version of a selection."""

import pyarrow as pa

from tamis.store.columns import Table, column

_SELECTION = column("selection", pa.string(), "name of the selection")
CONTROL: tuple[Table, ...] = (
    Table(
        name="selection_versions",
        key=("selection", "version"),
        text=(),
        sealed=True,
        decided=True,
        columns=(
            _SELECTION,
            column(
                "version",
                pa.int64(),
                "version number, from 1; it increases when other documents, or another order, are chosen",
            ),
            column(
                "data_version", pa.string(), "digest of the doc_ids of the chosen documents, in their order"
            ),
            column(
                "decisions",
                pa.string(),
                "id of the manifest of the decisions, from the last run that chose these documents",
            ),
            column(
                "subset",
                pa.string(),
                "id of the manifest of the chosen documents, from the last run that chose these documents",
            ),
            column("rows", pa.string(), "digest of the rows of the decisions"),
            column("documents", pa.int64(), "number of chosen documents"),
            column("pool", pa.int64(), "number of documents in the pool that were decided on, chosen or not"),
            column(
                "pinned_to",
                pa.int64(),
                "earlier version that this version repeats because the selection was pinned; otherwise null",
            ),
            column("made_at", pa.timestamp("us"), "when this version was made, UTC"),
        ),
    ),
)
