"""Tables of control of the retention: files that are missing or lost documents, and removals."""

import pyarrow as pa

from tamis.store.columns import Table, column

CONTROL: tuple[Table, ...] = (
    Table(
        name="absent_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column(
                "shard",
                pa.string(),
                "shard whose file is missing; its documents stay until a person allows their removal",
            ),
            column("found_at", pa.timestamp("us"), "when the file was found to be missing, UTC"),
        ),
    ),
    Table(
        name="shrunken_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "file that lost most of its documents"),
            column(
                "input_key",
                pa.string(),
                "hash of the file and of the settings used to read it, after the loss",
            ),
            column("before", pa.int64(), "number of distinct documents in the file before the loss"),
            column("now", pa.int64(), "number of distinct documents in the file after the loss"),
            column(
                "bad_rows",
                pa.string(),
                "number of rows that cannot be read after the loss, for each reason, as a JSON object",
            ),
            column("allowed", pa.bool_(), "whether a person allowed the removal of the missing documents"),
            column("found_at", pa.timestamp("us"), "when the loss was found or its removal allowed, UTC"),
        ),
    ),
    Table(
        name="removals",
        key=("removal",),
        text=(),
        sealed=True,
        columns=(
            column("removal", pa.string(), "random name of the removal"),
            column(
                "entries",
                pa.string(),
                "every value that this removal deletes, as asset[partition], in a JSON list",
            ),
            column(
                "documents",
                pa.int64(),
                "number of documents, summed over the shards that this removal deletes",
            ),
            column("allowed", pa.string(), "names whose removal a person allowed, as a JSON list"),
            column(
                "begun_at",
                pa.timestamp("us"),
                "when this removal was recorded, before anything was deleted, UTC",
            ),
            column(
                "ended_at",
                pa.timestamp("us"),
                "when this removal finished deleting, UTC; null until then",
            ),
        ),
    ),
)
