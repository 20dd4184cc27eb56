"""The stage of filters: what is measured of each document, whatever limits a selection applies."""

import pyarrow as pa

from tamis.filters import CODE_VERSION, COUNTS, Plan
from tamis.settings.sections import FiltersSection
from tamis.stage import Stage, edge, same
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, column

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
    "code_line_share": "share of lines that look like code, 1 for its other signs",
    "speaker_line_share": "share of lines that begin with who speaks",
    "letter_share": "share of letters in a text of few words",
    "unlikely_pair_share": "pairs of letters that hardly ever follow each other, a letter",
    "repeated_3_gram_share": "share of runs of three words that occur in the text before",
    "short_item_share": "share of characters in items of at most five words, as of menus",
    "label_word_share": "share of words that begin with a capital, of a text without punctuation",
    "broken_character_share": "share of characters that a wrong encoding leaves",
    "common_word_share": "share of words that are among the frequent ones of English",
    "capital_word_share": "share of words that begin with a capital",
    "word_order_score": "near 1 or above for words in order, near 0 for words in none; null: not judged",
}
_PERSONAL_DATA = {
    "card": "card numbers",
    "iban": "account numbers",
    "ssn": "US social security numbers",
    "email": "e-mail addresses",
    "phone": "phone numbers",
    "ip_address": "public IP addresses",
}

DOCUMENT_FLAGS = Table(
    name="document_flags",
    key=("doc_id",),
    text=(),
    per_document=True,
    counts=COUNTS,
    columns=(
        DOC_ID,
        *(column(name, pa.float32(), meaning) for name, meaning in _MEASURES.items()),
        column("broken", pa.string(), "heuristic rules that the document breaks, by commas, or empty"),
        column("detected_language", pa.string(), "ISO 639 code, as identified from the text"),
        column("language_confidence", pa.float32(), "of the detected language, from 0 to 1"),
        *(column(f"{kind}_count", pa.uint32(), meaning) for kind, meaning in _PERSONAL_DATA.items()),
        column("unit_hashes", pa.list_(pa.uint64()), "hashes of its sentences and lines, for boilerplate"),
        column("unit_characters", pa.list_(pa.uint32()), "how long each of these is"),
        FINGERPRINT,
    ),
)


def plan_of(filters: FiltersSection) -> Plan:
    """What has to be measured of every document for these filters."""
    return Plan(
        heuristics=filters.heuristics,
        language=filters.language_from if filters.languages else None,
        personal_data=filters.personal_data != "off",
        phone_regions=filters.phone_regions,
    )


STAGES = (
    Stage(
        name="document_flags",
        group="quality",
        partitions="shards",
        step="shards",
        code_version=CODE_VERSION,
        active=lambda snapshot: bool(plan_of(snapshot.project.settings.filters)),
        edges=(edge("documents", same),),
        settings=lambda snapshot, key: plan_of(snapshot.project.settings.filters).identity(),
        tables=(DOCUMENT_FLAGS,),
    ),
)
