"""A divided budget: shares reached, bounds kept, the best choice by brute force, and nothing by row order."""

import hashlib
import itertools
import math
import warnings
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.selection import BadColumnError, BudgetExceedsPool, MissingColumnsError, select, selection_digest
from tamis.selection.allocation import (
    Allocation,
    ShareBounds,
    TargetShares,
    allocate,
    group_shares,
)
from tamis.selection.decide import Ranking
from tamis.selection.errors import SharesNotReached
from tamis.selection.pool import stored_count, training_order
from tamis.settings.budget import ImpossibleSharesError
from tamis.settings.samplers import find_sampler

GOT_D = Ranking(sampler=find_sampler("got-d"))
GROUPS = ("books", "web", "wiki")


def doc(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def pool(groups: str, seed: int = 0, ties: bool = False) -> pl.DataFrame:
    """Return a document for each letter of `groups`, with a gradient and a length."""
    random = np.random.default_rng(seed)
    names = {name[:2]: name for name in GROUPS}
    group = [names[two] for two in groups.split()]
    gradient = random.integers(0, 3, len(group)) if ties else random.normal(size=len(group))
    return pl.DataFrame(
        {
            "doc_id": [doc(number) for number in range(len(group))],
            "group": group,
            "n_tokens": random.integers(1, 90, len(group)),
            "transport_gradient": np.asarray(gradient, dtype=np.float64),
        }
    )


def quietly(candidates: pl.DataFrame, budget: int | str, shares: TargetShares | ShareBounds) -> Allocation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return allocate(candidates, budget, shares, GOT_D)


def chosen(allocation: Allocation) -> set[str]:
    return set(allocation.decisions.filter(pl.col("verdict") == "selected")["doc_id"])


def of(allocation: Allocation, column: str) -> dict[str, float]:
    return dict(allocation.groups.select("group", column).iter_rows())


pools = st.builds(
    pool,
    st.lists(st.sampled_from(["bo", "we", "wi"]), min_size=1, max_size=11).map(" ".join),
    st.integers(0, 1_000),
    st.booleans(),
)
tenths = st.integers(0, 10).map(lambda number: number / 10)


def bounds_of(least: list[float], most: list[float]) -> ShareBounds | None:
    """Return bounds of all groups, None where they contradict each other."""
    try:
        return ShareBounds(
            minimum=dict(zip(GROUPS, least, strict=True)), maximum=dict(zip(GROUPS, most, strict=True))
        )
    except ImpossibleSharesError:
        return None


bounds = st.builds(
    bounds_of,
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=3, max_size=3),
    st.lists(tenths, min_size=3, max_size=3),
).filter(lambda found: found is not None)


def best_by_trying_all(ranked: pl.DataFrame, budget: int, shares: ShareBounds) -> set[str] | None:
    """Return the choice of the best ranks among all that keep the bounds; None where none does."""
    by_group = {name: ranked.filter(pl.col("budget_group") == name).sort("rank") for name in GROUPS}
    ranges = []
    for name in GROUPS:
        least = math.ceil(Fraction(str(shares.minimum[name])) * budget)
        most = math.floor(Fraction(str(shares.maximum[name])) * budget)
        ranges.append(range(least, min(most, len(by_group[name])) + 1))
    found = []
    for counts in itertools.product(*ranges):
        if sum(counts) == budget:
            rows = pl.concat([by_group[name].head(count) for name, count in zip(GROUPS, counts, strict=True)])
            found.append((sorted(rows["rank"]), set(rows["doc_id"])))
    return min(found, key=lambda one: one[0])[1] if found else None


@settings(max_examples=60, deadline=None)
@given(pools, st.integers(1, 8), bounds)
def test_within_bounds_it_is_the_best_choice_there_is(candidates, budget, shares):
    found = quietly(candidates, budget, shares)
    best = best_by_trying_all(found.decisions, budget, shares)
    if best is not None:
        assert chosen(found) == best
        assert {one.kind for one in found.shortfalls} <= {"unknown_group"}


@settings(max_examples=60, deadline=None)
@given(pools, st.integers(1, 500), bounds)
def test_bounds_in_tokens_are_kept(candidates, budget, shares):
    found = quietly(candidates, f"{budget}tok", shares)
    filled, most = of(found, "filled"), of(found, "maximum")
    assert sum(filled.values()) <= budget
    assert all(filled[name] <= most[name] for name in filled)
    known = found.decisions.join(candidates, on="doc_id").sort("rank")
    for name, least in of(found, "minimum").items():
        rows = known.filter(pl.col("group") == name)
        taken = rows.filter(pl.col("verdict") == "selected")
        assert taken["rank"].to_list() == rows["rank"].head(len(taken)).to_list()  # the best of its group
        assert (rows["margin"].head(len(taken)) >= 0).all()
        assert (rows["margin"].slice(len(taken)) <= 0).all()
        if filled[name] < least and len(taken) < len(rows):  # then the next one had no room
            following = rows["n_tokens"][len(taken)]
            assert filled[name] + following > most[name] or sum(filled.values()) + following > budget


