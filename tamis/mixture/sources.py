"""The sources of a mixture as the sampler leaves them, compared with those that runs were trained on.

Runs draw from a part of each source, the same share of each, so that they repeat a scarce source as often as
the real training will (arXiv 2606.07597): the documents with the smallest keyed hash, so that a larger part
holds a smaller one. Inside a part the sampler's order decides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from tamis.corpus.shards import Shard
from tamis.corpus.sources import with_corpora
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.coverage.sampling import keyed_uniform
from tamis.mixture.reuse import REVISED
from tamis.mixture.swarm import VIRTUAL, Change, Source, Swarm, SwarmOptions, plan_swarm
from tamis.selection.decide import Ranking, ranked_by, with_exclusions
from tamis.selection.pool import groups
from tamis.settings.budget import Budget, Per
from tamis.settings.config import MixtureSection
from tamis.store.digests import canonical_digest
from tamis.store.tables import Store

COMPARED = 400
"""Documents of either side whose vectors say whether new content is of the same kind."""
LEAST_COMPARED = 20
"""Fewer new documents are too few to tell."""
Vectors = Callable[[list[str]], np.ndarray]


def grouped_by(section: MixtureSection) -> Per:
    """Return what the sources of the mixture are, as the reasons of decisions name it."""
    return "topic" if section.sources == "topics" else "source"


def source_of_documents(store: Store, section: MixtureSection, files: Mapping[str, Shard]) -> pl.DataFrame:
    """Return doc_id and group of every document: its corpus, the first by name of several, source or topic.

    `files`: those that are there, by key; of one that is gone the corpus is what was noted of it.
    """
    if section.sources != "corpora":
        return groups(store, grouped_by(section))
    places = store.read(OCCURRENCES.name, ["doc_id", "shard"])
    keys = with_corpora(store, places.select(pl.col("shard").unique()))
    found = [files[key].corpus if key in files else noted for key, noted in keys.iter_rows()]
    corpus = keys.with_columns(corpus=pl.Series(found, dtype=pl.String))
    named = places.join(corpus, on="shard").group_by("doc_id").agg(group=pl.col("corpus").min())
    return (
        store.read(DOCUMENTS.name, ["doc_id"]).join(named, on="doc_id", how="inner").select("doc_id", "group")
    )


def usable_documents(
    candidates: pl.DataFrame, exclusions: pl.DataFrame, ranking: Ranking, limit: Budget
) -> pl.DataFrame:
    """Return what may be selected: source, doc_id, n_tokens, is_estimated, rank, best first in each source.

    candidates: as for `allocate`.
    """
    eligible = (
        with_exclusions(candidates, ranking, limit, exclusions)
        .filter(pl.col("reason").is_null())
        .join(candidates.select("doc_id", "group"), on="doc_id", how="inner")
    )
    return ranked_by(eligible, ranking, "group").select(
        "doc_id", pl.col("n_tokens").cast(pl.Int64), "is_estimated", "rank", source="group"
    )


def drawn_from(usable: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Return source, doc_id, n_tokens and rank of all usable documents; rank is null for those left out.

    Runs draw from `share` of the tokens of each source, one document at least.
    """
    drawn = pl.Series("draw", keyed_uniform(usable["doc_id"], seed, "mixture part"), dtype=pl.Float64)
    before = (pl.col("n_tokens").cum_sum() - pl.col("n_tokens")).over("source")
    inside = (before < share * pl.col("n_tokens").sum().over("source")) | (share >= 1)
    return (
        usable.with_columns(drawn)
        .sort("draw", "doc_id")
        .with_columns(rank=pl.when(inside).then("rank"))
        .select("source", "doc_id", "n_tokens", "rank")
        .sort("source", "doc_id")
    )


