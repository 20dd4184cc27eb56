"""The evidence of a filter against a document: the measured value and what would have been allowed.

Reads the stored measures and the places of one document; no text is looked at again.
"""

from collections.abc import Callable
from typing import Any

import polars as pl

from tamis.corpus.stage import OCCURRENCES
from tamis.filters import COUNTS, FAMILIES
from tamis.filters.licences import DENIED, NOT_ALLOWED
from tamis.filters.storing import TABLE
from tamis.selection.filtering import repeated, stated_languages
from tamis.selection.reasons import Reason
from tamis.settings.sections import FiltersSection
from tamis.store.tables import Store, quoted

Evidence = dict[str, Any]
_RULES = {rule.name: rule for rules in FAMILIES.values() for rule in rules}


def evidence_of(
    store: Store, doc_id: str, reason: str, rule: str | None, filters: FiltersSection
) -> Evidence | None:
    """`measured` (name to value) and `allowed` (in words) for a reason that filters give, else None.

    filters: the settings that the decision was made with.
    """
    find = _FOUND.get(reason)
    return find(store, doc_id, rule, filters) if find and rule else None


def in_words(evidence: Evidence) -> str:
    """As part of a sentence: "hash_ratio = 0.34, allowed is at most 0.1"."""
    measured = ", ".join(f"{name} = {_shown(value)}" for name, value in evidence["measured"].items())
    return f"{measured}; allowed: {evidence['allowed']}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join("unknown" if one is None else str(one) for one in value) or "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flags(store: Store, doc_id: str) -> dict[str, Any]:
    rows = store.read(TABLE, where=f"doc_id = {quoted(doc_id)}").to_dicts()
    return rows[0] if rows else {}


def _heuristic(store: Store, doc_id: str, rule: str | None, filters: FiltersSection) -> Evidence | None:
    found = _RULES.get(str(rule))
    if found is None:
        return None
    if found.of_pool:
        shares = dict(repeated(store).filter(pl.col("doc_id") == doc_id).iter_rows())
        return {"measured": {found.column: shares.get(doc_id)}, "allowed": found.allowed}
    return {"measured": {found.column: _flags(store, doc_id).get(found.column)}, "allowed": found.allowed}


def _licence(store: Store, doc_id: str, rule: str | None, filters: FiltersSection) -> Evidence:
    places = store.read(OCCURRENCES.name, ["licence"], f"doc_id = {quoted(doc_id)}")["licence"]
    allowed = {
        DENIED: f"none of {', '.join(filters.licences_denied)}",
        NOT_ALLOWED: f"one of {', '.join(filters.licences_allowed)}",
    }
    licences = places.unique().sort(nulls_last=True).to_list()
    return {"measured": {"licences": licences}, "allowed": allowed.get(str(rule), "any stated licence")}


def _language(store: Store, doc_id: str, rule: str | None, filters: FiltersSection) -> Evidence:
    flags = _flags(store, doc_id)
    places = store.read(OCCURRENCES.name, ["doc_id", "language"], f"doc_id = {quoted(doc_id)}")
    measured = {
        "stated_language": stated_languages(places, filters.languages)["language"].first(),
        "detected_language": flags.get("detected_language"),
        "language_confidence": flags.get("language_confidence"),
    }
    allowed = f"one of {', '.join(filters.languages)}"
    if str(rule).startswith("language_detected_"):
        allowed += f", or a confidence below {filters.language_confidence:g}"
    return {"measured": measured, "allowed": allowed}


def _personal_data(store: Store, doc_id: str, rule: str | None, filters: FiltersSection) -> Evidence:
    flags = _flags(store, doc_id)
    return {
        "measured": {name: flags[name] for name in COUNTS if flags.get(name)},
        "allowed": f"at most {filters.personal_data_limit} in total",
    }


_FOUND: dict[str, Callable[[Store, str, str | None, FiltersSection], Evidence | None]] = {
    Reason.HEURISTIC: _heuristic,
    Reason.LICENCE: _licence,
    Reason.LANGUAGE: _language,
    Reason.PERSONAL_DATA: _personal_data,
}