@settings(max_examples=30, deadline=None)
@given(pools, st.sampled_from([1, 3, 7, "25%", "90tok", "300tok"]))
def test_bounds_that_bind_nothing_change_nothing(candidates, budget):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = select(candidates, "got-d", budget)
    found = quietly(candidates, budget, ShareBounds(minimum=0.0, maximum=1.0)).decisions
    columns = ["doc_id", "verdict", "reason", "rank", "duplicate_of", "transport_gradient"]
    assert found.select(columns).equals(plain.select(columns))
    assert selection_digest(found) == selection_digest(plain)


def weights_of(numbers: list[int]) -> TargetShares:
    return TargetShares(
        shares={name: number / sum(numbers) for name, number in zip(GROUPS, numbers, strict=True)},
        maximum_repetition=50.0,
    )


mixtures = st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any).map(weights_of)


@settings(max_examples=60, deadline=None)
@given(pools, st.integers(1, 800), mixtures, st.booleans())
def test_a_mixture_is_whole_passes_and_the_best_of_another(candidates, budget, mixture, in_tokens):
    found = quietly(candidates, f"{budget}tok" if in_tokens else budget, mixture)
    goals, filled = of(found, "maximum"), of(found, "filled")
    there = {name for name in found.groups["group"] if mixture.shares[name] > 0}
    if not found.shortfalls:
        assert sum(goals.values()) == budget
        for name in there:
            assert abs(goals[name] - mixture.shares[name] * budget) < 1 + 1e-6
    known = found.decisions.join(candidates, on="doc_id").sort("rank")
    for name, goal in goals.items():
        rows = known.filter(pl.col("group") == name)
        counts = rows["count"].to_numpy()
        sizes = rows["n_tokens"].to_numpy() if in_tokens else np.ones(len(rows), int)
        passes, rest = divmod(int(goal), int(sizes.sum()))
        assert counts.min() >= passes
        assert counts.max() <= passes + 1
        assert (np.diff(counts) <= 0).all()  # the better ones first
        last = sizes[counts > passes][-1] if (counts > passes).any() else 0
        following = sizes[counts == passes][0] if (counts == passes).any() else 0
        assert filled[name] == (sizes * counts).sum()
        assert -following / 2 <= filled[name] - goal <= last / 2
        assert rest == 0 or passes == 0 or counts.max() <= passes + 1


def test_a_mixture_in_documents_has_exactly_its_shares():
    candidates = pool("bo " * 5 + "we " * 60 + "wi " * 35)
    shares = TargetShares(shares={"books": 0.5, "web": 0.3, "wiki": 0.2}, maximum_repetition=4.0)
    found = allocate(candidates, "40%", shares, GOT_D)
    assert of(found, "filled") == {"books": 20, "web": 12, "wiki": 8}
    assert of(found, "passes") == pytest.approx({"books": 4.0, "web": 0.2, "wiki": 8 / 35})
    counts = dict(found.decisions.group_by("reason").len().iter_rows())
    assert counts == {"within_budget": 25, "over_source_budget": 75}
    details = set(found.decisions.filter(pl.col("verdict") == "rejected")["detail"])
    assert details == {
        "web has 30 % of the mixture: 12 of 40 documents",
        "wiki has 20 % of the mixture: 8 of 40 documents",
    }


def test_what_a_source_cannot_take_the_others_get_by_their_shares():
    candidates = pool("bo " * 5 + "we " * 60 + "wi " * 35)
    shares = TargetShares(shares={"books": 0.5, "web": 0.3, "wiki": 0.2}, maximum_repetition=2.0)
    with pytest.warns(SharesNotReached, match="passes over a group are limited to 2"):
        found = allocate(candidates, 40, shares, GOT_D)
    assert of(found, "filled") == {"books": 10, "web": 18, "wiki": 12}
    with pytest.warns(SharesNotReached, match="'law'"):
        found = allocate(candidates, 40, TargetShares(shares={"web": 0.5, "law": 0.5}), GOT_D)
    assert of(found, "filled") == {"books": 0, "web": 40, "wiki": 0}
    with pytest.warns(BudgetExceedsPool, match="only 120 documents"):
        found = quietly_but_for_budget(
            candidates, 300, TargetShares(shares={"web": 1.0}, maximum_repetition=2.0)
        )
    assert of(found, "filled") == {"books": 0, "web": 120, "wiki": 0}
    assert {one.kind for one in found.shortfalls} == {"repetition", "budget"}


