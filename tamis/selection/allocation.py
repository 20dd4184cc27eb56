"""A budget divided over groups of documents: sources, topics, languages.

Either every group has a target share (a mixture), or shares have bounds and the sampler's own order decides
within them. Shares are parts of the budget. In each group the best documents of the sampler are taken, whole
ones; where a mixture needs more of a group than it holds, its documents are taken several times.

Target shares: T_j = w_j T by largest remainders, floor(T_j / U_j) passes of all U_j that may be chosen and
a part pass of the rest. The last document of a part pass is taken when at most half of it is too much, so a
group is within half a document of its share.

Bounds: first each group's best documents up to its minimum, then the best of all whose group is under its
maximum, up to the first that the budget has no room for. For budgets in documents that is the best choice in
the sampler's order that keeps the bounds. No budget and no maximum is ever exceeded; a minimum is missed by
less than a document unless a `Shortfall` says more.
"""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import polars as pl

from tamis.base.numbers import counted, named
from tamis.selection.decide import OVER_GROUP, Ranking, Reason, ranked_by, with_exclusions, with_verdicts
from tamis.selection.errors import BadColumnError, BudgetExceedsPool, MissingColumnsError, SharesNotReached
from tamis.settings.budget import (
    ImpossibleSharesError,
    Per,
    Shares,
    check_bounds,
    check_shares,
    exact,
    parse_budget,
    share_of,
)


@dataclass(frozen=True, kw_only=True)
class TargetShares:
    """Shares that groups are to have: in sum 1 within 2 %; one that is not named gets nothing.

    `maximum_repetition`: how many passes over a group there may be, at least 1; what a group cannot take the
    others get, by their shares.
    """

    shares: Mapping[str, float]
    maximum_repetition: float = 1.0
    per: Per = "source"

    def __post_init__(self) -> None:
        check_shares("shares", self.shares)
        if abs((total := sum(self.shares.values())) - 1) > 0.02:
            raise ImpossibleSharesError("shares", None, total, "shares that add up to 1, within 2 %")
        if not (math.isfinite(self.maximum_repetition) and self.maximum_repetition >= 1):
            raise ImpossibleSharesError(
                "maximum_repetition", None, self.maximum_repetition, "a number of passes, 1 or more"
            )


@dataclass(frozen=True, kw_only=True)
class ShareBounds:
    """Least and largest shares of groups: one for all, or by group, where one not named is not bounded."""

    minimum: Shares = 0.0
    maximum: Shares = 1.0
    per: Per = "source"

    def __post_init__(self) -> None:
        check_bounds(self.minimum, self.maximum)


