"""Tables of control of the records: current values, attempts, pinned versions, registered checkpoints."""

from tamis.store.columns import Table, flag, integer, moment, text
from tamis.store.home import FORM

_PARTITION = text("partition", "partition of the asset; empty if the asset has no partitions")
CONTROL: tuple[Table, ...] = (
    Table(
        name="heads",
        each_step=True,
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            text("asset", "asset").with_metadata({"description": "asset", "form": FORM}),
            _PARTITION,
            text("manifest", "id of the latest manifest"),
            text(
                "input_key",
                "hash of the inputs, settings and code that the value depends on, computed before the run",
            ),
            text("data_version", "version of the value"),
            flag("passed", "whether the value passed its blocking checks"),
            text(
                "last_passed",
                "manifest id of the last value that passed, if this value failed a blocking check; else null",
            ),
            flag(
                "settled", "false if the value still relies on something that was fitted on an earlier pool"
            ),
            text("attempt", "random token of the attempt that materialized the value"),
            moment("made_at", "when the value was materialized, UTC"),
        ),
    ),
    Table(
        name="attempts",
        each_step=True,
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            text("asset", "asset"),
            _PARTITION,
            text(
                "attempt",
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
            text("selection", "name of the selection"),
            integer("version", "version to which the selection is pinned"),
            text("decisions", "id of the manifest of the pinned version's decisions"),
            text("subset", "id of the manifest of the pinned version's chosen documents"),
            text("rows", "digest of the rows of the pinned version's decisions"),
            moment("made_at", "when the selection was pinned, UTC"),
        ),
    ),
    Table(
        name="registered_checkpoints",
        key=("checkpoint",),
        text=(),
        sealed=True,
        decided=True,
        columns=(
            text("checkpoint", "name of a checkpoint that was trained elsewhere on an export"),
            text("folder", "absolute path of the folder with the files of the checkpoint"),
            text("selection", "selection whose export the checkpoint was trained on"),
            integer("version", "version of the selection that the checkpoint was trained on"),
            text("recipe", "how the checkpoint was trained, as stated at registration; otherwise null"),
            text("manifest", "id of the manifest with the digests of the files and the list of documents"),
            text("content", "digest of the paths and contents of the files"),
            integer("files", "number of files"),
            integer("n_bytes", "size of all files [bytes]"),
            integer("documents", "number of documents that the checkpoint was trained on"),
            text("run", "id of the checkpoint's run in MLflow; null if it was not logged"),
            moment("made_at", "when the checkpoint was registered, UTC"),
        ),
    ),
)
