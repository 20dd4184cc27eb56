"""The pool as a selection sees it: one row a document with its scores, and who is excluded and why.

Joins are by doc_id, never by row position. About 300 bytes a document in memory; text stays in the store.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tamis.base.numbers import tokens_in_words
from tamis.corpus.quarantine import read_refused
from tamis.corpus.sources import stored_sources
from tamis.corpus.stage import DOCUMENTS, NEAR_DUPLICATES, OCCURRENCES, TARGET_EXAMPLES
from tamis.coverage.sampling import keyed_uniform
from tamis.embedding.stage import EMBEDDINGS_STAGE, NEAR_COPIES
from tamis.passages.places import with_passages
from tamis.quality.stage import JUDGE_STAGE, QUALITY_STAGE
from tamis.scores.scale import as_log_odds, as_quality, best_first
from tamis.scores.storing import read_score
from tamis.selection import Reason, find_sampler
from tamis.selection.decide import one_exclusion_each
from tamis.selection.filtering import filtered, stated_languages, with_heirs
from tamis.selection.keep_out import kept_out_of
from tamis.selection.stage import SCORED
from tamis.settings.budget import Per
from tamis.settings.config import FiltersSection, SelectionSection
from tamis.settings.samplers import AWAY_SCORE, METHOD_SCORE, OWN_SCORE, QUALITY_SCORES, score_of
from tamis.settings.sections import ScoreSection
from tamis.settings.tokenizer import BYTES_PER_TOKEN
from tamis.store.tables import Store
from tamis.tokens.stage import TOKEN_COUNTS
from tamis.topics.storing import read_topics
from tamis.training.stage import PERPLEXITY_STAGE
from tamis.transport.stage import POOL_POTENTIAL, TRANSPORT

UNKNOWN = "unknown"
"""The group of documents of which nothing says where they belong."""
_SCORES = {
    column: stage for stage in SCORED for table in stage.tables if not table.many for column in table.scores
}
"""The stage that computes each score that does not depend on a target."""
_SCORED_BY = {
    QUALITY_STAGE.name: (EMBEDDINGS_STAGE.name, JUDGE_STAGE.name),
    PERPLEXITY_STAGE.name: (PERPLEXITY_STAGE.name,),
}
"""Stages that a score comes from, which may have set a document aside; of the others the encoder."""


def candidates(store: Store, section: SelectionSection, scores: Sequence[ScoreSection] = ()) -> pl.DataFrame:
    """A row per document: doc_id, n_tokens, is_estimated, and the stored score columns of the sampler.

    `scores`: those of the project, of which the sampler and the quality of the selection may name one.
    """
    columns = find_sampler(section.sampler).score_columns
    own = _own_scores(section, scores)
    stored = tuple(name for name in columns if name not in (METHOD_SCORE, AWAY_SCORE, *own))
    pool = with_scores(store, stored, section.target)
    for column, (score, computed) in own.items():
        if column in columns:
            values = read_score(store, score).select("doc_id", computed.alias(column))
            pool = pool.join(values, on="doc_id", how="left", maintain_order="left")
    if AWAY_SCORE not in columns:
        return pool
    away = with_scores(store, ("transport_gradient",), section.away_from)
    return pool.join(away.select("doc_id", pl.col("transport_gradient").alias(AWAY_SCORE)), on="doc_id")


def _own_scores(section: SelectionSection, scores: Sequence[ScoreSection]) -> dict[str, tuple[str, pl.Expr]]:
    """Return score columns that come from a [[score]]: its name, and how they follow from its `value`."""
    known = {score.name: score for score in scores}
    own: dict[str, tuple[str, pl.Expr]] = {}
    if (name := score_of(section.sampler)) is not None:
        own[OWN_SCORE] = name, best_first(known[name])
    if section.quality is not None:
        ways = (as_quality, as_log_odds)
        for column, way in zip(QUALITY_SCORES, ways, strict=True):
            own[column] = section.quality, way(known[section.quality])
    return own


def with_scores(store: Store, columns: tuple[str, ...], target: str | None) -> pl.DataFrame:
    """A row per document with its tokens and these score columns; one without a score has null."""
    pool = token_sizes(store)
    for column in columns:
        stage = _SCORES.get(column)
        of_target = POOL_POTENTIAL if column in POOL_POTENTIAL.scores else TRANSPORT
        table = stage.tables[0].name if stage else f"{of_target.name}_{target}"
        if store.exists(table):
            scores = store.read(table, ["doc_id", column]).with_columns(pl.col(column).cast(pl.Float64))
            pool = pool.join(scores, on="doc_id", how="left")
        else:
            pool = pool.with_columns(pl.lit(None, dtype=pl.Float64).alias(column))
    return pool


def groups(store: Store, per: Per) -> pl.DataFrame:
    """Return doc_id and group of every document: the source it is counted for, its topic, or its language.

    Of several languages that its places state it is the first by the alphabet; `UNKNOWN` where none does.
    """
    if per == "source":
        places = store.read(OCCURRENCES.name, ["doc_id", "shard", "source"])
        found = stored_sources(store, places).rename({"source": "group"})
    elif per == "topic":
        found = read_topics(store).rename({"topic": "group"})
    else:
        places = store.read(OCCURRENCES.name, ["doc_id", "language"])
        found = stated_languages(places, ()).rename({"language": "group"})
    pool = store.read(DOCUMENTS.name, ["doc_id"]).join(found, on="doc_id", how="left")
    return pool.select("doc_id", pl.col("group").fill_null(UNKNOWN))


def name_set_aside(store: Store, decided: pl.DataFrame, section: SelectionSection) -> pl.DataFrame:
    """The decisions with the reason why a document has no score, where a stage set it aside.

    Of a [[score]] that it has no value of, that one is the detail.
    """
    own = {OWN_SCORE: score_of(section.sampler), **dict.fromkeys(QUALITY_SCORES, section.quality)}
    columns = [name for name in find_sampler(section.sampler).score_columns if own.get(name) is None]
    for name, score in own.items():
        if score is not None and name in decided.columns:
            lacking = (pl.col("reason") == Reason.NO_SCORE.value) & pl.col(name).is_null()
            detail = pl.when(lacking).then(pl.lit(f"no value of {score}")).otherwise("detail")
            decided = decided.with_columns(detail=detail)
    if not columns:
        return decided
    scored = [_SCORES[column].name if column in _SCORES else "" for column in columns]
    stages = sorted({name for stage in scored for name in _SCORED_BY.get(stage, (EMBEDDINGS_STAGE.name,))})
    aside = read_refused(store, stages).sort("stage").unique("doc_id", keep="first", maintain_order=True)
    if not len(aside):
        return decided
    named = decided.join(
        aside.select("doc_id", pl.col("reason").alias("why")), on="doc_id", how="left", maintain_order="left"
    )
    without = (pl.col("reason") == Reason.NO_SCORE.value) & pl.col("why").is_not_null()
    return named.with_columns(reason=pl.when(without).then("why").otherwise("reason")).drop("why")


def exclusions(
    store: Store, filters: FiltersSection | None = None, unmet: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Documents that may not be selected: doc_id, reason, duplicate_of, detail; one row a document.

    The order of reasons is that of severity: what would leak the evaluation is named first. `unmet`: doc_id
    and detail of documents that the condition of a selection is not true of.
    """
    examples = store.read(TARGET_EXAMPLES.name, ["doc_id", "split"])
    examples = with_passages(store, examples)
    held_out = examples.filter(pl.col("split") == "held_out").select(
        "doc_id", _reason(Reason.HELD_OUT_EXAMPLE)
    )
    train = examples.filter(pl.col("split") == "train").select("doc_id", _reason(Reason.TARGET_EXAMPLE))
    shared = store.read("contamination", ["doc_id"]).select("doc_id", _reason(Reason.CONTAMINATED))
    given_away = kept_out_of(store).with_columns(_reason(Reason.KEEP_OUT))
    broken = filtered(store, filters or FiltersSection())
    if unmet is not None:
        broken = pl.concat([broken, unmet.select("doc_id", _reason(Reason.WHERE), "detail")])
    named = pl.concat([held_out, train, shared, given_away, broken], how="diagonal")
    near = with_heirs(repeats(store).rename({"kept": "duplicate_of"}), named, broken)
    near = near.with_columns(_reason(Reason.NEAR_DUPLICATE))
    return one_exclusion_each(pl.concat([named, near], how="diagonal"))


