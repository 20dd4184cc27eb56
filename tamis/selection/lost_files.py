"""Files that lose over half of their documents to one reason: a mistake in the file or in the settings."""

from collections.abc import Iterable

import polars as pl

from tamis.corpus.small_files import group_of_files
from tamis.corpus.sources import NOTES, with_corpora
from tamis.corpus.stage import OCCURRENCES
from tamis.selection.decide import Reason
from tamis.store.tables import Store

FILES_LOST = "files_lost"
"""Name of the lines in the event and the manifest of a selection."""
LEAST_DOCUMENTS = 20
LOST_AS: dict[str, tuple[str, str]] = {
    Reason.NEAR_DUPLICATE: (
        "near-duplicates of other documents",
        "if these differ in what matters, raise threshold in [near_duplicates]",
    ),
    Reason.CONTAMINATED: (
        "contaminated: they share long word sequences with held-out examples of a target",
        "if these say nothing of the examples, raise ngram in [decontamination]",
    ),
    Reason.HEURISTIC: (
        "dropped by a rule of form",
        "`tamis explain DOC_ID` names the rule, and heuristics_off in [filters] turns it off",
    ),
    Reason.LANGUAGE: ("in another language than those wanted", "languages in [filters] says which are"),
    Reason.PERSONAL_DATA: ("dropped for personal data", "personal_data_limit in [filters] allows more"),
    Reason.HELD_OUT_EXAMPLE: (
        "held-out examples of a target",
        "take the examples out of the corpus, or other examples for the target",
    ),
    Reason.TARGET_EXAMPLE: (
        "training examples of a target",
        "take the examples out of the corpus, or other examples for the target",
    ),
    **dict.fromkeys(
        (Reason.JUDGE_REFUSED, Reason.MODEL_FAILED, Reason.NO_VECTOR, Reason.NO_SCORE),
        ("without a score", "`tamis status` says why, under quarantine"),
    ),
}
"""What documents with a reason are, and what to do; none for what somebody asked to leave out by name."""


def files_lost(store: Store, decided: pl.DataFrame) -> list[str]:
    """Return a line for each file that loses over half of its documents to one reason.

    decided: doc_id and reason of the documents of the pool. Small files that share a shard count together;
    files of fewer than 20 documents are left out.
    """
    lost = pl.col("reason").is_in([*LOST_AS])
    if decided.filter(lost).is_empty():
        return []
    places = store.read(OCCURRENCES.name, ["doc_id", "shard"])
    groups = group_of_files(store).rename({"partition": "group"})
    held = places.join(groups, on="shard", how="left").with_columns(part=pl.coalesce("group", "shard"))
    held = held.select("doc_id", "part").unique().join(decided.select("doc_id", "reason"), on="doc_id")
    counts = held.with_columns(of=pl.len().over("part")).group_by("part", "reason", "of").len()
    half = (pl.col("of") >= LEAST_DOCUMENTS) & (2 * pl.col("len") > pl.col("of"))
    most = counts.filter(half, lost).sort("part", "reason")
    names = _names(store, most["part"])
    return [
        f"{names[part]}: {count:,} of its {of:,} documents are {LOST_AS[reason][0]}; {LOST_AS[reason][1]}"
        for part, reason, of, count in most.select("part", "reason", "of", "len").iter_rows()
    ]


def _names(store: Store, shards: Iterable[str]) -> dict[str, str]:
    """Return what people call these files: their names, of a group of small files its key."""
    notes = pl.concat([store.read(table, ["shard", "name"]) for table in NOTES]).unique("shard", keep="last")
    files = with_corpora(store, pl.DataFrame({"shard": [*shards]}, schema={"shard": pl.String}))
    named = files.join(notes, on="shard", how="left").select("shard", "corpus", "name")
    return {
        shard: f"file {name} of corpus {corpus}" if name is not None else f"shard {shard}"
        for shard, corpus, name in named.iter_rows()
    }
