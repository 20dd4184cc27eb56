"""Table of control of the training: trials that failed."""

import pyarrow as pa

from tamis.store.columns import Table, column

_LAST_ERROR = column("reason", pa.string(), "message of the last error")
CONTROL: tuple[Table, ...] = (
    Table(
        name="trial_failures",
        key=("trial",),
        text=(),
        sealed=True,
        columns=(
            column("trial", pa.string(), "name of the trial"),
            column(
                "input_key", pa.string(), "hash of the inputs, settings and code that the trial depended on"
            ),
            column("attempts", pa.int64(), "number of failed attempts with this input_key"),
            column("permanent", pa.bool_(), "whether a retry without a change would fail again"),
            _LAST_ERROR,
            column("failed_at", pa.timestamp("us"), "when the trial last failed, UTC"),
            column(
                "spent_seconds", pa.float64(), "time spent on all failed attempts with this input_key [s]"
            ),
        ),
    ),
)
