"""Tables of control: versions of selections, pins, approvals, withdrawals, removals, failures, precision."""

import pyarrow as pa

from tamis.store.columns import DOC_ID, FINGERPRINT, Table, column

_SELECTION = column("selection", pa.string(), "name of the selection")

FORM = "2"
"""Form of a home: raised when a change of schema or of files cannot be read by what was written before."""

CONTROL: tuple[Table, ...] = (
    Table(
        name="heads",
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            column("asset", pa.string(), "asset").with_metadata({"description": "asset", "form": FORM}),
            column("partition", pa.string(), "partition, empty when the asset has none"),
            column("manifest", pa.string(), "id of the latest manifest"),
            column("input_key", pa.string(), "hash of everything the value depends on, known before a run"),
            column("data_version", pa.string(), "version of the value"),
            column("passed", pa.bool_(), "whether its blocking checks passed"),
            column(
                "last_passed", pa.string(), "manifest of the last value that passed, where this one did not"
            ),
            column("settled", pa.bool_(), "false where something fitted on an earlier pool was kept"),
            column("attempt", pa.string(), "token of the attempt that made it"),
            column("made_at", pa.timestamp("us"), "when, UTC"),
        ),
    ),
    Table(
        name="attempts",
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            column("asset", pa.string(), "asset"),
            column("partition", pa.string(), "partition, empty when the asset has none"),
            column("attempt", pa.string(), "token of the latest attempt to make it, whether it ended or not"),
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
            column("version", pa.int64(), "number from 1; another choice or order is another version"),
            column("data_version", pa.string(), "digest of the chosen doc_ids in order"),
            column("decisions", pa.string(), "manifest of the decisions, from the last run with this choice"),
            column("subset", pa.string(), "manifest of the chosen documents, of the same run"),
            column("rows", pa.string(), "digest of the decisions' rows"),
            column("documents", pa.int64(), "chosen documents"),
            column("pool", pa.int64(), "documents decided about"),
            column("pinned_to", pa.int64(), "earlier version that this one repeats, null for none"),
            column("made_at", pa.timestamp("us"), "when, UTC"),
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
            column("version", pa.int64(), "version that the selection is pinned to"),
            column("decisions", pa.string(), "manifest of that version's decisions"),
            column("subset", pa.string(), "manifest of that version's chosen documents"),
            column("rows", pa.string(), "digest of that version's decisions"),
            column("made_at", pa.timestamp("us"), "since when, UTC"),
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
            column("input_key", pa.string(), "state that waits or is approved"),
            column("approved", pa.bool_(), "whether a person has approved this state"),
            column("made_at", pa.timestamp("us"), "when it began to wait, or was approved, UTC"),
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
            column(
                "doc_id", pa.string(), "content id of what was withdrawn: a document, or a quarantined row"
            ),
            column("withdrawn_at", pa.timestamp("us"), "when, UTC"),
            column("reason", pa.string(), "why: one of the reasons of `tamis withdraw --reason`"),
            column(
                "scope", pa.string(), "how it was named: document, text, shard, source, corpus or excerpt"
            ),
            column("receipt", pa.string(), "manifest that proves the withdrawal, null until it is complete"),
            column("loose_id", pa.string(), "id of the text without case and spaces, null when not known"),
        ),
    ),
    Table(
        name="withdrawn_places",
        key=("asset", "partition", "shard", "row", "doc_id"),
        text=(),
        sealed=True,
        evidence=True,
        columns=(
            column("asset", pa.string(), "stage that refused it: documents or target_examples"),
            column("partition", pa.string(), "shard or target that it was refused in"),
            column("shard", pa.string(), "file or package that still holds it"),
            column("row", pa.int64(), "row within it, -1 for the whole"),
            column("doc_id", pa.string(), "content id of what was withdrawn"),
        ),
    ),
    Table(
        name="trial_failures",
        key=("trial",),
        text=(),
        sealed=True,
        columns=(
            column("trial", pa.string(), "name of the trial"),
            column("input_key", pa.string(), "hash of everything it depended on"),
            column("attempts", pa.int64(), "how often it failed in this way"),
            column("permanent", pa.bool_(), "whether trying again cannot help"),
            column("reason", pa.string(), "the last error"),
            column("failed_at", pa.timestamp("us"), "when it failed last, UTC"),
            column("spent_seconds", pa.float64(), "time of the attempts that failed"),
        ),
    ),
    Table(
        name="shard_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "shard that was taken in"),
            column("corpus", pa.string(), "corpus that it belongs to"),
            column("name", pa.string(), "path within the corpus, or name of the package"),
        ),
    ),
    Table(
        name="grouped_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "key of a small file that was taken in with a group"),
            column("part_of", pa.string(), "the group, a shard of many small files"),
            column("corpus", pa.string(), "corpus that it belongs to"),
            column("name", pa.string(), "path within the corpus"),
            column("version", pa.string(), "version of the bytes that were read last"),
            column("reading", pa.string(), "digest of the code version and settings that they were read by"),
            column("rows", pa.int64(), "rows that it gave, those in quarantine included"),
        ),
    ),
    Table(
        name="absent_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "shard whose file is gone and whose documents are held back"),
            column("found_at", pa.timestamp("us"), "when that was found, UTC"),
        ),
    ),
    Table(
        name="shrunken_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "file that lost most of its documents"),
            column("input_key", pa.string(), "state of the file and its settings that was read"),
            column("before", pa.int64(), "distinct documents that it had"),
            column("now", pa.int64(), "distinct documents that it yields in that state"),
            column("bad_rows", pa.string(), "rows that cannot be read in that state, by reason, as JSON"),
            column("allowed", pa.bool_(), "whether a person allowed the removal of the missing documents"),
            column("found_at", pa.timestamp("us"), "when it was read, UTC"),
        ),
    ),
    Table(
        name="removals",
        key=("removal",),
        text=(),
        sealed=True,
        columns=(
            column("removal", pa.string(), "random name of the removal"),
            column("entries", pa.string(), "asset[partition] of every value that it removes, as a JSON list"),
            column("documents", pa.int64(), "documents of the shards that it removes"),
            column("allowed", pa.string(), "names whose removal a person allowed, as a JSON list"),
            column("begun_at", pa.timestamp("us"), "when it was noted, before anything was deleted, UTC"),
            column("ended_at", pa.timestamp("us"), "when all was deleted, UTC; null until then"),
        ),
    ),
    Table(
        name="step_failures",
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            column("asset", pa.string(), "what could not be made"),
            column("partition", pa.string(), "its partition; empty where it has none"),
            column("input_key", pa.string(), "hash of everything it depended on"),
            column("reason", pa.string(), "the last error"),
            column("failed_at", pa.timestamp("us"), "when it failed last, UTC"),
        ),
    ),
    Table(
        name="set_aside",
        key=("doc_id", "stage"),
        text=(),
        per_document=True,
        columns=(
            DOC_ID,
            column("stage", pa.string(), "stage that could not work with the document"),
            column("reason", pa.string(), "reason code"),
            column("detail", pa.string(), "what happened; no text of the document or of a server's answer"),
            FINGERPRINT,
        ),
    ),
    Table(
        name="precision",
        key=("scope",),
        text=(),
        sealed=True,
        columns=(
            column("scope", pa.string(), "what this applies to: the project"),
            column("precision", pa.string(), "float32 or bfloat16: the precision that models run in"),
            column("device", pa.string(), "where both were timed: cpu or cuda"),
            column("float32_ms", pa.float64(), "time of a layer, forward and backward, in float32 [ms]"),
            column("bfloat16_ms", pa.float64(), "the same in bfloat16, null where the hardware cannot [ms]"),
            column("made_at", pa.timestamp("us"), "when, UTC"),
        ),
    ),
)
"""The tables that no stage writes: indexes, what people decided, and what is remembered of runs."""