@dataclass(frozen=True, kw_only=True)
class Shortfall:
    """Something asked for that the documents do not allow: of which group, in units, and what was done.

    `group` None: of the budget as a whole. `message` is a sentence for people.
    """

    kind: Literal["unknown_group", "minimum", "minima", "repetition", "budget"]
    group: str | None
    wanted: int
    reached: int
    message: str


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The decisions of a budget that is divided.

    `decisions`: as `select` returns them, with detail, budget_group (the document's group) and count (times
    that a document is in the training set: 0 for the rejected; over 1 where a mixture repeats its group).
    `groups`: a row per group, by name: group, minimum and maximum (in `unit`; both the goal of a mixture),
    and what `group_shares` gives.
    """

    decisions: pl.DataFrame
    groups: pl.DataFrame
    unit: Literal["tokens", "documents"]
    budget: int
    shortfalls: tuple[Shortfall, ...]


def allocate(
    candidates: pl.DataFrame,
    budget: int | str,
    shares: TargetShares | ShareBounds,
    ranking: Ranking,
    exclusions: pl.DataFrame | None = None,
) -> Allocation:
    """Decide about every candidate as `select` does, with the budget divided over groups.

    `candidates`: as for `select`, and `group`, a name for each. In a mixture, scores that compare documents
    are compared inside the groups, so that what is taken of a group depends on it alone. rank is the place
    among all eligible documents, so chosen ones need not be the first; margin is the distance to the cut of
    the group. Warns `SharesNotReached` of each shortfall, and `BudgetExceedsPool` where the budget cannot be
    spent.

    Raises as `select` does, and `BadColumnError` for a group that is no name.
    """
    limit = parse_budget(budget)
    if "group" not in candidates.columns:
        raise MissingColumnsError("candidates", ["group"], "a budget per group", candidates.columns)
    if candidates.schema["group"] != pl.String or candidates["group"].has_nulls():
        raise BadColumnError("group", f"{candidates.schema['group']} or nulls", "names")
    pool = with_exclusions(candidates, ranking, limit, exclusions)
    pool = pool.join(candidates.select("doc_id", budget_group="group"), on="doc_id")
    eligible = pool.filter(pl.col("reason").is_null()).with_columns(group="budget_group")
    in_tokens = limit.unit == "tokens"
    size = pl.col("n_tokens").cast(pl.Int64) if in_tokens else pl.lit(1, dtype=pl.Int64)
    ranked = ranked_by(eligible, ranking, "group" if isinstance(shares, TargetShares) else None)
    ranked = ranked.with_columns(size=size).with_columns(running=pl.col("size").cum_sum().over("group"))
    problem = _Problem(
        ranked=ranked,
        known=sorted(candidates["group"].unique()),
        total=min(len(ranked), max(1, math.floor(len(ranked) * limit.amount / 100)))
        if limit.unit == "percent"
        else math.floor(limit.amount),
        unit="tokens" if in_tokens else "documents",
    )
    division = (
        _to_targets(problem, shares) if isinstance(shares, TargetShares) else _within_bounds(problem, shares)
    )
    for found in division.shortfalls:
        kind = BudgetExceedsPool if found.kind == "budget" else SharesNotReached
        warnings.warn(found.message, kind, stacklevel=2)
    decisions = with_verdicts(
        pool, _with_margins(division.decided), ranking, ["detail", "budget_group", "count"]
    )
    return Allocation(
        decisions=decisions.with_columns(pl.col("count").fill_null(0)),
        groups=_groups(problem, division),
        unit=problem.unit,
        budget=problem.total,
        shortfalls=tuple(division.shortfalls),
    )


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """Eligible documents best first (group, size, running size in the group), every group, and the budget."""

    ranked: pl.DataFrame
    known: list[str]
    total: int
    unit: Literal["tokens", "documents"]

    def available(self) -> dict[str, int]:
        """Return the size of what may be chosen of each group, 0 where there is nothing."""
        sums = self.ranked.group_by("group").agg(pl.col("size").sum())
        return dict.fromkeys(self.known, 0) | dict(sums.iter_rows())

    def words(self, size: int) -> str:
        return counted(size, self.unit.removesuffix("s"))

    def of_budget(self, size: int) -> str:
        return f"{size:,} of {self.words(self.total)}"


@dataclass(frozen=True, kw_only=True)
class _Division:
    """What is taken: documents with count, reason and detail; least and most of each group, in units."""

    decided: pl.DataFrame
    minimum: Mapping[str, int]
    maximum: Mapping[str, int]
    shortfalls: list[Shortfall]


def _to_targets(problem: _Problem, wanted: TargetShares) -> _Division:
    available = problem.available()
    shares = {name: exact(share) for name, share in wanted.shares.items() if share > 0}
    caps = {name: math.floor(exact(wanted.maximum_repetition) * size) for name, size in available.items()}
    shortfalls = _unknown(problem, shares)
    quotas, full = _filled(problem.total, shares, caps)
    goals = dict.fromkeys(available, 0) | _largest_remainders(quotas)
    for name in full:
        asked = math.floor(shares[name] / sum(shares.values()) * problem.total)
        if name in available:
            shortfalls.append(
                Shortfall(
                    kind="repetition",
                    group=name,
                    wanted=asked,
                    reached=goals[name],
                    message=f"group {name} should get {problem.of_budget(asked)}, but has only "
                    f"{problem.words(available[name])}, and passes over a group are limited to "
                    f"{wanted.maximum_repetition:g}: the group gets {problem.words(goals[name])}, and the "
                    "other groups get more",
                )
            )
    shortfalls += _unspent(
        problem,
        sum(goals.values()),
        f"but with passes over each group limited to {wanted.maximum_repetition:g} there are only",
    )
    goal, there = pl.col("goal"), pl.col("there")
    by_group = pl.DataFrame(
        [(name, goals[name], size, _share_words(name, goals, problem)) for name, size in available.items()],
        schema={"group": pl.String, "goal": pl.Int64, "there": pl.Int64, "said": pl.String},
        orient="row",
    )
    passes = pl.when(there > 0).then(goal // there).otherwise(0)
    rest = goal - passes * there
    fits = (rest > 0) & (2 * pl.col("running") - pl.col("size") <= 2 * rest)
    ranked = problem.ranked.join(by_group, on="group", how="left", maintain_order="left")
    over = pl.col("count") == 0
    return _Division(
        decided=ranked.with_columns(count=passes + fits.cast(pl.Int64)).with_columns(
            reason=pl.when(over)
            .then(pl.lit(OVER_GROUP[wanted.per].value))
            .otherwise(pl.lit(Reason.WITHIN_BUDGET.value)),
            detail=pl.when(over).then("said"),
        ),
        minimum=goals,
        maximum=goals,
        shortfalls=shortfalls,
    )


def _share_words(name: str, goals: Mapping[str, int], problem: _Problem) -> str:
    if not goals[name]:
        return f"{name} has no part of the mixture"
    share = goals[name] / max(problem.total, 1)
    return f"{name} has {100 * share:.3g} % of the mixture: {problem.of_budget(goals[name])}"


def _filled(
    total: int, shares: Mapping[str, Fraction], caps: Mapping[str, int]
) -> tuple[dict[str, Fraction], list[str]]:
    """Return what each group gets of the total by its share, at most its cap, and the groups at their cap."""
    quotas: dict[str, Fraction] = {}
    open_shares, left = dict(shares), Fraction(total)
    while open_shares:
        whole = sum(open_shares.values())
        over = [name for name, share in open_shares.items() if share / whole * left > caps.get(name, 0)]
        if not over:
            return quotas | {name: share / whole * left for name, share in open_shares.items()}, sorted(
                name for name in shares if name not in open_shares
            )
        for name in over:
            quotas[name] = Fraction(caps.get(name, 0))
            del open_shares[name]
        left = total - sum(quotas.values(), Fraction(0))
    return quotas, sorted(shares)


def _largest_remainders(quotas: Mapping[str, Fraction]) -> dict[str, int]:
    """Return whole numbers of the same sum (rounded down), each within one of its quota; ties by name."""
    whole = {name: math.floor(quota) for name, quota in quotas.items()}
    left = math.floor(sum(quotas.values(), Fraction(0))) - sum(whole.values())
    by_remainder = sorted(quotas, key=lambda name: (whole[name] - quotas[name], name))
    return whole | {name: whole[name] + 1 for name in by_remainder[:left]}


def _within_bounds(problem: _Problem, bounds: ShareBounds) -> _Division:
    available, total = problem.available(), problem.total
    least, shortfalls = _minima(problem, bounds, available)
    most = {name: math.floor(share_of(bounds.maximum, name, 1.0) * total) for name in available}
    possible = {name: min(most[name], size) for name, size in available.items()}
    held = any(most[name] < size for name, size in available.items())
    why = "but the maximum shares allow only" if held else "but even all eligible documents come to only"
    shortfalls += _unspent(problem, sum(possible.values()), why)
    by_group = _bounds_of_groups(problem, bounds, least, most)
    ranked = problem.ranked.join(by_group, on="group", how="left", maintain_order="left")
    running, size = pl.col("running"), pl.col("size")
    ranked = ranked.with_columns(
        first=(running <= pl.col("reserved")) & (pl.col("reserved") > 0),
        open=(running <= pl.col("most")) | (pl.col("most") >= total),  # the whole budget bounds nothing
    )
    ranked = ranked.with_columns(first=pl.col("first") | pl.col("doc_id").is_in(_ends(ranked, least, total)))
    used = int(ranked.filter("first")["size"].sum())
    asking = pl.col("open") & ~pl.col("first")
    ranked = ranked.with_columns(
        asking=asking,
        fits=pl.when(asking).then(size).otherwise(0).cum_sum() + used <= total,
        unaided=pl.col("open") & (pl.when("open").then(size).otherwise(0).cum_sum() <= total),
    )
    ranked = ranked.with_columns(chosen=pl.col("first") | (pl.col("asking") & pl.col("fits")))
    cut = ranked.filter(pl.col("asking") & ~pl.col("fits"))["rank"].min()
    before_cut = pl.lit(True) if cut is None else pl.col("rank") < cut
    # Where the budget itself had no room for a document, that of its group did not matter.
    taken = pl.when(pl.col("asking") & pl.col("fits")).then(size).otherwise(0).cum_sum()
    full = ~pl.col("open") & before_cut & (used + taken + size <= total)
    helped = sorted(ranked.filter(pl.col("chosen") & ~pl.col("unaided"))["group"].unique())
    displaced = pl.col("unaided") & ~pl.col("chosen")
    return _Division(
        decided=ranked.with_columns(
            count=pl.col("chosen").cast(pl.Int64),
            reason=pl.when("chosen")
            .then(pl.lit(Reason.WITHIN_BUDGET.value))
            .when(full)
            .then(pl.lit(OVER_GROUP[bounds.per].value))
            .otherwise(pl.lit(Reason.OVER_BUDGET.value)),
            detail=pl.when(pl.col("chosen"))
            .then(None)
            .when(full)
            .then("said")
            .when(displaced)
            .then(pl.lit(f"the least share of {named(helped)} was filled first")),
        ),
        minimum={name: math.ceil(share) for name, share in least.items()},
        maximum=most,
        shortfalls=shortfalls,
    )


def _bounds_of_groups(
    problem: _Problem, bounds: ShareBounds, least: Mapping[str, Fraction], most: Mapping[str, int]
) -> pl.DataFrame:
    """Return by group what is reserved for it, the most that it may fill, and that in words."""
    return pl.DataFrame(
        {
            "group": [*most],
            "reserved": [math.floor(least[name]) for name in most],
            "most": [*most.values()],
            "said": [
                f"{name} may fill {100 * float(share_of(bounds.maximum, name, 1.0)):g} %: "
                f"{problem.of_budget(most[name])}"
                for name in most
            ],
        },
        schema={"group": pl.String, "reserved": pl.Int64, "most": pl.Int64, "said": pl.String},
    )


def _ends(ranked: pl.DataFrame, least: Mapping[str, Fraction], total: int) -> list[str]:
    """Return the documents inside which a minimum ends, the best first, as far as there is room for them.

    ranked: `first`, what is within a minimum as a whole; `open`, what is within the maximum.
    """
    used, ends = int(ranked.filter("first")["size"].sum()), []
    following = ranked.filter(~pl.col("first")).unique("group", keep="first", maintain_order=True)
    of_each = following.filter("open").select("doc_id", "group", "size", "running")
    for doc_id, group, size, running in of_each.iter_rows():
        if running - size < least[group] and used + size <= total:
            ends.append(doc_id)
            used += size
    return ends


def _minima(
    problem: _Problem, bounds: ShareBounds, available: Mapping[str, int]
) -> tuple[dict[str, Fraction], list[Shortfall]]:
    """Return the least amount of each group, as far as it has one, and what cannot be had."""
    by_name = [shares for shares in (bounds.minimum, bounds.maximum) if isinstance(shares, Mapping)]
    shortfalls = _unknown(problem, sorted({name for shares in by_name for name in shares}))
    # A share that all groups must have is asked of those only that have something to choose.
    shares = {
        name: share_of(bounds.minimum, name, 0.0)
        if size or isinstance(bounds.minimum, Mapping)
        else Fraction(0)
        for name, size in available.items()
    }
    if (whole := sum(shares.values(), Fraction(0))) > 1:
        shortfalls.append(
            Shortfall(
                kind="minima",
                group=None,
                wanted=math.ceil(whole * problem.total),
                reached=problem.total,
                message=f"the minimum shares of {counted(len(shares), 'group')} add up to {float(whole):g}, "
                f"above 1: each was divided by {float(whole):g}",
            )
        )
        shares = {name: share / whole for name, share in shares.items()}
    least = {name: share * problem.total for name, share in shares.items()}
    shortfalls += [
        Shortfall(
            kind="minimum",
            group=name,
            wanted=math.ceil(amount),
            reached=available[name],
            message=f"group {name} must fill {100 * float(shares[name]):.3g} % of the budget "
            f"({problem.of_budget(math.ceil(amount))}), but has only {problem.words(available[name])} "
            "that can be selected: all of them are selected",
        )
        for name, amount in least.items()
        if amount > available[name]
    ]
    return least, shortfalls


def _unknown(problem: _Problem, names: Iterable[str]) -> list[Shortfall]:
    """Return a shortfall for each group of the settings that no document is in."""
    return [
        Shortfall(
            kind="unknown_group",
            group=name,
            wanted=0,
            reached=0,
            message=f"the shares name the group {name!r}, which has no documents; correct or remove the "
            f"name (groups with documents: {named(problem.known)})",
        )
        for name in names
        if name not in problem.known
    ]


def _unspent(problem: _Problem, possible: int, why: str) -> Iterable[Shortfall]:
    """Yield a shortfall where no choice could spend the budget."""
    if possible < problem.total:
        yield Shortfall(
            kind="budget",
            group=None,
            wanted=problem.total,
            reached=possible,
            message=f"the budget is {problem.words(problem.total)}, {why} {problem.words(possible)}",
        )


def _with_margins(decided: pl.DataFrame) -> pl.DataFrame:
    """Return doc_id, verdict, reason, rank, margin, detail and count: margins to the cut of each group."""
    taken = pl.col("count") > 0
    # The last key taken and the first rejected of each group, where they are: the best first, nulls nowhere.
    last, first = pl.col("key").filter(taken).last(), pl.col("key").filter(~taken).first()
    ends = decided.group_by("group").agg(last=last, first=first)
    cuts = ends.select("group", cut=pl.mean_horizontal("last", "first"))
    return decided.join(cuts, on="group", how="left", maintain_order="left").select(
        "doc_id",
        "rank",
        "reason",
        "detail",
        "count",
        margin=pl.col("key") - pl.col("cut"),
        verdict=pl.when(taken).then(pl.lit("selected")).otherwise(pl.lit("rejected")),
    )


def group_shares(decisions: pl.DataFrame, sizes: pl.DataFrame) -> pl.DataFrame:
    """Return what each group of a divided budget holds and fills, by name.

    decisions: rows of the table. sizes: doc_id and size, in tokens or documents. Returned: group; documents,
    size and share of what may be chosen; chosen documents; filled (their size, repeated ones as often) and
    filled_share; passes (filled / size).
    """
    count = pl.when(pl.col("verdict") == "selected").then(pl.col("training_count").fill_null(1)).otherwise(0)
    found = decisions.select("doc_id", "rank", group="budget_group", count=count).drop_nulls("group")
    known = pl.DataFrame({"group": found["group"].unique().sort()})
    return _shares_of(known, found.drop_nulls("rank").join(sizes, on="doc_id"))


def _shares_of(groups: pl.DataFrame, eligible: pl.DataFrame) -> pl.DataFrame:
    """Return groups with sums over their eligible documents (group, size, count), and shares."""
    found = eligible.group_by("group").agg(
        documents=pl.len(),
        size=pl.col("size").sum(),
        chosen=(pl.col("count") > 0).sum(),
        filled=(pl.col("size") * pl.col("count")).sum(),
    )
    return (
        groups.join(found, on="group", how="left")
        .with_columns(pl.col("documents", "size", "chosen", "filled").fill_null(0).cast(pl.Int64))
        .with_columns(
            share=pl.col("size") / pl.col("size").sum(),
            filled_share=pl.col("filled") / pl.col("filled").sum(),
            passes=pl.col("filled") / pl.col("size"),
        )
        .sort("group")
    )


def _groups(problem: _Problem, division: _Division) -> pl.DataFrame:
    bounds = pl.DataFrame(
        {
            "group": problem.known,
            "minimum": [division.minimum[name] for name in problem.known],
            "maximum": [division.maximum[name] for name in problem.known],
        },
        schema={"group": pl.String, "minimum": pl.Int64, "maximum": pl.Int64},
    )
    return _shares_of(bounds, division.decided)
