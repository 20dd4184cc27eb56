"""Arrow schemas of every table in the store; each column carries its meaning and unit as metadata.

Per-document truth is here and nowhere else. Tables that exist once per encoder, scorer or target
(`embeddings_static`, `scores_density`, `transport_<target>`) share one schema per kind.
"""

import pyarrow as pa

from tamis.store.columns import column as _column
from tamis.store.control_schemas import CONTROL_FIELDS, CONTROL_KEYS

KEYS: dict[str, tuple[str, ...]] = {
    "documents": ("doc_id",),
    "occurrences": ("shard", "row"),
    "near_duplicates": ("doc_id",),
    "near_duplicate_bands": ("doc_id",),
    "near_copies": ("doc_id",),
    "near_copy_bands": ("doc_id",),
    "quarantine": ("shard", "row", "reason"),
    "embeddings": ("doc_id",),
    "scores_density": ("doc_id",),
    "scores_judge": ("doc_id",),
    "scores_judge_again": ("doc_id",),
    "scores_noise": ("text_digest", "fingerprint"),
    "scores_perplexity": ("doc_id",),
    "scores_by_model": ("doc_id", "fingerprint"),
    "scores_quality": ("doc_id",),
    "judge_sample": ("doc_id",),
    "document_flags": ("doc_id",),
    "target_examples": ("target", "doc_id"),
    "target_answers": ("target", "doc_id"),
    "target_embeddings": ("target", "doc_id"),
    "contamination": ("target", "doc_id"),
    "contamination_runs": ("target", "doc_id"),
    "trained_on": ("checkpoint", "doc_id"),
    "transport": ("doc_id",),
    "selected_subset": ("selection", "doc_id"),
    "decisions": ("selection", "doc_id"),
    "sampler_comparison": ("sampler_a", "sampler_b"),
    "sampler_trials": ("run",),
    "sampler_trials_left": ("run",),
    "trials": ("trial",),
    "loss_curves": ("target", "model", "size"),
    "heads": ("asset", "partition"),
    **CONTROL_KEYS,
    "attempts": ("asset", "partition"),
}
"""Key columns of each kind of table: every write is idempotent on them."""

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
    }
)
"""Columns introduced when homes already held rows: digests and seals look at them where they hold something,
so that a row which was written before keeps its own when the table gets the column."""


_DOC_ID = _column("doc_id", pa.string(), "content id: 128 bits of SHA-256 over the normalised text, hex")
_FINGERPRINT = _column("fingerprint", pa.string(), "what computed the row: method, model and settings")

_MEASURES = {
    "n_words": "words that hold a letter or digit",
    "mean_word_length": "their mean length in characters",
    "hash_ratio": "hash signs a word",
    "ellipsis_ratio": "ellipses a word",
    "bullet_line_share": "share of lines that begin with a bullet",
    "ellipsis_line_share": "share of lines that end with an ellipsis",
    "alphabetic_word_share": "share of words that hold a letter",
    "stop_words": "occurrences of the eight stop words",
    "duplicate_line_share": "share of lines that stand in the text before",
    "duplicate_paragraph_share": "share of paragraphs that stand in the text before",
    "duplicate_line_character_share": "their share of the characters, of lines",
    "duplicate_paragraph_character_share": "their share of the characters, of paragraphs",
    **{f"top_{n}_gram_share": f"share of characters in the most frequent {n}-gram" for n in (2, 3, 4)},
    **{f"duplicate_{n}_gram_share": f"share of characters in repeated {n}-grams" for n in range(5, 11)},
    "punctuated_line_share": "share of lines that end with punctuation",
    "repeated_line_character_share": "share of the lines' characters in repeated lines",
    "short_line_share": "share of lines under 30 characters",
}
_PERSONAL_DATA = {
    "card": "card numbers",
    "iban": "account numbers",
    "ssn": "US social security numbers",
    "email": "e-mail addresses",
    "phone": "phone numbers",
    "ip_address": "public IP addresses",
}

