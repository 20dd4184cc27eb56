"""Table of control of the history: every version of a selection."""

from tamis.store.columns import Table, integer, moment, text

CONTROL: tuple[Table, ...] = (
    Table(
        name="selection_versions",
        key=("selection", "version"),
        text=(),
        sealed=True,
        decided=True,
        columns=(
            text("selection", "name of the selection"),
            integer(
                "version",
                "version number, from 1; it increases when other documents, or another order, are chosen",
            ),
            text("data_version", "digest of the doc_ids of the chosen documents, in their order"),
            text(
                "decisions",
                "id of the manifest of the decisions, from the last run that chose these documents",
            ),
            text(
                "subset",
                "id of the manifest of the chosen documents, from the last run that chose these documents",
            ),
            text("rows", "digest of the rows of the decisions"),
            integer("documents", "number of chosen documents"),
            integer("pool", "number of documents in the pool that were decided on, chosen or not"),
            integer(
                "pinned_to",
                "earlier version that this version repeats because the selection was pinned; otherwise null",
            ),
            moment("made_at", "when this version was made, UTC"),
        ),
    ),
)
