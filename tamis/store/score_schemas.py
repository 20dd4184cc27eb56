"""Tables of scores and measures: one row a document and scorer."""

import pyarrow as pa

from tamis.store.columns import BY_SERVER, DOC_ID, FINGERPRINT, Table, column

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
    "misplaced_word_share": "share of articles and prepositions before a word that cannot follow, but one",
}
_PERSONAL_DATA = {
    "card": "card numbers",
    "iban": "account numbers",
    "ssn": "US social security numbers",
    "email": "e-mail addresses",
    "phone": "phone numbers",
    "ip_address": "public IP addresses",
}

SCORES: dict[str, Table] = {
    "judge_sample": Table(
        key=("doc_id",),
        text=(),
        columns=(
            DOC_ID,
            column("part", pa.string(), "train or hold_out"),
        ),
    ),
    "scores_density": Table(
        key=("doc_id",),
        text=(),
        columns=(
            DOC_ID,
            column("density", pa.float64(), "kernel sum over the pool, debiased, in documents"),
            FINGERPRINT,
        ),
    ),
    "scores_judge": Table(
        key=("doc_id",),
        text=(),
        sealed=True,
        retained=True,
        paid=True,
        columns=(
            DOC_ID,
            column(
                "logp_yes_raw", pa.float64(), "log P of the single token yes over the whole vocabulary, nats"
            ),
            column("logp_yes", pa.float64(), "log P of all single-token variants of yes, nats"),
            column("logp_no", pa.float64(), "log P of all single-token variants of no, nats"),
            column("answer_mass", pa.float64(), "P(yes) + P(no) over all variants"),
            column("margin", pa.float64(), "logp_yes - logp_no, nats"),
            column("truncated", pa.bool_(), "whether the document was cut to the judge's window"),
            BY_SERVER,
            FINGERPRINT,
        ),
    ),
    "scores_judge_again": Table(
        key=("doc_id",),
        text=(),
        sealed=True,
        retained=True,
        paid=True,
        columns=(
            DOC_ID,
            column("answer_mass", pa.float64(), "P(yes) + P(no) over all variants"),
            column("margin", pa.float64(), "logp_yes - logp_no of the question in another order, nats"),
            BY_SERVER,
            FINGERPRINT,
        ),
    ),
    "scores_noise": Table(
        key=("text_digest", "fingerprint"),
        text=(),
        sealed=True,
        columns=(
            column("text_digest", pa.string(), "128 bits of SHA-256 over a piece of planted noise, hex"),
            column("answer_mass", pa.float64(), "P(yes) + P(no) over all variants"),
            column("margin", pa.float64(), "logp_yes - logp_no, nats"),
            FINGERPRINT,
        ),
    ),
    "scores_perplexity": Table(
        key=("doc_id",),
        text=(),
        retained=True,
        columns=(
            DOC_ID,
            column("bits_per_byte", pa.float32(), "bits per UTF-8 byte by a model that did not train on it"),
            FINGERPRINT,
        ),
    ),
    "scores_by_model": Table(
        key=("doc_id", "fingerprint"),
        text=(),
        sealed=True,
        retained=True,
        columns=(
            DOC_ID,
            FINGERPRINT,
            column(
                "value", pa.float64(), "score by the model of a sampler, smallest first; null: it gave none"
            ),
        ),
    ),
    "scores_quality": Table(
        key=("doc_id",),
        text=(),
        columns=(
            DOC_ID,
            column(
                "judge_margin_predicted", pa.float64(), "the judge's margin as the grader predicts it, nats"
            ),
            column("quality", pa.float64(), "quality in [0, 1], monotone in the predicted margin"),
            FINGERPRINT,
        ),
    ),
    "document_flags": Table(
        key=("doc_id",),
        text=(),
        columns=(
            DOC_ID,
            *(column(name, pa.float32(), meaning) for name, meaning in _MEASURES.items()),
            column("broken", pa.string(), "heuristic rules that the document breaks, by commas, or empty"),
            column("detected_language", pa.string(), "ISO 639 code, as identified from the text"),
            column("language_confidence", pa.float32(), "of the detected language, from 0 to 1"),
            *(column(f"{kind}_count", pa.uint32(), meaning) for kind, meaning in _PERSONAL_DATA.items()),
            FINGERPRINT,
        ),
    ),
    "transport": Table(
        key=("doc_id",),
        text=(),
        many=True,
        columns=(
            column("target", pa.string(), "name of the target"),
            DOC_ID,
            column("transport_gradient", pa.float64(), "gradient of OT(pool, target) in the document's mass"),
            column("nearest_cost", pa.float64(), "cost to the nearest target example"),
            FINGERPRINT,
        ),
    ),
}