_FIELDS: dict[str, list[pa.Field]] = {
    "documents": [
        _DOC_ID,
        _column("text", pa.string(), "normalised text: NFC, LF line ends, outer white space stripped"),
        _column("n_chars", pa.uint32(), "length in Unicode characters"),
        _column("n_bytes", pa.uint32(), "length in UTF-8 bytes"),
        _column("language", pa.string(), "language code as its first place stated it, null when unknown"),
        _column("first_seen", pa.timestamp("us"), "when the text was first stored, UTC"),
    ],
    "occurrences": [
        _DOC_ID,
        _column("shard", pa.string(), "shard that holds the document"),
        _column("row", pa.uint32(), "row within the shard, from 0"),
        _column("source", pa.string(), "where in the shard: file, column or module"),
        _column("licence", pa.string(), "licence as given by the source, null when unknown"),
        _column("language", pa.string(), "language code as this place states it, null when it states none"),
        _column("metadata", pa.string(), "the row's other columns as JSON"),
    ],
    "near_duplicates": [
        _DOC_ID,
        _column("kept", pa.string(), "the near-duplicate that is kept in its place"),
        _column("jaccard", pa.float32(), "Jaccard similarity of word 5-shingles with the kept document"),
    ],
    "near_copies": [
        _DOC_ID,
        _column("kept", pa.string(), "the document of nearly the same vector that is kept in its place"),
        _column("cosine", pa.float32(), "cosine of the two vectors"),
    ],
    "quarantine": [
        _column("shard", pa.string(), "shard in which the bad input stands"),
        _column("row", pa.int64(), "row within the shard, -1 for the whole shard"),
        _column("reason", pa.string(), "reason code"),
        _column("detail", pa.string(), "what was found and what would be right"),
        _column("excerpt", pa.string(), "first characters of the raw input, control characters replaced"),
    ],
    "scores_density": [
        _DOC_ID,
        _column("density", pa.float64(), "kernel sum over the pool, debiased, in documents"),
        _FINGERPRINT,
    ],
    "judge_sample": [
        _DOC_ID,
        _column("part", pa.string(), "train or hold_out"),
    ],
    "scores_judge": [
        _DOC_ID,
        _column(
            "logp_yes_raw", pa.float64(), "log P of the single token yes over the whole vocabulary, nats"
        ),
        _column("logp_yes", pa.float64(), "log P of all single-token variants of yes, nats"),
        _column("logp_no", pa.float64(), "log P of all single-token variants of no, nats"),
        _column("answer_mass", pa.float64(), "P(yes) + P(no) over all variants"),
        _column("margin", pa.float64(), "logp_yes - logp_no, nats"),
        _column("truncated", pa.bool_(), "whether the document was cut to the judge's window"),
        _FINGERPRINT,
    ],
    "scores_judge_again": [
        _DOC_ID,
        _column("answer_mass", pa.float64(), "P(yes) + P(no) over all variants"),
        _column("margin", pa.float64(), "logp_yes - logp_no of the question in another order, nats"),
        _FINGERPRINT,
    ],
    "scores_noise": [
        _column("text_digest", pa.string(), "128 bits of SHA-256 over a piece of planted noise, hex"),
        _column("answer_mass", pa.float64(), "P(yes) + P(no) over all variants"),
        _column("margin", pa.float64(), "logp_yes - logp_no, nats"),
        _FINGERPRINT,
    ],
    "scores_perplexity": [
        _DOC_ID,
        _column("bits_per_byte", pa.float32(), "bits per UTF-8 byte by a model that did not train on it"),
        _FINGERPRINT,
    ],
    "scores_by_model": [
        _DOC_ID,
        _FINGERPRINT,
        _column("value", pa.float64(), "score by the model of a sampler, smallest first; null: it gave none"),
    ],
    "scores_quality": [
        _DOC_ID,
        _column("judge_margin_predicted", pa.float64(), "the judge's margin as the grader predicts it, nats"),
        _column("quality", pa.float64(), "quality in [0, 1], monotone in the predicted margin"),
        _FINGERPRINT,
    ],
    "document_flags": [
        _DOC_ID,
        *(_column(name, pa.float32(), meaning) for name, meaning in _MEASURES.items()),
        _column("broken", pa.string(), "heuristic rules that the document breaks, by commas, or empty"),
        _column("detected_language", pa.string(), "ISO 639 code, as identified from the text"),
        _column("language_confidence", pa.float32(), "of the detected language, from 0 to 1"),
        *(_column(f"{kind}_count", pa.uint32(), meaning) for kind, meaning in _PERSONAL_DATA.items()),
        _FINGERPRINT,
    ],
    "target_examples": [
        _column("target", pa.string(), "name of the target"),
        _DOC_ID,
        _column("split", pa.string(), "train, held_out or unused"),
        _column("text", pa.string(), "normalised text"),
        _column("source", pa.string(), "where the example stands"),
    ],
    "target_answers": [
        _column("target", pa.string(), "name of the target"),
        _DOC_ID,
        _column("response_at", pa.uint32(), "character of the text at which the response begins, or null"),
        _column("label", pa.string(), "class of the text, null where the target has none"),
    ],
    "contamination": [
        _column("target", pa.string(), "target whose held-out examples are shared"),
        _DOC_ID,
    ],
    "contamination_runs": [
        _column("target", pa.string(), "target whose held-out examples hold the runs"),
        _DOC_ID,
        _column("runs", pa.list_(pa.uint64()), "hashes of those runs of words that it holds, ascending"),
    ],
    "trained_on": [
        _column("checkpoint", pa.string(), "base model or trial"),
        _DOC_ID,
        _column("data", pa.string(), "pool, target or selection the document came from"),
    ],
    "transport": [
        _column("target", pa.string(), "name of the target"),
        _DOC_ID,
        _column("transport_gradient", pa.float64(), "gradient of OT(pool, target) in the document's mass"),
        _column("nearest_cost", pa.float64(), "cost to the nearest target example"),
        _FINGERPRINT,
    ],
    "selected_subset": [
        _column("selection", pa.string(), "name of the selection"),
        _DOC_ID,
        _column("rank", pa.int64(), "place in the order of selection, from 1"),
    ],
    "decisions": [
        _column("selection", pa.string(), "name of the selection"),
        _DOC_ID,
        _column("verdict", pa.string(), "selected or rejected"),
        _column("reason", pa.string(), "reason code, one per document"),
        _column("rank", pa.int64(), "place among eligible documents, from 1; null when excluded"),
        _column("margin", pa.float64(), "signed distance to the cut, positive on the selected side"),
        _column("duplicate_of", pa.string(), "the document kept in its place"),
        _column("transport_gradient", pa.float64(), "score used, null when the sampler did not use it"),
        _column("gradient_away", pa.float64(), "transport gradient of the target kept away from, or null"),
        _column("quality", pa.float64(), "score used, null when the sampler did not use it"),
        _column("judge_margin_predicted", pa.float64(), "score used, null when the sampler did not use it"),
        _column("density", pa.float64(), "score used, null when the sampler did not use it"),
        _column("nearest_cost", pa.float64(), "score used, null when the sampler did not use it"),
        _column("bits_per_byte", pa.float64(), "score used, null when the sampler did not use it"),
        _column("method_score", pa.float64(), "score the sampler computed itself, smallest first, or null"),
        _column("detail", pa.string(), "rule that the document breaks, null for reasons without rules"),
    ],
    "sampler_comparison": [
        _column("sampler_a", pa.string(), "one sampler"),
        _column("sampler_b", pa.string(), "the other sampler"),
        _column("jaccard", pa.float64(), "overlap of the two chosen sets"),
        _column("kendall_tau", pa.float64(), "rank agreement over the pool"),
    ],
    "sampler_trials": [
        _column("run", pa.string(), "digest of all that decides the losses of the run"),
        _column("sampler", pa.string(), "who chose the training set; full = every eligible document"),
        _column("budget", pa.string(), "how much it chose"),
        _column("data_seed", pa.int64(), "which part of the pool, and which draw, from 0"),
        _column("training_seed", pa.int64(), "which first weights and order of documents, from 0"),
        _column("documents", pa.int64(), "documents in the training set"),
        _column("tokens", pa.int64(), "predicted tokens"),
        _column("epochs", pa.float64(), "passes over the training set"),
        _column("target_bits_per_byte", pa.float64(), "loss on held-out examples of the target"),
        _column("pool_bits_per_byte", pa.float64(), "loss on held-out documents of the pool"),
        _column("target_document_bits", pa.list_(pa.float64()), "code length of each held-out example, bits"),
        _column("target_document_bytes", pa.list_(pa.int64()), "length of each held-out example, bytes"),
        _column("pool_document_bits", pa.list_(pa.float64()), "code length of each held-out document, bits"),
        _column("pool_document_bytes", pa.list_(pa.int64()), "length of each held-out document, UTF-8 bytes"),
        _column("curve_tokens", pa.list_(pa.int64()), "tokens at which the target loss was measured"),
        _column("curve_target", pa.list_(pa.float64()), "target loss there, bits per byte"),
        _column("failure", pa.string(), "why the run has no losses, null when it has"),
        _column("seconds", pa.float64(), "time of training and evaluation"),
    ],
    "trials": [
        _column("trial", pa.string(), "name of the trial"),
        _column("model", pa.string(), "base model"),
        _column("kind", pa.string(), "law, warm_up, two_stage or direct"),
        _column("data", pa.string(), "target or selection it was trained on"),
        _column("size", pa.int64(), "training documents"),
        _column("seed", pa.int64(), "seed of subset and training"),
        _column("zero_shot_bits_per_byte", pa.float64(), "held-out target loss before training"),
        _column("held_out_bits_per_byte", pa.float64(), "held-out target loss after training"),
        _column("held_out_low", pa.float64(), "lower end of its 95 % interval over seeds and documents"),
        _column("held_out_high", pa.float64(), "upper end of it"),
        _column("warm_up_bits_per_byte", pa.float64(), "held-out target loss after the first of two stages"),
        _column("held_out_loss", pa.float64(), "of a labelled target: nats an example after training"),
        _column("accuracy", pa.float64(), "share of the held-out examples that get their label"),
        _column("accuracy_low", pa.float64(), "lower end of its 95 % interval"),
        _column("accuracy_high", pa.float64(), "upper end of it"),
        _column("macro_f1", pa.float64(), "mean F1 over the labels"),
        _column("macro_f1_low", pa.float64(), "lower end of its 95 % interval"),
        _column("macro_f1_high", pa.float64(), "upper end of it"),
        _column("majority_accuracy", pa.float64(), "accuracy of always saying the most frequent label"),
        _column("seeds", pa.int64(), "trainings of which this is the mean; cost is the sum over them"),
        _column("steps", pa.int64(), "optimiser steps"),
        _column("tokens", pa.int64(), "training tokens seen, repeats counted"),
        _column("flops", pa.float64(), "6 N T for training (adapters 4 N T + 6 M T), 2 N T for evaluation"),
        _column("seconds", pa.float64(), "wall clock"),
        _column("peak_memory_bytes", pa.int64(), "peak resident memory of the process"),
        _column("parameters", pa.int64(), "parameters of the model"),
        _column(
            "trainable_parameters",
            pa.int64(),
            "parameters that were trained, an adapter's where there is one",
        ),
        _column("evaluation_flops", pa.float64(), "part of the operations that no amount of data changes"),
        _column("evaluation_seconds", pa.float64(), "part of the time that no amount of data changes"),
        _column("checkpoint", pa.string(), "folder of the weights under the home folder"),
        _column("mlflow_run", pa.string(), "MLflow run id"),
    ],
    "loss_curves": [
        _column("target", pa.string(), "target whose held-out loss is measured"),
        _column("model", pa.string(), "base model"),
        _column("size", pa.int64(), "training documents, 0 for zero-shot"),
        _column("loss", pa.float64(), "held-out target loss, bits per byte"),
        _column("trial", pa.string(), "trial that measured it"),
    ],
    "heads": [
        _column("asset", pa.string(), "asset"),
        _column("partition", pa.string(), "partition, empty when the asset has none"),
        _column("manifest", pa.string(), "id of the latest manifest"),
        _column("input_key", pa.string(), "hash of everything the value depends on, known before a run"),
        _column("data_version", pa.string(), "version of the value"),
        _column("passed", pa.bool_(), "whether its blocking checks passed"),
        _column("settled", pa.bool_(), "false where something fitted on an earlier pool was kept"),
        _column("attempt", pa.string(), "token of the attempt that made it"),
        _column("made_at", pa.timestamp("us"), "when, UTC"),
    ],
    **CONTROL_FIELDS,
    "attempts": [
        _column("asset", pa.string(), "asset"),
        _column("partition", pa.string(), "partition, empty when the asset has none"),
        _column("attempt", pa.string(), "token of the latest attempt to make it, whether it ended or not"),
    ],
}


