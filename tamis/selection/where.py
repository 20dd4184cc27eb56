"""The condition of a selection (`where`), and the documents that it is not true of."""

from collections.abc import Collection, Sequence

import polars as pl

from tamis.base.numbers import counted
from tamis.corpus.sources import stored_sources, with_corpora
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.scores.storing import read_score
from tamis.selection.decide import Reason
from tamis.selection.filtering import Evidence, evidence_of, stated_languages
from tamis.selection.pool import token_sizes
from tamis.settings.sections import FiltersSection, ScoreSection, SelectionSection
from tamis.settings.where import FACTS, NO_VALUE, names_in, parse_condition
from tamis.store.tables import Store


def unmet_by(
    store: Store, section: SelectionSection, filters: FiltersSection, scores: Sequence[ScoreSection]
) -> pl.DataFrame | None:
    """Return doc_id and detail of the documents that the condition is not true of; None without a condition.

    detail: the first comparison that is not true, marked where it is null.
    """
    if section.where is None:
        return None
    condition = parse_condition(section.where, tuple(score.name for score in scores))
    facts = facts_of(store, condition.names, filters)
    return facts.select("doc_id", detail=condition.unmet()).drop_nulls("detail")


def facts_of(
    store: Store, names: Collection[str], filters: FiltersSection, of: pl.Series | None = None
) -> pl.DataFrame:
    """Return doc_id and these facts and scores, of the documents `of` or all; null where there is none.

    A document in several places has the language that filters take, and the first source and corpus by name.
    """
    facts = store.read(DOCUMENTS.name, ["doc_id", "n_chars", "n_bytes"])
    if of is not None:
        facts = facts.join(of.to_frame("doc_id"), on="doc_id", how="semi", maintain_order="left")
    parts = [token_sizes(store).select("doc_id", "n_tokens")] if "n_tokens" in names else []
    if "language" in names:
        places = store.read(OCCURRENCES.name, ["doc_id", "language"])
        parts.append(stated_languages(places, filters.languages))
    if "source" in names:
        places = store.read(OCCURRENCES.name, ["doc_id", "shard", "source"])
        parts.append(stored_sources(store, places, of).select("doc_id", "source"))
    if "corpus" in names:
        places = with_corpora(store, store.read(OCCURRENCES.name, ["doc_id", "shard"]))
        parts.append(places.group_by("doc_id").agg(pl.col("corpus").min()))
    for name in sorted({*names} - {*FACTS}):
        parts.append(read_score(store, name).rename({"value": name}))
    for part in parts:
        facts = facts.join(part, on="doc_id", how="left", maintain_order="left")
    numbers = [name for name in names if FACTS.get(name, "number") == "number"]
    return facts.select("doc_id", *names).with_columns(pl.col(numbers).cast(pl.Float64))


def evidence_for(
    store: Store, doc_id: str, reason: str, detail: str | None, filters: FiltersSection
) -> Evidence | None:
    """Return what `evidence_of` finds; for the reason `where` the values that the comparison reads now."""
    if reason != Reason.WHERE or detail is None:
        return evidence_of(store, doc_id, reason, detail, filters)
    names = names_in(detail.removesuffix(NO_VALUE))
    facts = facts_of(store, names, filters, pl.Series([doc_id], dtype=pl.String))
    row = next(facts.select(names).iter_rows(named=True), {})
    measured = {name: "unknown" if value is None else value for name, value in row.items()}
    return {"measured": measured, "allowed": "only what the selection's `where` is true of"}


def where_lines(decided: pl.DataFrame) -> list[str]:
    """Return a line that counts the documents of which a condition is false apart from those of null.

    decided: doc_id, reason and maybe detail of the documents of the pool.
    """
    unmet = decided.filter(pl.col("reason") == Reason.WHERE.value)
    if unmet.is_empty():
        return []
    counts = unmet.group_by("detail").len().sort("len", "detail", descending=[True, False])
    null = pl.col("detail").str.ends_with(NO_VALUE)
    parts = [
        f"{counted(count, 'document')}, of which `{detail}` is not true"
        for detail, count in counts.filter(~null).iter_rows()
    ]
    parts += [
        f"{counted(count, 'document')} without a value for `{detail.removesuffix(NO_VALUE)}`"
        for detail, count in counts.filter(null).iter_rows()
    ]
    return [f"where excludes {'; '.join(parts)}"]
