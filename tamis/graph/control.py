"""Tables of control of the graph: approvals of selections, and steps that failed."""

import pyarrow as pa

from tamis.store.columns import Table, column

_SELECTION = column("selection", pa.string(), "name of the selection")
_PARTITION = column("partition", pa.string(), "partition of the asset; empty if the asset has no partitions")
_LAST_ERROR = column("reason", pa.string(), "message of the last error")
CONTROL: tuple[Table, ...] = (
    Table(
        name="approvals",
        key=("selection",),
        text=(),
        sealed=True,
        decided=True,
        columns=(
            _SELECTION,
            column(
                "input_key",
                pa.string(),
                "hash of the selection's inputs and settings that await approval or are approved",
            ),
            column(
                "approved",
                pa.bool_(),
                "whether a person has approved the selection with these inputs and settings",
            ),
            column(
                "made_at",
                pa.timestamp("us"),
                "when the selection was approved, or since when it has awaited approval, UTC",
            ),
        ),
    ),
    Table(
        name="step_failures",
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            column("asset", pa.string(), "asset that could not be materialized"),
            _PARTITION,
            column(
                "input_key", pa.string(), "hash of the inputs, settings and code that the asset depended on"
            ),
            _LAST_ERROR,
            column("failed_at", pa.timestamp("us"), "when the asset last failed, UTC"),
        ),
    ),
)
