"""What changed between two versions of a selection: which documents came in or went out, and why.

The cause of a document, the first of these that applies: it was not there before, or is not any more; a
reason that excludes it came or went; the cut moved past its old rank; documents that came are ahead of it
now, or documents that left were, and without them it would be on the same side of the cut as before; its
score is what it was, so that others overtook it or made room; else its score changed. A score that is fitted
again changes a little for every document, so a change of score alone proves nothing. Where a budget is
divided, ranks and cuts are those inside the group.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import polars as pl

from tamis.scores.scale import best_first
from tamis.scores.storing import read_score
from tamis.selection import SAMPLERS, find_sampler, select
from tamis.selection.decide import OVER_GROUP, Reason
from tamis.selection.pool import exclusions, with_scores
from tamis.settings.config import FiltersSection
from tamis.settings.samplers import AWAY_SCORE, OWN_SCORE, SCORE
from tamis.settings.sections import ScoreSection
from tamis.store.tables import Store

RANKED = (Reason.WITHIN_BUDGET, Reason.OVER_BUDGET, *OVER_GROUP.values())
NOT_SCORES = frozenset(
    {"doc_id", "selection", "verdict", "reason", "rank", "margin", "duplicate_of", "detail"}
    | {"budget_group", "training_count", "place"}
)
COLUMNS = (
    "doc_id", "change", "cause", "reason_before", "reason_after", "detail", "rank_before", "rank_after",
    "margin_before", "margin_after", "duplicate_of",
)  # fmt: skip
_SCHEMA = {
    "sampler_a": pl.String,
    "sampler_b": pl.String,
    "jaccard": pl.Float64,
    "kendall_tau": pl.Float64,
    "ranked_by_both": pl.Int64,
}


class Cause(StrEnum):
    """Why a document came in or went out, where no reason of exclusion says it."""

    NEW_DOCUMENT = "new_document"  # was not in the corpora before
    REMOVED_DOCUMENT = "removed_document"  # is in none of the corpora any more
    WITHDRAWN = "withdrawn"  # was taken back by its owner
    BUDGET = "budget"  # the cut moved, its old rank would do (or no longer does)
    OTHERS = "others"  # others came before it, left, or changed their scores
    SCORE = "score"  # its score changed


def changes(before: pl.DataFrame, after: pl.DataFrame, withdrawn: pl.DataFrame) -> pl.DataFrame:
    """A row per document that is chosen in one of two tables of decisions only: `COLUMNS`.

    `withdrawn`: doc_id of what its owners took back. In before out, each by rank. `detail` and
    `duplicate_of` belong to the reason that excludes: the one of now of what went out, else the one before.
    """
    both = _paired(before, after).filter(pl.col("was") != pl.col("is"))
    both = both.with_columns(taken_back=pl.col("doc_id").is_in(withdrawn["doc_id"].implode()))
    named = pl.when(pl.col("is")).then(pl.lit("_before")).otherwise(pl.lit("_after")) == "_before"
    stated = [
        pl.when(named).then(pl.col(f"{name}_before")).otherwise(pl.col(f"{name}_after")).alias(name)
        for name in ("detail", "duplicate_of")
    ]
    change = pl.when("is").then(pl.lit("in")).otherwise(pl.lit("out")).alias("change")
    return (
        both.with_columns(change, _cause().alias("cause"), *stated)
        .sort("change", "rank_after", "rank_before", "doc_id", nulls_last=True)
        .select(COLUMNS)
    )


def _paired(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Decisions side by side, a row for every document of either.

    `same`: no score of it changed; `place`: its rank, in the group of a budget that is divided; `cut`:
    documents chosen now, of its group; `came`, `left`: how many documents ranked ahead of it are ranked only
    now, or were only before.
    """
    before, after = _with_places(before, after.columns), _with_places(after, before.columns)
    scores = [name for name in before.columns if name not in NOT_SCORES]
    sides = [
        frame.select("doc_id", pl.exclude("doc_id").name.suffix(suffix))
        for frame, suffix in ((before, "_before"), (after, "_after"))
    ]
    same = [pl.col(f"{name}_before").eq_missing(pl.col(f"{name}_after")) for name in scores]
    both = sides[0].join(sides[1], on="doc_id", how="full", coalesce=True)
    group = pl.coalesce("budget_group_after", "budget_group_before")
    cut = (pl.col("verdict_after") == "selected").fill_null(False).sum().over("group")
    both = both.with_columns(group=group).with_columns(cut=cut)
    for here, there, name in (("after", "before", "came"), ("before", "after", "left")):
        alone = pl.col(f"rank_{here}").is_not_null() & pl.col(f"rank_{there}").is_null()
        ahead = alone.cum_sum().over("group").alias(name)
        both = both.sort(f"rank_{here}", nulls_last=True).with_columns(ahead)
    return both.with_columns(
        (pl.col("verdict_before") == "selected").fill_null(False).alias("was"),
        (pl.col("verdict_after") == "selected").fill_null(False).alias("is"),
        (pl.all_horizontal(same) if same else pl.lit(True)).alias("same"),
    )


