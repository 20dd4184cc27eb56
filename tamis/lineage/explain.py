"""Explanations: everything the store knows about one document, in one structure.

Reads one row of each table and one column of each score, so a few tenths of a second per 100,000 documents.
"""

from typing import Any

import polars as pl

from tamis.errors import PermanentError
from tamis.filters import COUNTS
from tamis.lineage.heads import Heads, read_heads
from tamis.lineage.manifest import ManifestFolder
from tamis.sections import FiltersSection
from tamis.selection.evidence import evidence_of, in_words
from tamis.store.tables import Store, quoted
from tamis.withdrawal.desired import read_withdrawals

_SCORERS = {
    "scores_density": ("density",),
    "scores_perplexity": ("bits_per_byte",),
    "scores_judge": ("margin",),
    "scores_quality": ("judge_margin_predicted", "quality"),
}
_DECISION = ["selection", "verdict", "reason", "detail", "rank", "margin", "duplicate_of"]
_TRANSPORT = ("transport_gradient", "nearest_cost")


class UnknownDocumentError(PermanentError):
    """No document of that id; a unique prefix is enough."""

    def __init__(self, doc_id: str, matches: int) -> None:
        self.doc_id, self.matches = doc_id, matches
        found = f"{matches} documents begin with it" if matches else "the store holds no such document"
        super().__init__(
            f"{doc_id!r} is not a document id: {found}; 32 hexadecimal digits, or the first few, are one"
        )


def resolve_document(store: Store, doc_id: str) -> str:
    """The full id of a document from an unambiguous beginning; raises `UnknownDocumentError`."""
    doc_id = doc_id.strip().lower()
    if not doc_id or set(doc_id) - set("0123456789abcdef"):
        raise UnknownDocumentError(doc_id, 0)
    ids = store.read("documents", ["doc_id"], f"doc_id LIKE {quoted(doc_id + '%')}")["doc_id"]
    examples = store.read("target_examples", ["doc_id"], f"doc_id LIKE {quoted(doc_id + '%')}")["doc_id"]
    withdrawn = store.read("withdrawals", ["doc_id"], f"doc_id LIKE {quoted(doc_id + '%')}")["doc_id"]
    found = sorted({*ids, *examples, *withdrawn})
    if len(found) != 1:
        raise UnknownDocumentError(doc_id, len(found))
    return found[0]


def explain_document(store: Store, doc_id: str, manifests: ManifestFolder) -> dict[str, Any]:
    """Where a document came from, its scores, its decisions, and the checkpoints that trained on it.

    One that was withdrawn has the key `withdrawn` beside. A decision that a filter made carries `evidence`:
    what was measured, and what would have been allowed by the settings it was made with.
    """
    where = f"doc_id = {quoted(doc_id)}"
    withdrawn = read_withdrawals(store, where).to_dicts()
    return ({"withdrawn": withdrawn[0]} if withdrawn else {}) | {
        "doc_id": doc_id,
        "occurrences": store.read("occurrences", ["shard", "row", "source"], where)
        .sort("shard", "row")
        .to_dicts(),
        "scores": _scores(store, doc_id),
        "decisions": _decisions(store, doc_id, manifests),
        "checkpoints": store.read("trained_on", ["checkpoint", "data"], where).sort("checkpoint").to_dicts(),
    }


def _decisions(store: Store, doc_id: str, manifests: ManifestFolder) -> list[dict[str, Any]]:
    found = store.read("decisions", where=f"doc_id = {quoted(doc_id)}").sort("selection")
    # A table made before rules had names gets the column with its next selection.
    absent = [pl.lit(None).alias(name) for name in _DECISION if name not in found.columns]
    heads = read_heads(store)
    decided = found.with_columns(absent).select(_DECISION).to_dicts()
    for row in decided:
        filters = _filters_of(heads, manifests, row["selection"])
        row["evidence"] = evidence_of(store, doc_id, row["reason"], row["detail"], filters)
    return decided


def _filters_of(heads: Heads, manifests: ManifestFolder, selection: str) -> FiltersSection:
    """The filters that a selection was made with, which tamis.toml may have left behind."""
    head = heads.get(("decisions", selection))
    config = manifests.read(head.manifest).config if head else {}
    return FiltersSection.model_validate(config.get("filters", {}))


def _scores(store: Store, doc_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any] | None] = [*_flags(store, doc_id)]
    for table, columns in _SCORERS.items():
        found += [_score(store, table, column, column, doc_id) for column in columns]
    for table in store.names():
        if table.startswith("transport_"):
            target = table.removeprefix("transport_")
            found += [_score(store, table, column, f"{column}[{target}]", doc_id) for column in _TRANSPORT]
    return [score for score in found if score is not None]


def _flags(store: Store, doc_id: str) -> list[dict[str, Any]]:
    """The kinds of personal data of which any was found."""
    found = [_score(store, "document_flags", column, column, doc_id) for column in COUNTS]
    return [flag for flag in found if flag is not None and flag["score"] > 0]


def _score(store: Store, table: str, column: str, name: str, doc_id: str) -> dict[str, Any] | None:
    """A score with its percentile: the share of scored documents whose score is not larger."""
    frame = store.read(table, ["doc_id", column]).drop_nulls(column)
    own = frame.filter(pl.col("doc_id") == doc_id)[column]
    if not len(own):
        return None
    percentile = 100.0 * float((frame[column] <= own[0]).mean() or 0.0)
    return {"scorer": name, "score": float(own[0]), "percentile": round(percentile, 2)}


def explanation_lines(found: dict[str, Any]) -> list[str]:
    """An explanation for a person."""
    lines = [f"document {found['doc_id']}"]
    if gone := found.get("withdrawn"):
        when = f"{gone['withdrawn_at']:%Y-%m-%d %H:%M} UTC"
        lines.append(f"  withdrawn {when}, {gone['reason']}; receipt {gone['receipt'] or 'still to come'}")
    for row in found["occurrences"]:
        lines.append(f"  stands in {row['shard']} row {row['row']} ({row['source']})")
    for score in found["scores"]:
        lines.append(f"  {score['scorer']} = {score['score']:.5g} (percentile {score['percentile']:.1f})")
    for row in found["decisions"]:
        lines.append("  " + _decision_line(row))
    for row in found["checkpoints"]:
        lines.append(f"  {row['checkpoint']} was trained on it, as part of {row['data']}")
    if not found["checkpoints"]:
        lines.append("  no checkpoint was trained on it")
    return lines


def _decision_line(row: dict[str, Any]) -> str:
    line = f"{row['selection']}: {row['verdict']}, {row['reason'].replace('_', ' ')}"
    if row["detail"] is not None:
        seen = f": {in_words(row['evidence'])}" if row["evidence"] else ""
        line += f" ({row['detail']}{seen})"
    if row["rank"] is not None:
        line += f", rank {row['rank']:,}"
    if row["margin"] is not None:
        line += f", {abs(row['margin']):.5g} {'inside' if row['margin'] >= 0 else 'outside'} the cut"
    return line + (f", duplicate of {row['duplicate_of']}" if row["duplicate_of"] else "")
