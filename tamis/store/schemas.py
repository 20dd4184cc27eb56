"""Arrow schemas of every table in the store; each column carries its meaning and unit as metadata.

Per-document truth is here and nowhere else. Tables that exist once per encoder, scorer or target
(`embeddings_<encoder>_<fingerprint>`, `scores_density`, `transport_<target>`) share one schema per kind.
"""

import pyarrow as pa

from tamis.store.columns import DOC_ID, FINGERPRINT, LEFT_AT, Table, band_keys, column, vector
from tamis.store.control_schemas import CONTROL
from tamis.store.score_schemas import SCORES
from tamis.store.training_schemas import TRAINING

FORM = "2"
"""Form of a home: raised when a change of schema or of files cannot be read by what was written before."""

RETAINED = "retained_"
"""`retained_<table>` keeps expensive rows of documents that left."""

TABLES: dict[str, Table] = {
    "documents": Table(
        key=("doc_id",),
        text=("text",),
        sealed=True,
        listed=True,
        columns=(
            DOC_ID,
            column("text", pa.string(), "normalised text: NFC, LF line ends, outer white space stripped"),
            column("n_chars", pa.uint32(), "length in Unicode characters"),
            column("n_bytes", pa.uint32(), "length in UTF-8 bytes"),
            column("language", pa.string(), "language code as its first place stated it, null when unknown"),
            column("first_seen", pa.timestamp("us"), "when the text was first stored, UTC"),
        ),
    ),
    "occurrences": Table(
        key=("shard", "row"),
        text=("metadata",),
        columns=(
            DOC_ID,
            column("shard", pa.string(), "shard that holds the document"),
            column("row", pa.uint32(), "row within the shard, from 0"),
            column("source", pa.string(), "where in the shard: file, column or module"),
            column("licence", pa.string(), "licence as given by the source, null when unknown"),
            column(
                "language", pa.string(), "language code as this place states it, null when it states none"
            ),
            column("metadata", pa.string(), "the row's other columns as JSON"),
        ),
    ),
    "near_duplicates": Table(
        key=("doc_id",),
        text=(),
        columns=(
            DOC_ID,
            column("kept", pa.string(), "the near-duplicate that is kept in its place"),
            column("jaccard", pa.float32(), "Jaccard similarity of word 5-shingles with the kept document"),
        ),
    ),
    "near_duplicate_bands": Table(key=("doc_id",), text=(), columns=(DOC_ID, band_keys, FINGERPRINT)),
    "near_copies": Table(
        key=("doc_id",),
        text=(),
        columns=(
            DOC_ID,
            column("kept", pa.string(), "the document of nearly the same vector that is kept in its place"),
            column("cosine", pa.float32(), "cosine of the two vectors"),
        ),
    ),
    "near_copy_bands": Table(key=("doc_id",), text=(), columns=(DOC_ID, band_keys, FINGERPRINT)),
    "quarantine": Table(
        key=("shard", "row", "reason"),
        text=("detail", "excerpt"),
        columns=(
            column("shard", pa.string(), "shard in which the bad input stands"),
            column("row", pa.int64(), "row within the shard, -1 for the whole shard"),
            column("reason", pa.string(), "reason code"),
            column("detail", pa.string(), "what was found and what would be right"),
            column("excerpt", pa.string(), "first characters of the raw input, control characters replaced"),
        ),
    ),
    "embeddings": Table(
        key=("doc_id",), text=(), many=True, retained=True, columns=(DOC_ID, vector, FINGERPRINT)
    ),
    "target_examples": Table(
        key=("target", "doc_id"),
        text=("text",),
        columns=(
            column("target", pa.string(), "name of the target"),
            DOC_ID,
            column("split", pa.string(), "train, held_out or unused"),
            column("text", pa.string(), "normalised text"),
            column("source", pa.string(), "where the example stands"),
        ),
    ),
    "target_answers": Table(
        key=("target", "doc_id"),
        text=("label",),
        columns=(
            column("target", pa.string(), "name of the target"),
            DOC_ID,
            column("response_at", pa.uint32(), "character of the text at which the response begins, or null"),
            column("label", pa.string(), "class of the text, null where the target has none"),
        ),
    ),
    "target_embeddings": Table(
        key=("target", "doc_id"),
        text=(),
        many=True,
        columns=(column("target", pa.string(), "name of the target"), DOC_ID, vector, FINGERPRINT),
    ),
    "contamination": Table(
        key=("target", "doc_id"),
        text=(),
        columns=(
            column("target", pa.string(), "target whose held-out examples are shared"),
            DOC_ID,
        ),
    ),
    "contamination_runs": Table(
        key=("target", "doc_id"),
        text=(),
        columns=(
            column("target", pa.string(), "target whose held-out examples hold the runs"),
            DOC_ID,
            column("runs", pa.list_(pa.uint64()), "hashes of those runs of words that it holds, ascending"),
        ),
    ),
    "selected_subset": Table(
        key=("selection", "doc_id"),
        text=(),
        columns=(
            column("selection", pa.string(), "name of the selection"),
            DOC_ID,
            column("rank", pa.int64(), "place in the order of selection, from 1"),
        ),
    ),
    "decisions": Table(
        key=("selection", "doc_id"),
        text=(),
        columns=(
            column("selection", pa.string(), "name of the selection"),
            DOC_ID,
            column("verdict", pa.string(), "selected or rejected"),
            column("reason", pa.string(), "reason code, one per document"),
            column("rank", pa.int64(), "place among eligible documents, from 1; null when excluded"),
            column("margin", pa.float64(), "signed distance to the cut, positive on the selected side"),
            column("duplicate_of", pa.string(), "the document kept in its place"),
            column("transport_gradient", pa.float64(), "score used, null when the sampler did not use it"),
            column("gradient_away", pa.float64(), "transport gradient of the target kept away from, or null"),
            column("quality", pa.float64(), "score used, null when the sampler did not use it"),
            column(
                "judge_margin_predicted", pa.float64(), "score used, null when the sampler did not use it"
            ),
            column("density", pa.float64(), "score used, null when the sampler did not use it"),
            column("nearest_cost", pa.float64(), "score used, null when the sampler did not use it"),
            column("bits_per_byte", pa.float64(), "score used, null when the sampler did not use it"),
            column(
                "method_score", pa.float64(), "score the sampler computed itself, smallest first, or null"
            ),
            column("detail", pa.string(), "rule that the document breaks, null for reasons without rules"),
        ),
    ),
    "heads": Table(
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
    **SCORES,
    **TRAINING,
    **CONTROL,
    "attempts": Table(
        key=("asset", "partition"),
        text=(),
        sealed=True,
        columns=(
            column("asset", pa.string(), "asset"),
            column("partition", pa.string(), "partition, empty when the asset has none"),
            column("attempt", pa.string(), "token of the latest attempt to make it, whether it ended or not"),
        ),
    ),
}
"""Every kind of table of the store but those of the SQL models, which declare themselves."""

RETAINED_KINDS = tuple(sorted(kind for kind, table in TABLES.items() if table.retained))
KEYS: dict[str, tuple[str, ...]] = {
    **{kind: table.key for kind, table in TABLES.items()},
    **{f"{RETAINED}{kind}": ("doc_id", "fingerprint") for kind in RETAINED_KINDS},
}
"""Key columns of each kind of table: every write is idempotent on them."""
TEXT = {kind: table.text for kind, table in TABLES.items() if table.text}
"""Kinds of tables whose rows show raw input, and the columns that show it. A row names its document (doc_id)
or, in quarantine, its shard and row. No other table holds text; errors quote none
(`tamis.base.kept_errors`)."""
TEXTS = tuple(kind for kind, columns in TEXT.items() if "text" in columns)
"""Tables that hold whole texts, under their content ids."""
NO_TEXT = frozenset(KEYS.keys() - TEXT.keys())
"""Kinds of tables of ids, names, digests, numbers and reason codes alone."""
EVIDENCE = frozenset(kind for kind, table in TABLES.items() if table.evidence)
"""Those of them whose ids stay: what was withdrawn, and which checkpoints were trained on it."""
_MANY = tuple(kind for kind, table in TABLES.items() if table.many)

UNHASHED_COLUMNS = frozenset(
    {
        "first_seen",
        "seconds",
        "evaluation_seconds",
        "spent_seconds",
        "peak_memory_bytes",
        "mlflow_run",
        "manifest",
        "made_at",
        "withdrawn_at",
        "receipt",
    }
)
"""Columns that row digests skip: clocks, costs and references to manifests."""


LATER_COLUMNS = frozenset(
    {
        "held_out_low",
        "held_out_high",
        "warm_up_bits_per_byte",
        "held_out_loss",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "macro_f1",
        "macro_f1_low",
        "macro_f1_high",
        "majority_accuracy",
        "seeds",
        "trainable_parameters",
        "evaluation_flops",
        "evaluation_seconds",
        "spent_seconds",
        "misplaced_word_share",
    }
)
"""Columns introduced when homes already held rows: digests and seals look at them where they hold something,
so that a row which was written before keeps its own when the table gets the column."""


def kind_of(table: str) -> str:
    """Kind of a table by its name: `embeddings_static_0a1b2c3d` is of kind `embeddings`."""
    if table.startswith(RETAINED):
        return f"{RETAINED}{kind_of(table.removeprefix(RETAINED))}"
    return next((kind for kind in _MANY if table.startswith(f"{kind}_")), table)


def schema_of(table: str, dimension: int | None = None) -> pa.Schema:
    """Arrow schema of a table; `dimension` is needed for tables that hold vectors or band keys."""
    if table.startswith(RETAINED):
        return schema_of(table.removeprefix(RETAINED), dimension).append(LEFT_AT)
    return TABLES[kind_of(table)].schema(dimension)


def described_columns(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each column, for the UI and the documentation."""
    return [
        (field.name, str(field.type), (field.metadata or {}).get(b"description", b"").decode())
        for field in schema
    ]