def leaking(store: Store) -> pl.DataFrame:
    """Return the documents that would leak the evaluation or a benchmark: doc_id, reason, detail.

    One row a document; the detail names the benchmarks, and is null for other reasons.
    """
    held_out = with_passages(store, store.read(TARGET_EXAMPLES.name, ["doc_id"], "split = 'held_out'"))
    parts = {Reason.HELD_OUT_EXAMPLE: held_out, Reason.CONTAMINATED: store.read("contamination", ["doc_id"])}
    named = [part.select("doc_id", _reason(reason)) for reason, part in parts.items()]
    named.append(kept_out_of(store).with_columns(_reason(Reason.KEEP_OUT)))
    return one_exclusion_each(pl.concat(named, how="diagonal")).select("doc_id", "reason", "detail")


def repeats(store: Store) -> pl.DataFrame:
    """Return documents that repeat another in words or, where compared, in their vector: doc_id, kept.

    The one kept represents all that repeat it: a document whose words repeat one whose vector repeats a third
    one names the third.
    """
    words = store.read(NEAR_DUPLICATES.name, ["doc_id", "kept"])
    vectors = store.read(NEAR_COPIES.name, ["doc_id", "kept"])
    words = words.join(vectors.rename({"doc_id": "kept", "kept": "last"}), on="kept", how="left").select(
        "doc_id", pl.coalesce("last", "kept").alias("kept")
    )
    return pl.concat([words, vectors]).unique("doc_id", keep="first", maintain_order=True)


