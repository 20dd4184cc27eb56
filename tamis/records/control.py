"""Tables of control of the records: current values, attempts, pinned versions."""

import pyarrow as pa

from tamis.store.columns import Table, column
from tamis.store.home import FORM

_SELECTION = column("selection", pa.string(), "name of the selection")
_PARTITION = column("partition", pa.string(), "partition of the asset; empty if the asset has no partitions")
CONTROL: tuple[Table, ...] = (
    Table(
        name="heads",
        each_step=True,
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            column("asset", pa.string(), "asset").with_metadata({"description": "asset", "form": FORM}),
            _PARTITION,
            column("manifest", pa.string(), "id of the latest manifest"),
            column(
                "input_key",
                pa.string(),
                "hash of the inputs, settings and code that the value depends on, computed before the run",
            ),
            column("data_version", pa.string(), "version of the value"),
            column("passed", pa.bool_(), "whether the value passed its blocking checks"),
            column(
                "last_passed",
                pa.string(),
                "manifest id of the last value that passed, if this value failed a blocking check; else null",
            ),
            column(
                "settled",
                pa.bool_(),
                "false if the value still relies on something that was fitted on an earlier pool",
            ),
            column("attempt", pa.string(), "random token of the attempt that materialized the value"),
            column("made_at", pa.timestamp("us"), "when the value was materialized, UTC"),
        ),
    ),
    Table(
        name="attempts",
        each_step=True,
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            column("asset", pa.string(), "asset"),
            _PARTITION,
            column(
                "attempt",
                pa.string(),
                "random token of the latest attempt to materialize this value, whether it finished or not",
            ),
        ),
    ),
    Table(
        name="pins",
        key=("selection",),
        text=(),
        sealed=True,
        decided=True,
        columns=(
            _SELECTION,
            column("version", pa.int64(), "version to which the selection is pinned"),
            column("decisions", pa.string(), "id of the manifest of the pinned version's decisions"),
            column("subset", pa.string(), "id of the manifest of the pinned version's chosen documents"),
            column("rows", pa.string(), "digest of the rows of the pinned version's decisions"),
            column("made_at", pa.timestamp("us"), "when the selection was pinned, UTC"),
        ),
    ),
)
