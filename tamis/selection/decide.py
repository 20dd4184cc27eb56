"""A decision with its reason for every candidate: exclude, rank, cut; and the score that decided."""

import contextlib
import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.arguments import as_frame
from tamis.base.errors import UnknownNameError
from tamis.base.numbers import tokens_in_words
from tamis.coverage.sampling import inverse_propensity_keys, keyed_gumbel, keyed_hash, keyed_uniform
from tamis.selection.errors import BadColumnError, BudgetExceedsPool, MissingColumnsError, RepeatedIdsError
from tamis.settings.budget import Budget, Per, parse_budget
from tamis.settings.samplers import (
    DEFAULT_OPTIONS,
    SAMPLERS,
    Options,
    Sampler,
    complete_options,
    find_sampler,
)

_EMPTY = {"doc_id": pl.String, "reason": pl.String, "duplicate_of": pl.String, "detail": pl.String}
SCORES: dict[str, str] = {
    "transport_gradient": "How much the optimal transport distance between the pool and the target grows "
    "when this document gets more weight; no unit, smaller is better.",
    "pool_potential": "How far the document is from other documents of the pool, the nearest counting most; "
    "no unit, small where the pool is crowded.",
    "gradient_away": "How much the optimal transport distance between the pool and the target to keep away "
    "from grows when this document gets more weight; no unit, larger is better.",
    "quality": "Quality from 0 (worst) to 1 (best); rises with the predicted log odds that the judge calls "
    "the text worth training on.",
    "judge_margin_predicted": "Predicted log odds that the judge calls the text worth training on; larger is "
    "better.",
    "density": "How many similar documents the pool contains; documents are drawn with weight 1 / density.",
    "nearest_cost": "Transport cost from the document to the nearest target example; no unit, smaller is "
    "nearer.",
    "method_score": "Score that the sampler computed itself for this selection; the document with the "
    "smallest score is selected first.",
    "own_score": "Score of yours, from a column of the rows, that the sampler ranks by; its sign is turned "
    "where a higher value is worse, so larger is better.",
    "bits_per_byte": "Bits that a small language model needs per byte of the text, on average; fewer means "
    "that the text is more predictable.",
}
"""What each score is, for people."""


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
    KEEP_OUT = "keep_out"
    """Gives rows of a benchmark away that is kept out of training."""
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
    WHERE = "where"
    """The condition of the selection is not true of it."""
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
    Reason.KEEP_OUT,
    Reason.SOURCE,
    Reason.LICENCE,
    Reason.PERSONAL_DATA,
    Reason.LANGUAGE,
    Reason.HEURISTIC,
    Reason.WHERE,
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
    "boilerplate, repetition or a damaged text.",
    Reason.WHERE: "Does not meet the condition of the selection (`where`), or lacks a value that the "
    "condition compares.",
    Reason.LANGUAGE: "Is not in one of the wanted languages.",
    Reason.PERSONAL_DATA: "Contains more personal data (such as e-mail addresses and phone numbers) than "
    "allowed.",
    Reason.SOURCE: "Does not come from an allowed source.",
    Reason.LICENCE: "Does not have an allowed licence.",
    Reason.CONTAMINATED: "Shares long word sequences with the held-out examples of a target; training on "
    "such a document would make models look better than they are.",
    Reason.KEEP_OUT: "Repeats rows of a benchmark that is kept out of training; a model trained on the "
    "document would have seen the questions.",
    Reason.TARGET_EXAMPLE: "Is itself an example of a target, which is in use already or kept away.",
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
    return (
        pool.drop("n_tokens", "is_estimated", strict=False)
        .join(decided, on="doc_id", how="left")
        .with_columns(
            verdict=pl.coalesce("verdict", pl.lit("rejected")),
            reason=pl.coalesce("reason", "reason_right"),
            detail=pl.coalesce("detail", *(["detail_right"] if "detail" in decided.columns else [])),
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
    needed = [
        *(pl.col(name) for name in sampler.score_columns),
        *([sampler.score(options)] if sampler.score_columns else []),
        *([pl.col("n_tokens")] if limit.unit == "tokens" else []),
    ]
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


@dataclass(frozen=True, kw_only=True)
class DecidingScore:
    """Scores [n] of the eligible documents, whether each was chosen [n], and the cut (None for a draw).

    `divided`: each group of documents has a cut of its own, so there is none for all.
    """

    label: str
    scores: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    cut: float | None
    smaller_is_better: bool
    divided: bool = False


def used_score_columns(decisions: pl.DataFrame) -> tuple[str, ...]:
    """Return the known score columns that hold any value."""
    return tuple(name for name in SCORES if name in decisions.columns and decisions[name].count())


def sampler_of(decisions: pl.DataFrame, settings: Mapping[str, str]) -> Sampler | None:
    """Return the sampler named in the settings, or else the only one that uses these score columns."""
    if named := settings.get("sampler"):
        with contextlib.suppress(UnknownNameError):  # a plug-in that has left the project
            return find_sampler(named)
    used = set(used_score_columns(decisions))
    fitting = [sampler for sampler in SAMPLERS.values() if set(sampler.score_columns) == used and used]
    return fitting[0] if len(fitting) == 1 else None


def deciding_score(decisions: pl.DataFrame, settings: Mapping[str, str]) -> DecidingScore | None:
    """Return the deciding score over eligible documents; None for samplers that use no score."""
    sampler = sampler_of(decisions, settings)
    if (
        sampler is None
        or not sampler.score_columns
        or not set(sampler.score_columns) <= set(used_score_columns(decisions))
    ):
        return None
    options = {name: float(settings.get(name, value)) for name, value in DEFAULT_OPTIONS.items()}
    eligible = (
        decisions.filter(pl.col("rank").is_not_null())
        .with_columns(score=sampler.score(options).cast(pl.Float64))
        .filter(pl.col("score").is_finite())
    )
    if eligible.is_empty():
        return None
    smaller = sampler.rule == "top_k" and sampler.direction == "lowest"
    scores = eligible["score"].to_numpy()
    divided = "budget_group" in eligible.columns and eligible["budget_group"].count() > 0
    cut = None if sampler.rule != "top_k" or divided else _cut(scores, eligible["margin"], smaller)
    return DecidingScore(
        label=(sampler.formula.format(**options) or " + ".join(sampler.score_columns)).replace("_", " "),
        scores=scores,
        chosen=(eligible["verdict"] == "selected").to_numpy(),
        cut=cut,
        smaller_is_better=smaller,
        divided=divided,
    )


def _cut(scores: NDArray[np.float64], margins: pl.Series, smaller: bool) -> float | None:
    margin = margins.cast(pl.Float64).to_numpy()
    cuts = scores + margin if smaller else scores - margin
    known = cuts[np.isfinite(cuts)]
    return float(np.median(known)) if len(known) else None