def _with_places(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """The frame with places, with these columns, and with those that tables have not always had."""
    needed = dict.fromkeys((*names, "detail", "budget_group"))
    frame = frame.with_columns(pl.lit(None).alias(name) for name in needed if name not in frame.columns)
    divided = frame["budget_group"].count() > 0
    place = pl.col("rank").rank("ordinal").over("budget_group") if divided else pl.col("rank")
    return frame.with_columns(pl.col("budget_group").cast(pl.String), place=place.cast(pl.Int64))


def _cause() -> pl.Expr:
    """The cause of a change."""
    old_rank_does = pl.col("place_before") <= pl.col("cut")
    excluded = pl.coalesce(_excluding("reason_after"), _excluding("reason_before"))
    return (
        pl.when(pl.col("reason_after").is_null())
        .then(pl.when("taken_back").then(_lit(Cause.WITHDRAWN)).otherwise(_lit(Cause.REMOVED_DOCUMENT)))
        .when(pl.col("reason_before").is_null())
        .then(_lit(Cause.NEW_DOCUMENT))
        .when(excluded.is_not_null())
        .then(excluded)
        .when(old_rank_does == pl.col("is"))
        .then(_lit(Cause.BUDGET))
        .when(
            pl.col("same")
            | pl.when("is")
            .then(pl.col("place_before") - pl.col("left") <= pl.col("cut"))
            .otherwise(pl.col("place_after") - pl.col("came") <= pl.col("cut"))
        )
        .then(_lit(Cause.OTHERS))
        .otherwise(_lit(Cause.SCORE))
    )


def _excluding(column: str) -> pl.Expr:
    """A reason that is not about the rank, null otherwise."""
    return pl.when(~pl.col(column).is_in([str(reason) for reason in RANKED])).then(pl.col(column))


def _lit(cause: Cause) -> pl.Expr:
    return pl.lit(str(cause))


def compare_decisions(decisions: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per pair of samplers, given as name -> decisions of `select` over one pool.

    `jaccard` of the selected sets (null when both are empty); `kendall_tau` (tau-b, in [-1, 1]) of the
    ranks of the documents eligible in both, of which there are `ranked_by_both` (null under two).
    """
    return pl.DataFrame(
        [
            {"sampler_a": first, "sampler_b": second, **_agreement(decisions[first], decisions[second])}
            for first, second in combinations(sorted(decisions), 2)
        ],
        schema=_SCHEMA,
    )


def _agreement(first: pl.DataFrame, second: pl.DataFrame) -> dict[str, float | None]:
    from scipy.stats import kendalltau

    both = first.select("doc_id", "rank", "verdict").join(
        second.select("doc_id", "rank", "verdict"), on="doc_id", how="full", coalesce=True
    )
    chosen = [(pl.col(name) == "selected").fill_null(False) for name in ("verdict", "verdict_right")]
    shared, either = both.select((chosen[0] & chosen[1]).sum(), union=(chosen[0] | chosen[1]).sum()).row(0)
    ranked = both.drop_nulls(["rank", "rank_right"])
    ranks = ranked["rank"].to_numpy(), ranked["rank_right"].to_numpy()
    return {
        "jaccard": shared / either if either else None,
        "kendall_tau": float(kendalltau(*ranks).statistic) if ranked.height > 1 else None,
        "ranked_by_both": ranked.height,
    }


def compare_samplers(
    store: Store,
    budget: int | str,
    target: str,
    seed: int,
    filters: FiltersSection | None = None,
    scores: Sequence[ScoreSection] = (),
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairwise agreement (sampler_a, sampler_b, jaccard, kendall_tau), and one row a sampler.

    The second frame holds sampler, description, selected, mean of each score over the chosen documents.
    `scores`: those of the project, each of which is compared as a sampler, too.
    """
    stored = (sampler.score_columns for sampler in SAMPLERS.values() if not sampler.method)
    columns = tuple(dict.fromkeys(name for names in stored for name in names if name != AWAY_SCORE))
    pool = with_scores(store, columns, target)
    available = [name for name in columns if pool[name].null_count() < len(pool)]
    excluded = exclusions(store, filters)
    decided = {
        name: select(pool, name, budget, seed, exclusions=excluded)
        for name, sampler in sorted(SAMPLERS.items())
        if set(sampler.score_columns) <= set(available) and sampler.method is None
    }
    for score in scores:
        values = read_score(store, score.name).select("doc_id", best_first(score).alias(OWN_SCORE))
        own = pool.join(values, on="doc_id", how="left", maintain_order="left")
        name = f"{SCORE}:{score.name}"
        if own[OWN_SCORE].count():
            decided[name] = select(own, name, budget, seed, exclusions=excluded)
    rows = [_chosen_row(name, frame, pool, available) for name, frame in decided.items()]
    return compare_decisions(decided), pl.DataFrame(rows)


def _chosen_row(
    name: str, decided: pl.DataFrame, pool: pl.DataFrame, columns: list[str]
) -> dict[str, str | int | float | None]:
    chosen = decided.filter(pl.col("verdict") == "selected").select("doc_id")
    means = pool.join(chosen, on="doc_id", how="semi").select(pl.col(columns).mean()).row(0, named=True)
    return {
        "sampler": name,
        "description": find_sampler(name).description,
        "selected": len(chosen),
        **{f"mean_{column}": value for column, value in means.items()},
    }


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """Decisions as they were, a row per document of today; `gone`: chosen then, but no longer there."""

    decisions: pl.DataFrame
    gone: list[str]


def repeated(then: pl.DataFrame, pool: pl.DataFrame, leaking: pl.DataFrame | None = None) -> Repeated:
    """Return the decisions of an earlier version, for the documents of `pool` (doc_id), ordered by doc_id.

    Ranks stay what they were, so one that is missing belonged to a document that is gone. What came since is
    rejected with the reason that it came later. `leaking` (doc_id, reason, maybe detail): what would leak the
    evaluation or a benchmark as they are now; of the chosen documents these are rejected with that reason.
    """
    kept = then.join(pool, on="doc_id", how="semi")
    if leaking is not None:
        leaked = pl.col("leak").is_not_null() & (pl.col("verdict") == "selected")
        absent = [name for name in ("rank", "margin", "training_count") if name in then.columns]
        details = ["detail"] if "detail" in leaking.columns and "detail" in then.columns else []
        kept = (
            kept.join(leaking.rename({"reason": "leak"}), on="doc_id", how="left", suffix="_leaking")
            .with_columns(
                pl.when(leaked).then("leak").otherwise("reason").alias("reason"),
                pl.when(leaked).then(pl.lit("rejected")).otherwise("verdict").alias("verdict"),
                *(pl.when(~leaked).then(name).alias(name) for name in absent),
                *(pl.when(leaked).then(f"{name}_leaking").otherwise(name).alias(name) for name in details),
            )
            .select(then.columns)
        )
    later = pool.join(then, on="doc_id", how="anti").select(
        "doc_id", verdict=pl.lit("rejected"), reason=pl.lit(str(Reason.ARRIVED_LATER))
    )
    chosen = then.filter(pl.col("verdict") == "selected").sort("rank")
    return Repeated(
        decisions=pl.concat([kept, later], how="diagonal").sort("doc_id"),
        gone=chosen.join(pool, on="doc_id", how="anti", maintain_order="left")["doc_id"].to_list(),
    )
