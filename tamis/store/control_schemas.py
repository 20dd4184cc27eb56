"""Tables of control: versions of selections, what they are pinned to, and what a person has approved."""

import pyarrow as pa

from tamis.store.columns import column

_SELECTION = column("selection", pa.string(), "name of the selection")

CONTROL_KEYS: dict[str, tuple[str, ...]] = {
    "selection_versions": ("selection", "version"),
    "pins": ("selection",),
    "approvals": ("selection",),
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
}  # fmt: skip