def quietly_but_for_budget(candidates, budget, shares):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SharesNotReached)
        return allocate(candidates, budget, shares, GOT_D)


@pytest.mark.parametrize(
    "shares",
    [
        ShareBounds(minimum={"books": 0.3}, maximum={"web": 0.3}),
        TargetShares(shares={"books": 0.5, "web": 0.3, "wiki": 0.2}, maximum_repetition=9.0),
    ],
)
def test_rows_may_come_in_any_order(shares):
    candidates = pool("bo we wi " * 20, ties=True)
    found = quietly(candidates, "700tok", shares)
    for seed in range(4):
        again = quietly(candidates.sample(fraction=1, shuffle=True, seed=seed), "700tok", shares)
        assert again.decisions.equals(found.decisions)
        assert again.groups.equals(found.groups)


@pytest.mark.parametrize("sampler", ["got-d", "rank-ensemble", "density", "random"])
def test_documents_of_another_source_change_nothing_inside_a_source(sampler):
    candidates = pool("bo we wi " * 20).with_columns(
        judge_margin_predicted=pl.col("n_tokens").cast(pl.Float64).sin(), density=pl.col("n_tokens") / 9
    )
    more = candidates.filter(pl.col("group") == "web").with_columns(
        doc_id=pl.Series([doc(number) for number in range(900, 920)]),
        transport_gradient=pl.col("transport_gradient") - 1,
    )
    shares = TargetShares(shares={"books": 0.5, "web": 0.3, "wiki": 0.2}, maximum_repetition=9.0)
    ranking = Ranking(sampler=find_sampler(sampler), seed=3)
    both = [
        allocate(frame, "600tok", shares, ranking) for frame in (candidates, pl.concat([candidates, more]))
    ]
    columns = ["doc_id", "verdict", "reason", "margin", "count"]
    books = [one.decisions.filter(pl.col("budget_group") == "books").select(columns) for one in both]
    assert books[0].equals(books[1])
    assert books[0]["verdict"].n_unique() == 1 or books[0]["count"].max() > 0


def test_the_reason_names_the_budget_that_is_spent():
    candidates = pool("we " * 30 + "wi " * 30 + "bo " * 3)
    shares = ShareBounds(minimum={"books": 0.15}, maximum={"web": 0.3})
    found = allocate(candidates, 20, shares, GOT_D)
    assert of(found, "filled") == {"books": 3, "web": 6, "wiki": 11}
    rejected = found.decisions.filter(pl.col("verdict") == "rejected")
    web = rejected.filter(pl.col("reason") == "over_source_budget")
    assert set(web["budget_group"]) == {"web"}
    assert set(web["detail"]) == {"web may fill 30 %: 6 of 20 documents"}
    # Those behind the cut of all would be out in any case.
    first_out = rejected.filter(pl.col("budget_group") == "wiki")["rank"].min()
    assert web["rank"].max() < first_out
    behind = rejected.filter((pl.col("budget_group") == "web") & (pl.col("rank") > first_out))
    assert set(behind["reason"]) == {"over_budget"}
    aided = rejected.filter(pl.col("detail").str.contains("the least share of books"))
    assert set(aided["reason"]) <= {"over_budget"}
    assert found.decisions["detail"].null_count() == len(found.decisions) - len(web) - len(aided)


@pytest.mark.parametrize("per", ["source", "topic", "language"])
def test_each_kind_of_group_has_a_reason_of_its_own(per):
    found = allocate(pool("we wi " * 20), 10, ShareBounds(maximum={"web": 0.2}, per=per), GOT_D)
    assert f"over_{per}_budget" in set(found.decisions["reason"])


def test_excluded_documents_count_for_no_budget():
    candidates = pool("we " * 10 + "wi " * 10)
    out = pl.DataFrame({"doc_id": candidates["doc_id"].head(8), "reason": ["near_duplicate"] * 8})
    found = allocate(candidates, 4, ShareBounds(minimum={"web": 0.5}), GOT_D, out)
    assert of(found, "documents") == {"web": 2, "wiki": 10}
    assert of(found, "filled") == {"web": 2, "wiki": 2}
    assert found.decisions.filter(pl.col("reason") == "near_duplicate")["rank"].null_count() == 8


def test_a_least_share_that_the_documents_cannot_fill_is_said_and_the_rest_is_spent():
    candidates = pool("bo bo " + "we " * 20)
    with pytest.warns(
        SharesNotReached,
        match=r"books must fill 50 % of the budget \(5 of 10 documents\), but has only 2 documents",
    ):
        found = allocate(candidates, 10, ShareBounds(minimum={"books": 0.5}), GOT_D)
    assert of(found, "filled") == {"books": 2, "web": 8}
    (one,) = found.shortfalls
    assert (one.kind, one.group, one.wanted, one.reached) == ("minimum", "books", 5, 2)


