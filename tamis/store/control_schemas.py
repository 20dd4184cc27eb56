"""Tables of control: versions of selections, pins, approvals, withdrawals, failed trials and steps."""

import pyarrow as pa

from tamis.store.columns import column

_SELECTION = column("selection", pa.string(), "name of the selection")

CONTROL_KEYS: dict[str, tuple[str, ...]] = {
    "selection_versions": ("selection", "version"),
    "pins": ("selection",),
    "approvals": ("selection",),
    "withdrawals": ("doc_id",),
    "withdrawn_places": ("asset", "partition", "shard", "row", "doc_id"),
    "trial_failures": ("trial",),
    "step_failures": ("asset", "partition"),
}
CONTROL_FIELDS: dict[str, list[pa.Field]] = {
    "selection_versions": [
        _SELECTION,
        column("version", pa.int64(), "from 1; another choice or another order of it is another version"),
        column("data_version", pa.string(), "of the choice: digest of the chosen doc_ids in order"),
        column("decisions", pa.string(), "manifest of the decisions, of the last run that chose so"),
        column("subset", pa.string(), "manifest of the chosen documents, of the same run"),
        column("rows", pa.string(), "digest of the decisions' rows"),
        column("documents", pa.int64(), "chosen documents"),
        column("pool", pa.int64(), "documents decided about"),
        column("pinned_to", pa.int64(), "earlier version that this one repeats, null when chosen anew"),
        column("made_at", pa.timestamp("us"), "when, UTC"),
    ],
    "pins": [
        _SELECTION,
        column("version", pa.int64(), "version that the selection is kept at"),
        column("decisions", pa.string(), "manifest of that version's decisions"),
        column("subset", pa.string(), "manifest of that version's chosen documents"),
        column("rows", pa.string(), "digest of that version's decisions"),
        column("made_at", pa.timestamp("us"), "since when, UTC"),
    ],
    "approvals": [
        _SELECTION,
        column("input_key", pa.string(), "state that waits or is approved"),
        column("approved", pa.bool_(), "whether a person has approved this state"),
        column("made_at", pa.timestamp("us"), "since when it waits, or when it was approved, UTC"),
    ],
    "withdrawals": [
        column("doc_id", pa.string(), "content id of what was withdrawn: a document, or a quarantined row"),
        column("withdrawn_at", pa.timestamp("us"), "when, UTC"),
        column("reason", pa.string(), "why: one of the reasons of `tamis withdraw --reason`"),
        column("scope", pa.string(), "how it was named: document, text, shard, source, corpus or excerpt"),
        column("receipt", pa.string(), "manifest that proves the withdrawal, null until it is complete"),
        column("loose_id", pa.string(), "id of the text whatever its case and spaces, null of one not known"),
    ],
    "withdrawn_places": [
        column("asset", pa.string(), "what refused it: documents or target_examples"),
        column("partition", pa.string(), "shard or target that it was refused in"),
        column("shard", pa.string(), "file or package that holds it still"),
        column("row", pa.int64(), "row within that, -1 for the whole"),
        column("doc_id", pa.string(), "content id of what was withdrawn"),
    ],
    "trial_failures": [
        column("trial", pa.string(), "name of the trial"),
        column("input_key", pa.string(), "hash of everything it depended on"),
        column("attempts", pa.int64(), "how often it failed so"),
        column("permanent", pa.bool_(), "whether trying again would change nothing"),
        column("reason", pa.string(), "the last error"),
        column("failed_at", pa.timestamp("us"), "when it failed last, UTC"),
        column("spent_seconds", pa.float64(), "time of the attempts that failed"),
    ],
    "step_failures": [
        column("asset", pa.string(), "what could not be made"),
        column("partition", pa.string(), "of it; empty where it has none"),
        column("input_key", pa.string(), "hash of everything it depended on"),
        column("reason", pa.string(), "the last error"),
        column("failed_at", pa.timestamp("us"), "when it failed last, UTC"),
    ],
}  # fmt: skip