def digests_of(documents: pl.DataFrame) -> dict[str, str]:
    """Return the digest of the documents that runs draw from, in the sampler's order, by source."""
    drawn = documents.filter(pl.col("rank").is_not_null()).sort("source", "rank", "doc_id")
    return {
        source: canonical_digest("\n".join(ids))[:32]
        for source, ids in drawn.group_by("source", maintain_order=True).agg("doc_id").iter_rows()
    }


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The change of a source since runs were trained on it; `changed`: share of its tokens, 0 to 1."""

    change: Change
    changed: float


def compare_source(before: pl.DataFrame, now: pl.DataFrame, vectors: Vectors, seed: int) -> Compared:
    """Compare a source (doc_id, n_tokens) then and now.

    What left counts by its tokens. What is new counts by its tokens times the part of it that is of another
    kind: twice the accuracy by which a linear classifier of vectors tells it from the old, less 1, less two
    standard errors. `vectors` of doc_ids: [n, d], for those that have one.
    """
    if before.is_empty():
        return Compared(change="added", changed=1.0)
    total = int(before["n_tokens"].sum())
    left = total - int(before.join(now, on="doc_id", how="semi")["n_tokens"].sum())
    new = now.join(before, on="doc_id", how="anti")
    share = int(new["n_tokens"].sum()) / max(int(now["n_tokens"].sum()), 1)
    other = 0.0
    if share > REVISED and len(new) >= LEAST_COMPARED and len(before) >= LEAST_COMPARED:
        old_nd, new_nd = (vectors(_sampled(part, seed)) for part in (before, new))
        other = _of_another_kind(old_nd, new_nd, seed)
    changed = min(1.0, left / max(total, 1) + share * other)
    if changed > REVISED:
        return Compared(change="revised", changed=changed)
    return Compared(change="grown" if len(new) else "unchanged", changed=changed)


def _sampled(documents: pl.DataFrame, seed: int) -> list[str]:
    """Return the doc_ids to compare, those with the smallest keyed hash."""
    drawn = keyed_uniform(documents["doc_id"], seed, "mixture kind")
    return documents.with_columns(draw=pl.Series(drawn)).sort("draw", "doc_id")["doc_id"][:COMPARED].to_list()


def _of_another_kind(old_nd: np.ndarray, new_nd: np.ndarray, seed: int) -> float:
    """Return the part of the new vectors that a classifier proves to be unlike the old, 0 to 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    count = min(len(old_nd), len(new_nd))
    if count < LEAST_COMPARED:
        return 0.0
    rows_nd = np.concatenate([old_nd[:count], new_nd[:count]]).astype(np.float64)
    rows_nd -= rows_nd.mean(0)
    labels_n = np.repeat([0, 1], count)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    said_n = cross_val_predict(LogisticRegression(C=10.0, max_iter=200), rows_nd, labels_n, cv=folds)
    accuracy = float((said_n == labels_n).mean())
    error = float(np.sqrt(accuracy * (1 - accuracy) / (2 * count)))
    return float(np.clip(2 * (accuracy - 2 * error) - 1, 0.0, 1.0))


def sources_now(
    documents: pl.DataFrame,
    before: pl.DataFrame,
    vectors: Vectors,
    seed: int,
    frozen: Mapping[str, str],
) -> tuple[list[Source], pl.DataFrame]:
    """Return the sources with what changed of each, and the documents that runs draw from.

    documents: as `drawn_from` returns them, `before`: those of the plan before, of which sources that are
    neither new nor revised keep theirs. `frozen`: the digest of each source then; another one is of a plan
    that was not completed.
    """
    kept, sources = [], []
    known = digests_of(before)
    now = {str(name): part for (name,), part in documents.group_by("source", maintain_order=True)}
    then = {
        str(name): part
        for (name,), part in before.group_by("source", maintain_order=True)
        if known.get(str(name)) == frozen.get(str(name))
    }
    for name in sorted({*now, *then}):
        part, old = now.get(name), then.get(name)
        if part is None:
            assert old is not None
            kept.append(old)
            sources.append(
                Source(name=name, documents=0, tokens=0, documents_digest=known[name], change="removed")
            )
            continue
        if old is None:
            found = Compared(change="added" if frozen else "first", changed=1.0 if frozen else 0.0)
        else:
            found = compare_source(old, part, vectors, seed)
        stays = old if old is not None and found.change in ("unchanged", "grown") else part
        kept.append(stays)
        sources.append(
            Source(
                name=name,
                documents=len(part),
                tokens=int(part["n_tokens"].sum()),
                documents_digest=digests_of(stays)[name],
                change=found.change,
                changed_share=found.changed,
            )
        )
    return sources, pl.concat(kept) if kept else documents


@dataclass(frozen=True, kw_only=True)
class Design:
    """The sources, the documents that runs draw from (as `drawn_from` returns them), and the planned runs."""

    sources: list[Source]
    documents: pl.DataFrame
    swarm: Swarm


def design(
    documents: pl.DataFrame,
    known: pl.DataFrame,
    before: Swarm | None,
    chosen: Mapping[str, float] | None,
    options: SwarmOptions,
    vectors: Vectors,
) -> Design:
    """Plan runs over the sources as they are; what a change of them does not touch is kept, with its runs.

    documents: as `drawn_from` returns them; `known`: those of the plan before; `chosen`: the mixture that
    this plan led to. Raises as `plan_swarm`.
    """
    current = before.current if before else []
    frozen = {name: digest for run in current for name, digest in run.documents.items()}
    sources, drawn = sources_now(documents, known, vectors, options.seed, frozen)
    swarm = plan_swarm(sources, options, before, chosen)
    if before is not None and swarm.generation > before.generation and VIRTUAL not in swarm.parts:
        # All runs are planned from nothing, so no source has to keep the documents of earlier ones.
        sources, drawn = sources_now(documents, documents.clear(), vectors, options.seed, {})
        swarm = plan_swarm(sources, options, before, None)
    return Design(sources=sources, documents=drawn, swarm=swarm)
