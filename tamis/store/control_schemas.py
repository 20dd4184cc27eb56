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
            column(
                "input_key", pa.string(), "hash of everything the value depends on, computed before the run"
            ),
            column("data_version", pa.string(), "version of the value"),
            column("passed", pa.bool_(), "whether its blocking checks passed"),
            column(
                "last_passed",
                pa.string(),
                "manifest of the last value that passed its checks, if this one did not",
            ),
            column("settled", pa.bool_(), "false if anything fitted on an earlier pool was kept"),
            column("attempt", pa.string(), "token of the attempt that materialized the value"),
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
            column("attempt", pa.string(), "token of the latest attempt to materialize it, finished or not"),
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
            column("version", pa.int64(), "number from 1; a different choice or order is a new version"),
            column("data_version", pa.string(), "digest of the chosen doc_ids in order"),
            column(
                "decisions", pa.string(), "manifest of the decisions, from the last run that made this choice"
            ),
            column("subset", pa.string(), "manifest of the chosen documents, from the same run"),
            column("rows", pa.string(), "digest of the decisions' rows"),
            column("documents", pa.int64(), "chosen documents"),
            column("pool", pa.int64(), "documents that got a decision"),
            column("pinned_to", pa.int64(), "earlier version that this one repeats; null if there is none"),
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
            column("made_at", pa.timestamp("us"), "when it was pinned, UTC"),
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
            column("input_key", pa.string(), "hash of the state that awaits approval or is approved"),
            column("approved", pa.bool_(), "whether a person has approved this state"),
            column("made_at", pa.timestamp("us"), "when it began to await approval, or was approved, UTC"),
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
            column("reason", pa.string(), "one of the reasons that `tamis withdraw --reason` accepts"),
            column(
                "scope", pa.string(), "how it was specified: document, text, shard, source, corpus or excerpt"
            ),
            column("receipt", pa.string(), "manifest that proves the withdrawal, null until it is complete"),
            column("loose_id", pa.string(), "id of the text, ignoring case and spaces; null if unknown"),
        ),
    ),
    Table(
        name="withdrawn_places",
        key=("asset", "partition", "shard", "row", "doc_id"),
        text=(),
        sealed=True,
        evidence=True,
        columns=(
            column("asset", pa.string(), "stage that rejected it: documents or target_examples"),
            column("partition", pa.string(), "shard or target in which it was rejected"),
            column("shard", pa.string(), "file or package that still contains it"),
            column("row", pa.int64(), "row in that file, -1 for the whole file or package"),
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
            column("attempts", pa.int64(), "number of failed attempts with these inputs"),
            column("permanent", pa.bool_(), "whether a retry is pointless"),
            column("reason", pa.string(), "the last error"),
            column("failed_at", pa.timestamp("us"), "when it failed last, UTC"),
            column("spent_seconds", pa.float64(), "time spent on the failed attempts [s]"),
        ),
    ),
    Table(
        name="shard_files",
        key=("shard",),
        text=(),
        sealed=True,
        columns=(
            column("shard", pa.string(), "shard that was ingested"),
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
            column("shard", pa.string(), "key of a small file that was ingested as part of a group"),
            column("part_of", pa.string(), "the group, a shard of many small files"),
            column("corpus", pa.string(), "corpus that it belongs to"),
            column("name", pa.string(), "path within the corpus"),
            column("version", pa.string(), "version of its content when it was last read"),
            column("reading", pa.string(), "digest of the code version and settings that it was read with"),
            column("rows", pa.int64(), "rows read from it, including those in quarantine"),
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
            column("input_key", pa.string(), "hash of the file and its settings when it was read"),
            column("before", pa.int64(), "distinct documents that it had"),
            column("now", pa.int64(), "distinct documents that it yields in that state"),
            column("bad_rows", pa.string(), "number of unreadable rows in that state, by reason, as JSON"),
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
            column("documents", pa.int64(), "documents in the shards that it removes"),
            column("allowed", pa.string(), "names whose removal a person allowed, as a JSON list"),
            column("begun_at", pa.timestamp("us"), "when it was recorded, before anything was deleted, UTC"),
            column("ended_at", pa.timestamp("us"), "when everything had been deleted, UTC; null until then"),
        ),
    ),
    Table(
        name="step_failures",
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            column("asset", pa.string(), "asset that could not be materialized"),
            column("partition", pa.string(), "partition, empty when the asset has none"),
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
            column("stage", pa.string(), "stage that could not process the document"),
            column("reason", pa.string(), "reason code"),
            column(
                "detail", pa.string(), "what happened, without text of the document or of a server's answer"
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
            column("scope", pa.string(), "what this applies to: the project"),
            column("precision", pa.string(), "float32 or bfloat16: the precision that models run in"),
            column("device", pa.string(), "device on which both were timed: cpu or cuda"),
            column("float32_ms", pa.float64(), "forward and backward time of a layer in float32 [ms]"),
            column("bfloat16_ms", pa.float64(), "the same in bfloat16 [ms]; null if the hardware lacks it"),
            column("made_at", pa.timestamp("us"), "when, UTC"),
        ),
    ),
)
"""The tables that no stage writes: indexes, what people decided, and what is remembered of runs."""
