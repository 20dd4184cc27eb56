"""A decision with its reason for every candidate: exclude, rank, cut.

Only ranks, ids and the seed decide, never row order, so shards may arrive and be joined in any order.
A million candidates take about 2 s, most of it one keyed hash each for the samplers that draw.
"""

import hashlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tamis.base.arguments import as_frame
from tamis.base.numbers import tokens_in_words
from tamis.coverage.keyed_hash import keyed_gumbel, keyed_hash, keyed_uniform
from tamis.coverage.sampling import inverse_propensity_keys
from tamis.selection.errors import BadColumnError, BudgetExceedsPool, MissingColumnsError, RepeatedIdsError
from tamis.selection.reasons import Reason, one_exclusion_each
from tamis.settings.budget import Budget, parse_budget
from tamis.settings.samplers import DEFAULT_OPTIONS, Options, Sampler, complete_options, find_sampler


def select(
    candidates: pl.DataFrame,
    sampler: str,
    budget: int | str,
    seed: int = 0,
    *,
    exclusions: pl.DataFrame | None = None,
    options: Options | None = None,
) -> pl.DataFrame:
    """Decisions of one sampler over a pool: a row per candidate, ordered by doc_id.

    Frames are of polars or pandas.

    `candidates`: doc_id and the sampler's score columns (numbers, nullable), for a budget in tokens also
    n_tokens, and is_estimated where no tokenizer counted them. `budget`: documents (1000), a share of the
    eligible candidates ("10%", rounded down, at least one), or tokens ("2Mtok", "500ktok": best first,
    stopping at the first that does not fit). `exclusions`: doc_id, reason (see `reasons.EXCLUSIONS`),
    duplicate_of, detail. `options`: {"quality_weight": 1.0}.

    Returns doc_id, verdict ("selected" | "rejected"), reason (`Reason`), rank (from 1, null when not
    eligible), margin, duplicate_of, the score columns, and detail where the exclusions have it. The margin
    is the distance of the sampler's key to the cut, halfway between the last key selected and the first
    rejected, positive on the selected side; the key is the score, its sign turned where small is good (for
    samplers that draw, the random key). Equal keys are ordered by a hash of the doc_id.

    Raises `UnknownNameError` (sampler, option, reason), `BadBudgetError`, `MissingColumnsError`,
    `BadColumnError`, `RepeatedIdsError`; warns `BudgetExceedsPool` and selects all when too few are eligible.
    """
    limit = parse_budget(budget)
    ranking = Ranking(sampler=find_sampler(sampler), seed=seed, options=complete_options(options))
    candidates = as_frame("candidates", candidates)
    exclusions = None if exclusions is None else as_frame("exclusions", exclusions)
    pool = with_exclusions(candidates, ranking, limit, exclusions)
    ranked = ranked_by(pool.filter(pl.col("reason").is_null()), ranking)
    shown = ["detail"] if exclusions is not None and "detail" in exclusions.columns else []
    return with_verdicts(pool, _decided(ranked, _number_selected(ranked, limit)), ranking, shown)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How eligible documents are ordered: by a sampler, with its options; `seed` draws, and orders ties."""

    sampler: Sampler
    seed: int = 0
    options: Options = field(default_factory=lambda: DEFAULT_OPTIONS)


def with_exclusions(
    candidates: pl.DataFrame, ranking: Ranking, limit: Budget, exclusions: pl.DataFrame | None
) -> pl.DataFrame:
    """Return the candidates, checked, each with the reason that keeps it out, null where it is eligible."""
    pool = _checked(candidates, ranking.sampler, limit)
    pool = pool.join(one_exclusion_each(exclusions), on="doc_id", how="left")
    return pool.with_columns(reason=pl.coalesce("reason", _no_score(ranking.sampler, limit, ranking.options)))


def with_verdicts(
    pool: pl.DataFrame, decided: pl.DataFrame, ranking: Ranking, more: Sequence[str] = ()
) -> pl.DataFrame:
    """Return decisions about the whole pool, ordered by doc_id, with these further columns at the end.

    `decided`: doc_id, rank, margin, verdict and reason of the eligible, and maybe a detail.
    """
    said = ["detail_right"] if "detail" in decided.columns else []
    return (
        pool.drop("n_tokens", "is_estimated", strict=False)
        .join(decided, on="doc_id", how="left")
        .with_columns(
            verdict=pl.coalesce("verdict", pl.lit("rejected")),
            reason=pl.coalesce("reason", "reason_right"),
            detail=pl.coalesce("detail", *said),
        )
        .sort("doc_id")
        .select(
            "doc_id",
            "verdict",
            "reason",
            "rank",
            "margin",
            "duplicate_of",
            *ranking.sampler.score_columns,
            *more,
        )
    )


def selection_digest(decisions: pl.DataFrame) -> str:
    """SHA-256 (hex) over the chosen doc_ids, a line each, in rank order: the data version of a selection.

    After the id comes `training_count`, where the document is in the training set several times. Raises
    `MissingColumnsError` for a frame without decisions.
    """
    decisions = as_frame("decisions", decisions)
    if missing := [name for name in ("doc_id", "verdict", "rank") if name not in decisions.columns]:
        raise MissingColumnsError("decisions", missing, "the digest of a selection", decisions.columns)
    chosen = decisions.filter(pl.col("verdict") == "selected").sort("rank")
    lines = chosen["doc_id"].to_list()
    if "training_count" in chosen.columns:
        times = chosen["training_count"].cast(pl.Int64).to_list()  # of pandas they are floats
        lines = [f"{one} {count}" if count else one for one, count in zip(lines, times, strict=True)]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _checked(candidates: pl.DataFrame, sampler: Sampler, limit: Budget) -> pl.DataFrame:
    """doc_id (unique strings), the score columns as Float64 without NaN, n_tokens for budgets in tokens."""
    tokens = ("n_tokens",) if limit.unit == "tokens" else ()
    needed = ("doc_id", *sampler.score_columns, *tokens, *(("vector",) if sampler.needs_vectors else ()))
    if missing := [name for name in needed if name not in candidates.columns]:
        purpose = f"sampler {sampler.name!r}" + (" and a budget in tokens" if tokens else "")
        raise MissingColumnsError("candidates", missing, purpose, candidates.columns)
    for name in (*sampler.score_columns, *tokens):
        if not (candidates.schema[name].is_numeric() or candidates.schema[name] == pl.Null):
            raise BadColumnError(name, str(candidates.schema[name]), "numbers")
    if candidates.schema["doc_id"] != pl.String or candidates["doc_id"].has_nulls():
        raise BadColumnError("doc_id", f"{candidates.schema['doc_id']} or nulls", "strings")
    if (repeated := candidates["doc_id"].filter(candidates["doc_id"].is_duplicated()).unique()).len():
        raise RepeatedIdsError(repeated.sort().head(5), repeated.len())
    if tokens and candidates.select((pl.col("n_tokens") < 0).any()).item():
        raise BadColumnError("n_tokens", "a negative number", "numbers of tokens")
    numbers = [pl.col(name).cast(pl.Float64).fill_nan(None) for name in (*sampler.score_columns, *tokens)]
    known = pl.col("is_estimated") if "is_estimated" in candidates.columns else pl.lit(False)
    return candidates.select("doc_id", *numbers, known.alias("is_estimated"))


def _no_score(sampler: Sampler, limit: Budget, options: Options) -> pl.Expr:
    """The reason of documents that lack a number which the ranking or the budget needs, else null."""
    needed = [pl.col(name) for name in sampler.score_columns]
    needed += [sampler.score(options)] if sampler.score_columns else []
    needed += [pl.col("n_tokens")] if limit.unit == "tokens" else []
    complete = pl.all_horizontal(pl.lit(True), *(value.is_finite().fill_null(False) for value in needed))
    return pl.when(~complete).then(pl.lit(Reason.NO_SCORE.value))


def ranked_by(eligible: pl.DataFrame, ranking: Ranking, within: str | None = None) -> pl.DataFrame:
    """Return eligible documents best first, with `key` (large is good) and `rank`.

    `within`: the column of the groups inside which scores that compare documents are computed.
    """
    keyed = eligible.with_columns(_keys(eligible, ranking, within).alias("key"))
    return (
        keyed.with_columns(_ties(keyed, ranking.seed).alias("tie"))
        .sort("key", "tie", "doc_id", descending=[True, False, False])
        .with_row_index("rank", offset=1)
        .with_columns(pl.col("rank").cast(pl.Int64))
    )


def _keys(eligible: pl.DataFrame, ranking: Ranking, within: str | None) -> pl.Series:
    sampler, seed = ranking.sampler, ranking.seed
    if sampler.rule == "uniform":
        return pl.Series(keyed_uniform(eligible["doc_id"], seed, "uniform draw"), dtype=pl.Float64)
    computed = sampler.score(ranking.options)
    score = eligible.select(score=computed.over(within) if within else computed)["score"]
    if sampler.rule == "inverse_propensity":
        return pl.Series(inverse_propensity_keys(eligible["doc_id"].to_list(), score.to_numpy(), seed))
    if sampler.rule == "softmax":  # Gumbel top-k: the largest of log weight + Gumbel noise
        return score + pl.Series(keyed_gumbel(eligible["doc_id"], seed, "softmax draw"))
    return (score if sampler.direction == "highest" else -score) + 0.0  # turns -0.0 into 0.0


def _ties(keyed: pl.DataFrame, seed: int) -> pl.Series:
    """Hashes that order equal keys; 0 where the key is unique, which spares most documents the hash."""
    tied = keyed["key"].is_duplicated().to_numpy()
    hashes = np.zeros(len(keyed), dtype=np.uint64)
    hashes[tied] = keyed_hash(keyed["doc_id"].filter(tied), seed, "tie")
    return pl.Series(hashes)


def _number_selected(ranked: pl.DataFrame, limit: Budget) -> int:
    if limit.unit == "percent":
        return min(ranked.height, max(1, math.floor(ranked.height * limit.amount / 100)))
    in_tokens = limit.unit == "tokens"
    running = ranked["n_tokens"].cast(pl.Int64).cum_sum() if in_tokens else ranked["rank"]
    total = int(running[-1]) if len(running) else 0
    if limit.amount > total:
        unit = limit.unit.removesuffix("s") if limit.amount == 1 else limit.unit
        asked = f"the budget is {float(limit.amount):,.0f} {unit}"
        there = f"only {total:,} {'is' if total == 1 else 'are'} eligible"
        if in_tokens:
            words = tokens_in_words(total, ranked.height, int(ranked["is_estimated"].sum()))
            there = f"the eligible documents have only {words}"
        result = f"{there}: all are selected" if len(ranked) else "no document is eligible"
        warnings.warn(f"{asked}, but {result}", BudgetExceedsPool, stacklevel=3)
    return int((running <= math.floor(limit.amount)).sum())


def _decided(ranked: pl.DataFrame, number: int) -> pl.DataFrame:
    """doc_id, verdict, reason, rank and margin of the eligible when the first `number` are selected."""
    keys = ranked["key"].to_numpy()
    around = keys[max(number - 1, 0) : number + 1]  # the last selected and the first rejected, where they are
    cut = float(around.mean()) if around.size else 0.0
    inside = pl.col("rank") <= number
    return ranked.select(
        "doc_id",
        "rank",
        margin=pl.col("key") - cut,
        verdict=pl.when(inside).then(pl.lit("selected")).otherwise(pl.lit("rejected")),
        reason=pl.when(inside)
        .then(pl.lit(Reason.WITHIN_BUDGET.value))
        .otherwise(pl.lit(Reason.OVER_BUDGET.value)),
    )
