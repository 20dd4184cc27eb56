"""Tables of control of the store: what is withdrawn and where it was refused, and the chosen precision."""

from tamis.store.columns import Table, integer, moment, real, text

_WITHDRAWN_ID = text("doc_id", "content id of the document or quarantined row that was withdrawn")
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
            moment("withdrawn_at", "when the document or row was withdrawn, UTC"),
            text("reason", "reason for the withdrawal, one of those that `tamis withdraw --reason` accepts"),
            text(
                "scope",
                "what the withdrawal was requested by: document, text, shard, source, corpus or excerpt",
            ),
            text(
                "receipt",
                "id of the manifest that proves the withdrawal; null until the withdrawal is complete",
            ),
            text(
                "loose_id",
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
            text(
                "asset",
                "stage that rejected the withdrawn content: documents or target_examples; cut_out: a passage "
                "that was withdrawn without its document",
            ),
            text(
                "partition",
                "shard or target in which the withdrawn content was rejected; of cut_out the document",
            ),
            text("shard", "file or package that still contains the withdrawn content; empty for cut_out"),
            integer("row", "row of the file that contains the content; -1 for the whole file or package"),
            _WITHDRAWN_ID,
        ),
    ),
    Table(
        name="precision",
        key=("scope",),
        text=(),
        sealed=True,
        columns=(
            text("scope", "what the precision applies to; always `project`"),
            text("precision", "precision in which models run: float32 or bfloat16"),
            text("device", "device on which both precisions were timed: cpu or cuda"),
            real(
                "float32_ms", "median time of one forward and backward pass of a test layer in float32 [ms]"
            ),
            real(
                "bfloat16_ms",
                "median time of the same pass in bfloat16 [ms]; null if the hardware has no bfloat16",
            ),
            moment("made_at", "when the precisions were timed, UTC"),
        ),
    ),
)