def test_largest_shares_that_leave_a_part_of_the_budget():
    candidates = pool("we " * 20 + "wi " * 20)
    with pytest.warns(BudgetExceedsPool, match="but the maximum shares allow only 8 documents"):
        found = allocate(candidates, 10, ShareBounds(maximum=0.4), GOT_D)
    assert of(found, "filled") == {"web": 4, "wiki": 4}
    with pytest.warns(BudgetExceedsPool, match="but even all eligible documents come to only 40 documents"):
        allocate(candidates, 100, ShareBounds(minimum=0.1), GOT_D)


def test_least_shares_of_more_groups_than_fit_are_made_smaller():
    candidates = pool("bo we wi " * 10)
    with pytest.warns(SharesNotReached, match=r"add up to 1\.2, above 1"):
        found = allocate(candidates, 12, ShareBounds(minimum=0.4), GOT_D)
    assert of(found, "filled") == {"books": 4, "web": 4, "wiki": 4}


@pytest.mark.parametrize(
    ("make", "key", "group"),
    [
        (lambda: ShareBounds(minimum={"web": 0.7, "wiki": 0.4}), "minimum_shares", None),
        (lambda: ShareBounds(minimum={"web": 0.7}, maximum={"web": 0.4}), "minimum_shares", "web"),
        (lambda: ShareBounds(minimum=0.2, maximum={"web": 0.1}), "minimum_shares", "web"),
        (lambda: ShareBounds(minimum=0.3, maximum=0.2), "minimum_shares", None),
        (lambda: ShareBounds(maximum=0.0), "maximum_shares", None),
        (lambda: ShareBounds(maximum={"web": 1.5}), "maximum_shares", "web"),
        (lambda: TargetShares(shares={"web": 0.5}), "shares", None),
        (lambda: TargetShares(shares={"web": 1.1, "wiki": -0.1}), "shares", "web"),
        (lambda: TargetShares(shares={"web": 1.0}, maximum_repetition=0.5), "maximum_repetition", None),
        (lambda: TargetShares(shares={"web": math.nan}), "shares", "web"),
    ],
)
def test_impossible_shares(make, key, group):
    with pytest.raises(ImpossibleSharesError) as error:
        make()
    assert (error.value.key, error.value.group) == (key, group)


def test_candidates_have_groups():
    candidates = pool("we wi")
    with pytest.raises(MissingColumnsError, match="group"):
        allocate(candidates.drop("group"), 1, ShareBounds(), GOT_D)
    with pytest.raises(BadColumnError, match="group"):
        allocate(candidates.with_columns(group=pl.lit(None, pl.String)), 1, ShareBounds(), GOT_D)
    empty = quietly(candidates.clear(), 1, ShareBounds(minimum=0.2))
    assert empty.decisions.is_empty()


def test_the_table_of_groups_follows_from_stored_decisions():
    candidates = pool("bo " * 5 + "we " * 60 + "wi " * 35)
    shares = TargetShares(shares={"books": 0.5, "web": 0.3, "wiki": 0.2}, maximum_repetition=9.0)
    found = allocate(candidates, "3ktok", shares, GOT_D)
    stored = found.decisions.with_columns(stored_count("count"))
    again = group_shares(stored, candidates.select("doc_id", size="n_tokens"))
    assert again.equals(found.groups.select(again.columns))
    repeats = stored.filter(pl.col("count") > 1)
    assert repeats["training_count"].to_list() == repeats["count"].to_list()
    assert stored["training_count"].count() == len(repeats) > 0


def test_a_document_that_repeats_is_another_choice():
    once = pl.DataFrame({"doc_id": [doc(0)], "verdict": ["selected"], "rank": [1]})
    nulls = once.with_columns(training_count=pl.lit(None, pl.Int64))
    assert selection_digest(nulls) == selection_digest(once)
    assert selection_digest(nulls.with_columns(training_count=2)) != selection_digest(once)


def test_copies_are_spread_over_the_training():
    counts = pl.DataFrame(
        {"doc_id": [doc(number) for number in range(300)], "count": [4] * 50 + [1] * 200 + [0] * 50}
    )
    order = training_order(counts, 7)
    times = dict(order.group_by("doc_id").len().iter_rows())
    assert times == {doc(number): 4 if number < 50 else 1 for number in range(250)}
    quarters = [order.slice(start, 100) for start in range(0, 400, 100)]
    repeated = [quarter["doc_id"].is_in([doc(number) for number in range(50)]).sum() for quarter in quarters]
    assert repeated == pytest.approx([50] * 4, abs=12)  # half of each part, as of the whole
    assert order.equals(training_order(counts.reverse(), 7))
    assert not order.equals(training_order(counts, 8))
