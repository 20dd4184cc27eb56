"""Tables of control of the graph: approvals of selections, and steps that failed."""

from tamis.store.columns import Table, flag, moment, text

CONTROL: tuple[Table, ...] = (
    Table(
        name="approvals",
        key=("selection",),
        text=(),
        sealed=True,
        decided=True,
        columns=(
            text("selection", "name of the selection"),
            text(
                "input_key", "hash of the selection's inputs and settings that await approval or are approved"
            ),
            flag("approved", "whether a person has approved the selection with these inputs and settings"),
            moment("made_at", "when the selection was approved, or since when it has awaited approval, UTC"),
        ),
    ),
    Table(
        name="step_failures",
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            text("asset", "asset that could not be materialized"),
            text("partition", "partition of the asset; empty if the asset has no partitions"),
            text("input_key", "hash of the inputs, settings and code that the asset depended on"),
            text("reason", "message of the last error"),
            moment("failed_at", "when the asset last failed, UTC"),
        ),
    ),
)
