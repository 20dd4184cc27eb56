"""Table of control of the training: trials that failed."""

from tamis.store.columns import Table, flag, integer, moment, real, text

CONTROL: tuple[Table, ...] = (
    Table(
        name="trial_failures",
        key=("trial",),
        text=(),
        sealed=True,
        columns=(
            text("trial", "name of the trial"),
            text("input_key", "hash of the inputs, settings and code that the trial depended on"),
            integer("attempts", "number of failed attempts with this input_key"),
            flag("permanent", "whether a retry without a change would fail again"),
            text("reason", "message of the last error"),
            moment("failed_at", "when the trial last failed, UTC"),
            real("spent_seconds", "time spent on all failed attempts with this input_key [s]"),
        ),
    ),
)
