"""The stage of filters: what is measured of each document, whatever limits a selection applies."""

from typing import Any

from tamis.filters import CODE_VERSION, COUNTS, FORM, FORM_CODE_VERSION, Plan
from tamis.filters.flags import shipped_form
from tamis.settings.config import Settings
from tamis.settings.sections import FiltersSection
from tamis.stage import Growth, Learning, Snapshot, Stage, edge, every, same
from tamis.store.columns import (
    DOC_ID,
    FINGERPRINT,
    Table,
    hash64,
    integer,
    many,
    real,
    single,
    text,
    unsigned,
)

_MEASURES = {
    "n_words": "number of words that contain a letter or digit",
    "mean_word_length": "mean length, in characters, of the words that contain a letter or digit",
    "hash_ratio": "number of hash signs (#) divided by the number of words",
    "ellipsis_ratio": "number of ellipses divided by the number of words",
    "bullet_line_share": "fraction of non-blank lines that begin with a bullet",
    "ellipsis_line_share": "fraction of non-blank lines that end with an ellipsis",
    "alphabetic_word_share": "fraction of words that contain a letter",
    "stop_words": "number of occurrences of the stop words the, be, to, of, and, that, have and with",
    "duplicate_line_share": "fraction of non-blank lines that repeat an earlier line",
    "duplicate_paragraph_share": "fraction of paragraphs that repeat an earlier paragraph",
    "duplicate_line_character_share": (
        "fraction of the text's characters that are in lines that repeat an earlier line"
    ),
    "duplicate_paragraph_character_share": (
        "fraction of the text's characters that are in paragraphs that repeat an earlier paragraph"
    ),
    **{
        f"top_{n}_gram_share": (
            "fraction of the characters of words that are in occurrences of the most frequent sequence of "
            f"{n} words; 0 if no such sequence is repeated"
        )
        for n in (2, 3, 4)
    },
    **{
        f"duplicate_{n}_gram_share": (
            f"fraction of the characters of words that are in a sequence of {n} words that also occurs "
            "earlier in the text"
        )
        for n in range(5, 11)
    },
    "punctuated_line_share": (
        "fraction of non-blank lines that end with sentence-ending punctuation or a quotation mark"
    ),
    "repeated_line_character_share": (
        "fraction of the characters of non-blank lines that are in lines that repeat an earlier line"
    ),
    "short_line_share": "fraction of non-blank lines that have fewer than 30 characters",
    "misplaced_word_share": (
        "fraction of articles and prepositions that are followed by a word that cannot follow them in "
        "English; the first such case in a text is not counted"
    ),
    "code_line_share": (
        "fraction of non-blank lines that look like code; 1 if the text contains HTML, XML, PHP or template "
        "markup or many symbols that are typical of code"
    ),
    "speaker_line_share": (
        "fraction of non-blank lines that begin with the name of a speaker; 0 for a text of a single line"
    ),
    "letter_share": (
        "fraction of non-blank characters that are letters or emoji; 1 if the text has fewer than 20 "
        "non-blank characters or at least 8 different words of three letters or more"
    ),
    "unlikely_pair_share": (
        "number of letter pairs that almost never occur in real words, divided by the number of letters A to "
        "Z; 0 if there are fewer than 20 such letters"
    ),
    "repeated_3_gram_share": (
        "fraction of three-word sequences (of twelve characters in a script without spaces) that repeat an "
        "earlier one; 0 if the text has fewer than four such sequences"
    ),
    "short_item_share": (
        "fraction of characters in items of at most five words (ten characters in a script without spaces), "
        "as in menus, when the text is split at line breaks and separators such as |; 0 if there are fewer "
        "than four items"
    ),
    "label_word_share": (
        "fraction of words that begin with a capital letter; 0 if the text has punctuation (. , ; ! ?) or "
        "fewer than ten words"
    ),
    "broken_character_share": (
        "fraction of non-blank characters that are typical of text decoded with the wrong encoding"
    ),
    "common_word_share": "fraction of words that are among the 150 most frequent English words",
    "capital_word_share": "fraction of words that begin with a capital letter",
    "word_order_score": (
        "how closely the word order resembles English prose: about 1 or more for normal order, near 0 for "
        "shuffled words; null if the text has too few words"
    ),
}
_PERSONAL_DATA = {
    "card": "number of payment card numbers in the text",
    "iban": "number of bank account numbers (IBAN) in the text",
    "ssn": "number of US social security numbers in the text",
    "email": "number of e-mail addresses in the text",
    "phone": "number of phone numbers in the text",
    "ip_address": "number of public IP addresses in the text",
}