def _reason(reason: Reason) -> pl.Expr:
    return pl.lit(str(reason)).alias("reason")


def with_texts(store: Store, ranks: pl.DataFrame) -> pl.DataFrame:
    """Return chosen documents, given by doc_id and rank, in their order with their texts, if stored."""
    blocks = list(store.by_ids(DOCUMENTS.name, ranks["doc_id"].to_list(), ["doc_id", "text"]))
    none = pl.DataFrame(schema={"doc_id": pl.String, "text": pl.String})
    texts = pl.concat([none, *(pl.DataFrame(pl.from_arrow(block)) for block in blocks)])
    return ranks.join(texts, on="doc_id", how="inner").sort("rank")


def mean_margin(decisions: pl.DataFrame) -> float:
    """Mean distance of the selected documents to the cut."""
    value = decisions.filter(pl.col("verdict") == "selected")["margin"].drop_nulls().mean()
    return float(value) if isinstance(value, float) and math.isfinite(value) else 0.0


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The tokens of some documents; of how many of these they are estimated."""

    tokens: int
    documents: int
    estimated: int

    @property
    def words(self) -> str:
        """As every page and message says it."""
        return tokens_in_words(self.tokens, self.documents, self.estimated)


def estimated_tokens(n_bytes: pl.Expr) -> pl.Expr:
    """Return the tokens of texts of so many bytes of UTF-8, where no tokenizer has counted: at least one."""
    return (n_bytes.cast(pl.Float64) / BYTES_PER_TOKEN).ceil().cast(pl.Int64).clip(lower_bound=1)


def token_sizes(store: Store) -> pl.DataFrame:
    """Return doc_id, n_tokens and is_estimated of every document.

    The same counts serve all selections, so budgets of the same size are as many tokens in each.
    """
    sizes = store.read(DOCUMENTS.name, ["doc_id", "n_bytes"])
    counted = store.read(TOKEN_COUNTS.name, ["doc_id", "n_tokens"])
    return sizes.join(counted, on="doc_id", how="left", maintain_order="left").select(
        "doc_id",
        pl.coalesce("n_tokens", estimated_tokens(pl.col("n_bytes"))).alias("n_tokens"),
        pl.col("n_tokens").is_null().alias("is_estimated"),
    )


def tokens_of(sizes: pl.DataFrame, documents: pl.DataFrame) -> Tokens:
    """Return the tokens of these documents (doc_id), by the sizes of the pool.

    Those of a document that a training set has several times (training_count) count as often.
    """
    if "training_count" not in documents.columns:
        documents = documents.with_columns(training_count=pl.lit(1))
    found = sizes.join(documents.select("doc_id", pl.col("training_count").fill_null(1)), on="doc_id")
    return Tokens(
        tokens=int((found["n_tokens"] * found["training_count"]).sum()),
        documents=len(found),
        estimated=int(found["is_estimated"].sum()),
    )


def stored_count(count: str) -> pl.Expr:
    """Return a count as tables have it, in `training_count`: null unless it is over 1."""
    return pl.when(pl.col(count) > 1).then(pl.col(count)).alias("training_count")


def training_order(counts: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return (doc_id, pass) of the documents of a training set, each as often as it is in it, shuffled.

    counts: doc_id and count. The copies of a document are spread evenly over the set, so the mixture is the
    same at every moment of a training, and no copies follow each other.
    """
    copies = (
        counts.filter(pl.col("count") > 0)
        .select("doc_id", "count", pl.int_ranges("count").alias("pass"))
        .explode("pass")
    )
    ordered = []
    for (number,), part in copies.group_by("pass", maintain_order=True):
        drawn = pl.Series(keyed_uniform(part["doc_id"], seed, f"pass {number}"), dtype=pl.Float64)
        ordered.append(part.with_columns(place=(pl.col("pass") + drawn) / pl.col("count")))
    return (
        pl.concat(ordered or [copies.with_columns(place=0.0)])
        .sort("place", "doc_id")
        .select("doc_id", "pass")
    )
