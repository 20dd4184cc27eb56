"""Tables of control: versions of selections, pins, approvals, withdrawals, removals, failures, precision."""

import pyarrow as pa

from tamis.store.columns import DOC_ID, FINGERPRINT, Table, column

_SELECTION = column("selection", pa.string(), "name of the selection")

FORM = "2"
"""Form of a home: raised when a change of schema or of files cannot be read by what was written before."""

_PARTITION = column("partition", pa.string(), "partition of the asset; empty if the asset has no partitions")
_WITHDRAWN_ID = column(
    "doc_id", pa.string(), "content id of the document or quarantined row that was withdrawn"
)
_LAST_ERROR = column("reason", pa.string(), "message of the last error")
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
        name="withdrawals",
        key=("doc_id",),
        text=(),
        sealed=True,
        evidence=True,
        decided=True,
        columns=(
            _WITHDRAWN_ID,
            column("withdrawn_at", pa.timestamp("us"), "when the document or row was withdrawn, UTC"),
            column(
                "reason",
                pa.string(),
                "reason for the withdrawal, one of those that `tamis withdraw --reason` accepts",
            ),
            column(
                "scope",
                pa.string(),
                "what the withdrawal was requested by: document, text, shard, source, corpus or excerpt",
            ),
            column(
                "receipt",
                pa.string(),
                "id of the manifest that proves the withdrawal; null until the withdrawal is complete",
            ),
            column(
                "loose_id",
                pa.string(),
                "content id of the text after case and runs of spaces are ignored; null if unknown",
            ),
        ),
    ),
    Table(
        name="withdrawn_places",
        key=("asset", "partition", "shard", "row", "doc_id"),
        text=(),
        sealed=True,
        evidence=True,
        columns=(
            column(
                "asset",
                pa.string(),
                "stage that rejected the withdrawn content: documents or target_examples",
            ),
            column("partition", pa.string(), "shard or target in which the withdrawn content was rejected"),
            column("shard", pa.string(), "file or package that still contains the withdrawn content"),
            column(
                "row",
                pa.int64(),
                "row of the file that contains the content; -1 for the whole file or package",
            ),
            _WITHDRAWN_ID,
        ),
    ),
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
    Table(
        name="shard_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "shard that was ingested"),
            column("corpus", pa.string(), "corpus that the shard belongs to"),
            column("name", pa.string(), "path of the shard's file within the corpus, or name of the package"),
        ),
    ),
    Table(
        name="grouped_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "key of a small file that was ingested as part of a group"),
            column("part_of", pa.string(), "key of the group, which is a shard of many small files"),
            column("corpus", pa.string(), "corpus that the file belongs to"),
            column("name", pa.string(), "path of the file within the corpus"),
            column("version", pa.string(), "version of the file's content when the file was last read"),
            column("reading", pa.string(), "digest of the code version and settings used to read the file"),
            column("rows", pa.int64(), "number of rows read from the file, including rows in quarantine"),
        ),
    ),
    Table(
        name="shared_text",
        key=("unit",),
        text=(),
        columns=(
            column("unit", pa.string(), "file; or folder or corpus, for files of fewer than 10 documents"),
            column("sample", pa.string(), "digest of the ids of the documents that were compared"),
            column(
                "shingles",
                pa.list_(pa.uint64()),
                "hashes of the runs of 5 words within text that many of the documents share",
            ),
            column("begins", pa.list_(pa.uint64()), "those that such text begins with, in most documents"),
            column("ends", pa.list_(pa.uint64()), "those that such text ends with, in most documents"),
        ),
    ),
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
    Table(
        name="set_aside",
        key=("doc_id", "stage"),
        text=(),
        per_document=True,
        columns=(
            DOC_ID,
            column("stage", pa.string(), "stage that could not process the document"),
            column("reason", pa.string(), "code of the reason for which the stage set the document aside"),
            column(
                "detail",
                pa.string(),
                "what went wrong; quotes neither the document nor a server's answer",
            ),
            FINGERPRINT,
        ),
    ),
    Table(
        name="precision",
        key=("scope",),
        text=(),
        sealed=True,
        columns=(
            column("scope", pa.string(), "what the precision applies to; always `project`"),
            column("precision", pa.string(), "precision in which models run: float32 or bfloat16"),
            column("device", pa.string(), "device on which both precisions were timed: cpu or cuda"),
            column(
                "float32_ms",
                pa.float64(),
                "median time of one forward and backward pass of a test layer in float32 [ms]",
            ),
            column(
                "bfloat16_ms",
                pa.float64(),
                "median time of the same pass in bfloat16 [ms]; null if the hardware has no bfloat16",
            ),
            column("made_at", pa.timestamp("us"), "when the precisions were timed, UTC"),
        ),
    ),
)
"""The tables that no stage writes: indexes, what people decided, and what is remembered of runs."""
