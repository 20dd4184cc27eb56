"""Tables of control of the store: what is withdrawn and where it was refused, and the chosen precision."""

import pyarrow as pa

from tamis.store.columns import Table, column

_WITHDRAWN_ID = column(
    "doc_id", pa.string(), "content id of the document or quarantined row that was withdrawn"
)
CONTROL: tuple[Table, ...] = (
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
