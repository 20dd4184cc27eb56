"""The stage of filters: what is measured of each document, whatever limits a selection applies."""

import pyarrow as pa

from tamis.filters import CODE_VERSION, COUNTS, Plan
from tamis.settings.sections import FiltersSection
from tamis.stage import Stage, edge, same
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, column

_MEASURES = {
    "n_words": "number of words that contain a letter or digit",
    "mean_word_length": "mean length of words in characters",
    "hash_ratio": "hash signs per word",
    "ellipsis_ratio": "ellipses per word",
    "bullet_line_share": "share of lines that begin with a bullet",
    "ellipsis_line_share": "share of lines that end with an ellipsis",
    "alphabetic_word_share": "share of words that contain a letter",
    "stop_words": "occurrences of the eight stop words",
    "duplicate_line_share": "share of lines that repeat an earlier one",
    "duplicate_paragraph_share": "share of paragraphs that repeat an earlier one",
    "duplicate_line_character_share": "share of characters in lines that repeat an earlier one",
    "duplicate_paragraph_character_share": "share of characters in paragraphs that repeat an earlier one",
    **{f"top_{n}_gram_share": f"share of characters in the most frequent {n}-gram" for n in (2, 3, 4)},
    **{f"duplicate_{n}_gram_share": f"share of characters in repeated {n}-grams" for n in range(5, 11)},
    "punctuated_line_share": "share of lines that end with punctuation",
    "repeated_line_character_share": "share of characters in repeated lines; blank lines are not counted",
    "short_line_share": "share of lines under 30 characters",
    "misplaced_word_share": "share of articles and prepositions before an impossible word; one is forgiven",
    "code_line_share": "share of lines that look like code; 1 if the text has other signs of code",
    "speaker_line_share": "share of lines that begin with the name of a speaker",
    "letter_share": "share of letters among visible characters of a text with few words, else 1",
    "unlikely_pair_share": "pairs of letters that almost never follow each other, per letter",
    "repeated_3_gram_share": "share of three-word sequences that occur earlier in the text",
    "short_item_share": "share of characters in items of at most five words, as in menus",
    "label_word_share": "share of capitalised words if the text has no punctuation, else 0",
    "broken_character_share": "share of characters typical of a wrong encoding",
    "common_word_share": "share of words that are common in English",
    "capital_word_share": "share of words that begin with a capital letter",
    "word_order_score": "about 1 or more for normal word order, near 0 if shuffled; null if too few words",
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
        column("broken", pa.string(), "heuristic rules that the document breaks, separated by commas"),
        column("detected_language", pa.string(), "ISO 639 code, as identified from the text"),
        column("language_confidence", pa.float32(), "confidence in the detected language, from 0 to 1"),
        *(column(f"{kind}_count", pa.uint32(), meaning) for kind, meaning in _PERSONAL_DATA.items()),
        column("unit_hashes", pa.list_(pa.uint64()), "hashes of sentences and lines, to find boilerplate"),
        column("unit_characters", pa.list_(pa.uint32()), "length of each sentence and line in characters"),
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
