"""Why a document was chosen or not: one reason a document, so that the reasons partition the pool."""

from enum import StrEnum

import polars as pl

from tamis.base.errors import UnknownNameError
from tamis.selection.errors import MissingColumnsError
from tamis.settings.shares import Per


class Reason(StrEnum):
    """The reason of a decision. Of several exclusions of one document the first in this order is given."""

    WITHDRAWN = "withdrawn"
    """Its owner took it back."""
    HELD_OUT_EXAMPLE = "held_out_example"
    """Is in the held-out part of the target."""
    TARGET_EXAMPLE = "target_example"
    """Is in the training part of the target."""
    CONTAMINATED = "contaminated"
    """Shares long n-grams with held-out target examples."""
    SOURCE = "source"
    """None of its sources is allowed."""
    LICENCE = "licence"
    """None of its licences is allowed."""
    PERSONAL_DATA = "personal_data"
    """Holds more personal data than is tolerated."""
    LANGUAGE = "language"
    """In another language than those wanted."""
    HEURISTIC = "heuristic"
    """Breaks a rule of form."""
    NEAR_DUPLICATE = "near_duplicate"
    """A near-duplicate with a smaller doc_id is kept in its place."""
    JUDGE_REFUSED = "judge_refused"
    """The judge's server refused it, so the ranking has no score of it."""
    MODEL_FAILED = "model_failed"
    """A model that the ranking needs, or its tokenizer, failed on it."""
    NO_VECTOR = "no_vector"
    """The encoder gave no usable vector of it, and the ranking needs one."""
    NO_SCORE = "no_score"
    """A score (or number of tokens) that the ranking needs is missing."""
    OVER_BUDGET = "over_budget"
    """Eligible, but ranked behind the cut."""
    OVER_SOURCE_BUDGET = "over_source_budget"
    """Eligible, but its source has as much as it may have."""
    OVER_TOPIC_BUDGET = "over_topic_budget"
    """Eligible, but its topic has as much as it may have."""
    OVER_LANGUAGE_BUDGET = "over_language_budget"
    """Eligible, but its language has as much as it may have."""
    WITHIN_BUDGET = "within_budget"
    """Selected."""
    ARRIVED_LATER = "arrived_later"
    """Came after the version that the selection is pinned to."""


OVER_GROUP: dict[Per, Reason] = {
    "source": Reason.OVER_SOURCE_BUDGET,
    "topic": Reason.OVER_TOPIC_BUDGET,
    "language": Reason.OVER_LANGUAGE_BUDGET,
}
"""The reason of documents whose group has as much of a divided budget as it may have."""
EXCLUSIONS = (
    Reason.WITHDRAWN,
    Reason.HELD_OUT_EXAMPLE,
    Reason.TARGET_EXAMPLE,
    Reason.CONTAMINATED,
    Reason.SOURCE,
    Reason.LICENCE,
    Reason.PERSONAL_DATA,
    Reason.LANGUAGE,
    Reason.HEURISTIC,
    Reason.NEAR_DUPLICATE,
)
"""Reasons that keep a document out before anything is ranked, in order of precedence."""

SENTENCES: dict[str, str] = {
    Reason.WITHIN_BUDGET: "Selected: eligible and ranked above the selection cutoff.",
    Reason.OVER_BUDGET: "Eligible, but ranked below the selection cutoff: higher-ranked documents filled the "
    "budget.",
    **{
        reason: f"Eligible, but higher-ranked documents filled the budget of the document's {per}."
        for per, reason in OVER_GROUP.items()
    },
    Reason.NEAR_DUPLICATE: "Nearly the same text as another document, which is kept instead.",
    Reason.HEURISTIC: "Breaks a rule of form: it reads as noise (numbers, menus, random keys), "
    "boilerplate or repetition.",
    Reason.LANGUAGE: "Is not in one of the wanted languages.",
    Reason.PERSONAL_DATA: "Contains more personal data (such as e-mail addresses and phone numbers) than "
    "allowed.",
    Reason.SOURCE: "Does not come from an allowed source.",
    Reason.LICENCE: "Does not have an allowed licence.",
    Reason.CONTAMINATED: "Shares long word sequences with the held-out examples of a target; training on "
    "such a document would make models look better than they are.",
    Reason.TARGET_EXAMPLE: "Is itself a training example of the target, so the document is already in use.",
    Reason.HELD_OUT_EXAMPLE: "Is itself one of the held-out examples that models are evaluated on.",
    Reason.WITHDRAWN: "Withdrawn by the document's owner, so no model may be trained on the document.",
    Reason.ARRIVED_LATER: "Arrived after the version to which this selection is pinned was created.",
    Reason.JUDGE_REFUSED: "The judge's server refused to read the document, which therefore has no score.",
    Reason.MODEL_FAILED: "A model or its tokenizer failed on the document, which therefore has no score.",
    Reason.NO_VECTOR: "The encoder returned a vector that is zero or not finite, so the document cannot be "
    "ranked.",
    Reason.NO_SCORE: "The document lacks a score or a token count that the ranking needs.",
}
"""What each reason means, for people."""

_EMPTY = {"doc_id": pl.String, "reason": pl.String, "duplicate_of": pl.String, "detail": pl.String}


def one_exclusion_each(exclusions: pl.DataFrame | None) -> pl.DataFrame:
    """Frame (doc_id, reason, duplicate_of, detail), a row per document: the reason that is first in `Reason`.

    `duplicate_of` and `detail` may be absent. Raises `MissingColumnsError`, and `UnknownNameError` for a
    reason that is not one of `EXCLUSIONS`.
    """
    if exclusions is None or exclusions.is_empty():
        return pl.DataFrame(schema=_EMPTY)
    if missing := {"doc_id", "reason"} - set(exclusions.columns):
        raise MissingColumnsError("exclusions", sorted(missing), "exclusions", exclusions.columns)
    absent = [name for name in _EMPTY if name not in exclusions.columns]
    exclusions = exclusions.with_columns(pl.lit(None).alias(name) for name in absent)
    known = exclusions.select(pl.col(name).cast(kind) for name, kind in _EMPTY.items())
    names = [reason.value for reason in EXCLUSIONS]
    for unknown in sorted(set(known["reason"].fill_null("null")) - set(names)):
        raise UnknownNameError("reason of exclusion", unknown, names)
    precedence = pl.col("reason").cast(pl.Enum(names)).to_physical()
    return known.sort("doc_id", precedence, "duplicate_of", "detail", nulls_last=True).unique(
        "doc_id", keep="first", maintain_order=True
    )