_FIELDS["sampler_trials_left"] = [
    *_FIELDS["sampler_trials"],
    _column("left_at", pa.timestamp("us"), "when the run was no longer planned, UTC"),
]


def kind_of(table: str) -> str:
    """Kind of a table by its name: `embeddings_static` is of kind `embeddings`."""
    for prefix in ("embeddings", "transport", "target_embeddings"):
        if table.startswith(f"{prefix}_"):
            return prefix
    return table


def schema_of(table: str, dimension: int | None = None) -> pa.Schema:
    """Arrow schema of a table; `dimension` is needed for tables that hold vectors or band keys."""
    kind = kind_of(table)
    if kind in ("near_duplicate_bands", "near_copy_bands") and dimension is not None:
        keys = _column("bands", pa.list_(pa.uint64(), dimension), "who shares one may be a near-duplicate")
        return pa.schema([_DOC_ID, keys, _FINGERPRINT])
    if kind not in ("embeddings", "target_embeddings"):
        return pa.schema(_FIELDS[kind])
    assert dimension is not None, table
    vector = _column("vector", pa.list_(pa.float16(), dimension), "embedding, 16-bit floats")
    fields = [_DOC_ID, vector, _FINGERPRINT]
    if kind == "target_embeddings":
        fields.insert(0, _column("target", pa.string(), "name of the target"))
    return pa.schema(fields)


def described_columns(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each column, for the UI and the documentation."""
    return [
        (field.name, str(field.type), (field.metadata or {}).get(b"description", b"").decode())
        for field in schema
    ]
