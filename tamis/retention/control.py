"""Tables of control of the retention: files that are missing or lost documents, and removals."""

from tamis.store.columns import Table, flag, integer, moment, text

CONTROL: tuple[Table, ...] = (
    Table(
        name="absent_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            text(
                "shard", "shard whose file is missing; its documents stay until a person allows their removal"
            ),
            moment("found_at", "when the file was found to be missing, UTC"),
        ),
    ),
    Table(
        name="shrunken_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            text("shard", "file that lost most of its documents"),
            text("input_key", "hash of the file and of the settings used to read it, after the loss"),
            integer("before", "number of distinct documents in the file before the loss"),
            integer("now", "number of distinct documents in the file after the loss"),
            text(
                "bad_rows",
                "number of rows that cannot be read after the loss, for each reason, as a JSON object",
            ),
            flag("allowed", "whether a person allowed the removal of the missing documents"),
            moment("found_at", "when the loss was found or its removal allowed, UTC"),
        ),
    ),
    Table(
        name="removals",
        key=("removal",),
        text=(),
        sealed=True,
        columns=(
            text("removal", "random name of the removal"),
            text("entries", "every value that this removal deletes, as asset[partition], in a JSON list"),
            integer("documents", "number of documents, summed over the shards that this removal deletes"),
            text("allowed", "names whose removal a person allowed, as a JSON list"),
            moment("begun_at", "when this removal was recorded, before anything was deleted, UTC"),
            moment("ended_at", "when this removal finished deleting, UTC; null until then"),
        ),
    ),
)