DOCUMENT_FLAGS = Table(
    name="document_flags",
    key=("doc_id",),
    text=(),
    per_document=True,
    counts=COUNTS,
    columns=(
        DOC_ID,
        *(single(name, meaning) for name, meaning in _MEASURES.items()),
        text("broken", "names of the heuristic rules that the document breaks, separated by commas"),
        text("detected_language", "ISO 639 code of the language identified from the text"),
        single("language_confidence", "confidence in `detected_language`, from 0 to 1"),
        *(unsigned(f"{kind}_count", meaning) for kind, meaning in _PERSONAL_DATA.items()),
        many(
            hash64(
                "unit_hashes",
                "hash of each sentence or line, used to find boilerplate that many documents share",
            )
        ),
        many(
            unsigned(
                "unit_characters",
                "length, in characters, of each sentence or line in `unit_hashes`, in the same order",
            )
        ),
        FINGERPRINT,
    ),
)

FORM_MODEL = Table(
    name="form_model",
    key=("fingerprint",),
    text=(),
    emptied=True,
    columns=(
        FINGERPRINT,
        text("model", "the model of form, as JSON: weights, and what sound texts of each length show"),
        text("note", "which model it is, and why"),
        integer("pool", "number of documents in the pool when the model was chosen"),
        text("method", "code, seed and tables that the model was chosen with"),
    ),
)
FORM_LIMITS = Table(
    name="form_limits",
    key=("target",),
    text=(),
    emptied=True,
    columns=(
        text("target", "name of the target"),
        real(
            "limit",
            "log odds of being damaged that at most .5 % of the target's training examples exceed; never "
            "below the model's own limit",
        ),
        integer("examples", "number of the target's training examples"),
        integer("over", "number of these that the model that ships with Tamis would drop"),
        integer("unseen", "number of these that are short or in a language that the model has not seen"),
    ),
)
FORM_SCORES = Table(
    name="form_scores",
    key=("doc_id",),
    text=(),
    per_document=True,
    emptied=True,
    scores=("form_logit",),
    columns=(
        DOC_ID,
        real(
            "form_logit",
            "log odds that the text is damaged rather than sound, by how it is written; null if it is "
            "short, or in a language that the model has not seen",
        ),
        text(
            "form_reasons",
            "the three statistics that decided, most decisive first; null unless the model's own limit is "
            "exceeded",
        ),
        text(
            "form_language",
            "ISO 639-3 code of the language by frequent words; other for another script, none for under five "
            "words, short for under 60 characters",
        ),
        FINGERPRINT,
    ),
)


def plan_of(filters: FiltersSection) -> Plan:
    """Return what has to be measured of every document for these filters; `form` has a stage of its own."""
    return Plan(
        heuristics=tuple(family for family in filters.heuristics if family != FORM),
        language=filters.language_from if filters.languages else None,
        personal_data=filters.personal_data != "off",
        phone_regions=filters.phone_regions,
    )


def form_wanted(snapshot: Snapshot) -> bool:
    """Return whether the project judges documents by their form."""
    return FORM in snapshot.project.settings.filters.heuristics


def kept_away(settings: Settings) -> list[str]:
    """Return the targets that a selection keeps away from and none aims at: they raise no limit of form."""
    aims = {one.target for one in settings.selection}
    return sorted({one.away_from for one in settings.selection if one.away_from} - aims)


def _form_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    away = kept_away(snapshot.project.settings)
    return {"shipped": shipped_form()} | ({"kept_away": away} if away else {})


FORM_MODEL_STAGE = Stage(
    name="form_model",
    group="quality",
    code_version=FORM_CODE_VERSION,
    active=form_wanted,
    by_content=True,
    steady=True,
    edges=(edge("documents", every("shards")), edge("target_examples", every("targets"))),
    settings=_form_settings,
    tables=(FORM_MODEL, FORM_LIMITS),
    learning=Learning.FITTED,
    growth=Growth.NOTHING,
)
FORM_SCORES_STAGE = Stage(
    name="form_scores",
    group="quality",
    partitions="shards",
    step="shards",
    code_version=FORM_CODE_VERSION,
    active=form_wanted,
    edges=(edge("documents", same), edge("form_model")),
    tables=(FORM_SCORES,),
)
FLAGS_STAGE = Stage(
    name="document_flags",
    group="quality",
    partitions="shards",
    step="shards",
    code_version=CODE_VERSION,
    active=lambda snapshot: bool(plan_of(snapshot.project.settings.filters)),
    edges=(edge("documents", same),),
    settings=lambda snapshot, key: plan_of(snapshot.project.settings.filters).identity(),
    tables=(DOCUMENT_FLAGS,),
)
STAGES = (FLAGS_STAGE, FORM_MODEL_STAGE, FORM_SCORES_STAGE)
