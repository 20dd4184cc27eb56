"""Decisions: a reason for every document, the right ones chosen, and nothing depends on row order."""

import hashlib
import subprocess
import sys
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.base.errors import UnknownNameError
from tamis.coverage import inverse_propensity_sample
from tamis.selection import (
    EXCLUSIONS,
    SAMPLERS,
    BadBudgetError,
    BadColumnError,
    BudgetExceedsPool,
    MissingColumnsError,
    Reason,
    RepeatedIdsError,
    parse_budget,
    select,
    selection_digest,
)
from tamis.settings.budget import scaled

SCORES = (
    "method_score",
    "transport_gradient",
    "quality",
    "judge_margin_predicted",
    "density",
    "nearest_cost",
    "bits_per_byte",
    "gradient_away",
    "pool_potential",
)


def ids(count):
    return [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(count)]


def pool(count=60, seed=0):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "doc_id": ids(count),
            "n_tokens": rng.integers(1, 900, count),
            "quality": rng.random(count),
            "density": rng.uniform(0.5, 20, count),
            **{name: rng.normal(size=count) for name in SCORES if name not in ("quality", "density")},
        }
    )


def chosen(decisions):
    return decisions.filter(pl.col("verdict") == "selected").sort("rank")["doc_id"].to_list()


def test_the_names_of_the_samplers():
    stored = {"random", "got-d", "got-d-quality", "ask-llm", "density", "knn", "perplexity"}
    stored |= {"got-d-debiased", "got-d-contrast", "quality-diversity", "rank-ensemble"}
    computed = {"got-d-rounds", "got-d-quality-rounds", "round-robin", "dsir", "classifier"}
    computed |= {"tsds", "unbalanced"}
    free = {"semdedup", "prototypes"}
    assert set(SAMPLERS) == stored | computed | free
    assert {name for name, sampler in SAMPLERS.items() if sampler.method} == computed | free
    assert all(sampler.name == name for name, sampler in SAMPLERS.items())
    assert {name for name, sampler in SAMPLERS.items() if sampler.needs_target} == {
        "got-d",
        "got-d-contrast",
        "got-d-debiased",
        "got-d-quality",
        "rank-ensemble",
        "knn",
        *computed,
    }


@pytest.mark.parametrize(
    ("sampler", "key"),
    [
        ("got-d", lambda row: row["transport_gradient"]),
        ("got-d-debiased", lambda row: row["transport_gradient"] - row["pool_potential"]),
        ("got-d-contrast", lambda row: row["transport_gradient"] - row["gradient_away"]),
        ("got-d-quality", lambda row: row["transport_gradient"] + (1 - row["quality"])),
        ("ask-llm", lambda row: -row["judge_margin_predicted"]),
        ("knn", lambda row: row["nearest_cost"]),
        ("perplexity", lambda row: row["bits_per_byte"]),
    ],
)
def test_the_right_end_of_the_right_score(sampler, key):
    frame = pool()
    expected = [row["doc_id"] for row in sorted(frame.iter_rows(named=True), key=key)][:10]
    assert chosen(select(frame, sampler, 10)) == expected


def test_without_a_weight_contrast_only_goes_towards_the_target():
    none = select(pool(), "got-d-contrast", 10, options={"away_weight": 0.0})
    assert chosen(none) == chosen(select(pool(), "got-d", 10))
    away = pool().sort("gradient_away", descending=True)["doc_id"].head(10).to_list()
    assert chosen(select(pool(), "got-d-contrast", 10, options={"away_weight": 1e9})) == away


def test_quality_weight_moves_from_one_ranking_to_the_other():
    frame = pool()
    none = select(frame, "got-d-quality", 10, options={"quality_weight": 0.0})
    assert chosen(none) == chosen(select(frame, "got-d", 10))
    best = frame.sort("quality", descending=True)["doc_id"].head(10).to_list()
    assert chosen(select(frame, "got-d-quality", 10, options={"quality_weight": 1e9})) == best


def test_density_draws_as_inverse_propensity_sampling():
    frame = pool(400)
    drawn = inverse_propensity_sample(frame["doc_id"], frame["density"], 40, 5)
    assert chosen(select(frame, "density", 40, seed=5)) == drawn
    densities = dict(frame.select("doc_id", "density").iter_rows())
    means = [np.mean([densities[i] for i in chosen(select(frame, "density", 40, seed=s))]) for s in range(20)]
    assert np.mean(means) < 0.7 * frame["density"].mean()


def test_quality_and_diversity_draw_in_proportion_to_their_weights():
    frame = pool(12)
    options = {"temperature": 0.8, "diversity_weight": 0.5}
    density = np.maximum(frame["density"].to_numpy(), 1.0)
    weights = np.exp(frame["judge_margin_predicted"].to_numpy() / 0.8) / density**0.5
    draws = 1_500
    first = [chosen(select(frame, "quality-diversity", 1, seed=s, options=options))[0] for s in range(draws)]
    counts = np.array([first.count(doc_id) for doc_id in frame["doc_id"]])
    expected = draws * weights / weights.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 31.3  # chi-square, 11 degrees of freedom, p = .001
    cold = chosen(select(frame, "quality-diversity", 3, options={"temperature": 1e-6}))
    assert cold == chosen(select(frame, "ask-llm", 3))


def test_the_rank_ensemble_depends_on_order_and_not_on_scale():
    frame = pool(40)
    found = chosen(select(frame, "rank-ensemble", 8))
    stretched = frame.with_columns(pl.col("transport_gradient") ** 3 * 1e6)
    assert chosen(select(stretched, "rank-ensemble", 8)) == found
    by_target = {i: place for place, i in enumerate(frame.sort("transport_gradient")["doc_id"])}
    by_judge = {i: place for place, i in enumerate(frame.sort("judge_margin_predicted")["doc_id"][::-1])}
    worst = sorted(by_target[i] + by_judge[i] for i in by_target)[7]
    assert max(by_target[i] + by_judge[i] for i in found) == worst


def test_random_is_uniform_and_follows_the_seed():
    frame = pool(50)
    draws = [chosen(select(frame, "random", 10, seed=seed)) for seed in range(300)]
    counts = pl.Series([i for draw in draws for i in draw]).value_counts()["count"]
    assert counts.sum() == 3_000
    assert len(counts) == 50
    assert counts.max() < 100  # mean 60, standard deviation 7
    assert draws[0] != draws[1]
    assert draws[0] == chosen(select(frame, "random", 10, seed=0))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(sorted(SAMPLERS)), st.sampled_from([7, "15%", "3ktok"]), st.randoms())
def test_reasons_partition_the_pool_and_row_order_is_nothing(sampler, budget, random):
    frame = pool(50)
    gaps = [
        pl.when(pl.col("doc_id").is_in(ids(50)[::11])).then(None).otherwise(pl.col(n)).alias(n)
        for n in SCORES
    ]
    frame = frame.with_columns(gaps)
    excluded = pl.DataFrame({"doc_id": ids(60)[30:60:3], "reason": ["withdrawn", "near_duplicate"] * 5})
    first = select(frame, sampler, budget, exclusions=excluded)
    order = random.sample(range(50), 50)
    assert select(frame[order], sampler, budget, exclusions=excluded[::-1]).equals(first)
    assert first["doc_id"].to_list() == sorted(ids(50))
    assert set(first["reason"]) <= set(Reason)
    assert first.select(pl.col("verdict", "reason").null_count()).row(0) == (0, 0)
    within = pl.col("reason") == "within_budget"
    assert first.filter(within != (pl.col("verdict") == "selected")).is_empty()
    eligible = first.filter(pl.col("reason").is_in(["within_budget", "over_budget"])).sort("rank")
    assert eligible["rank"].to_list() == list(range(1, len(eligible) + 1))
    assert (eligible["margin"].diff().drop_nulls() <= 0).all()
    assert first.filter(pl.col("rank").is_null() != pl.col("margin").is_null()).is_empty()
    assert (first.filter(within)["margin"] >= 0).all()
    assert (first.filter(pl.col("reason") == "over_budget")["margin"] <= 0).all()
    assert first.columns[6:] == list(SAMPLERS[sampler].score_columns)


def test_margin_is_the_distance_to_the_cut():
    frame = pl.DataFrame({"doc_id": list("abcd"), "nearest_cost": [1.0, 2.0, 5.0, 7.0]})
    margins = select(frame, "knn", 2)["margin"].to_list()
    assert margins == [2.5, 1.5, -1.5, -3.5]
    assert select(frame, "knn", 4)["margin"].to_list() == [6.0, 5.0, 2.0, 0.0]


def test_exclusions_with_their_precedence_and_duplicates():
    names = [reason.value for reason in EXCLUSIONS]
    count = len(names) + 2
    frame = pool(count)
    rows = [
        (ids(count)[i], name, ids(count)[0] if name == "near_duplicate" else None)
        for i, name in enumerate(names)
    ]
    both = [(ids(count)[0], "near_duplicate", ids(count)[9])]  # withdrawn as well, which comes first
    excluded = pl.DataFrame(both + rows, schema=["doc_id", "reason", "duplicate_of"], orient="row")
    found = select(frame, "got-d", 100 // 50, exclusions=excluded)
    by_id = {row["doc_id"]: row for row in found.iter_rows(named=True)}
    for doc_id, reason, duplicate_of in rows:
        row = by_id[doc_id]
        assert (row["reason"], row["duplicate_of"]) == (reason, duplicate_of)
        assert (row["verdict"], row["rank"], row["margin"]) == ("rejected", None, None)
    assert len(chosen(found)) == 2
    with pytest.raises(UnknownNameError, match="no_score"):
        select(frame, "got-d", 2, exclusions=excluded.with_columns(reason=pl.lit("no_score")))
    with pytest.raises(MissingColumnsError, match="reason"):
        select(frame, "got-d", 2, exclusions=excluded.drop("reason"))


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("column", ["transport_gradient", "quality"])
def test_a_missing_score_is_a_reason_and_not_an_error(missing, column):
    values = [missing] + [0.5] * 9
    found = select(pool(10).with_columns(pl.Series(column, values)), "got-d-quality", 3)
    row = found.filter(pl.col("doc_id") == ids(10)[0])
    assert row["reason"].item() == "no_score"
    assert row[column].item() in (None, missing)
    assert found["reason"].value_counts().filter(pl.col("reason") == "no_score")["count"].item() == 1


def test_a_column_of_nothing_gives_no_score_to_all():
    frame = pool(5).with_columns(quality=pl.lit(None))
    with pytest.warns(BudgetExceedsPool):
        found = select(frame, "got-d-quality", 3)
    assert set(found["reason"]) == {"no_score"}


def test_ties_are_broken_by_a_hash_of_the_id():
    frame = pl.DataFrame({"doc_id": ids(400), "nearest_cost": [0.0, -0.0] * 200})
    drawn = {seed: chosen(select(frame, "knn", 100, seed=seed)) for seed in (0, 1)}
    assert chosen(select(frame[::-1], "knn", 100)) == drawn[0]
    assert 10 < len(set(drawn[0]) & set(drawn[1])) < 45  # 25 by chance
    assert chosen(select(frame, "knn", 100, seed=0))[:20] != sorted(ids(400))[:20]


@pytest.mark.parametrize(
    ("budget", "count"), [(7, 7), ("10%", 6), ("0.1%", 1), ("100%", 60), ("33.4%", 20), (60, 60)]
)
def test_budgets_in_documents(budget, count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(chosen(select(pool(60), "got-d", budget))) == count


def test_percent_is_of_the_eligible():
    excluded = pl.DataFrame({"doc_id": ids(60)[:40], "reason": ["contaminated"] * 40})
    assert len(chosen(select(pool(60), "got-d", "10%", exclusions=excluded))) == 2


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.integers(1, 3_000))
def test_token_budgets_are_never_exceeded_and_stop_at_the_first_that_does_not_fit(tokens, thousandth):
    frame = pool(len(tokens)).with_columns(n_tokens=pl.Series(tokens))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = select(frame, "got-d", f"{thousandth / 1000}ktok").join(frame, on="doc_id").sort("rank")
    taken = found.filter(pl.col("verdict") == "selected")
    assert taken["n_tokens"].sum() <= thousandth
    if len(taken) < len(found):
        assert taken["n_tokens"].sum() + found["n_tokens"][len(taken)] > thousandth


def test_token_budgets_need_tokens():
    frame = pool(9)
    with pytest.raises(MissingColumnsError, match="n_tokens") as caught:
        select(frame.drop("n_tokens"), "random", "2Mtok")
    assert caught.value.missing == ["n_tokens"]
    one_gap = frame.with_columns(n_tokens=pl.Series([None] + [10] * 8))
    found = select(one_gap, "random", "0.03ktok")
    assert found.filter(pl.col("doc_id") == ids(9)[0])["reason"].item() == "no_score"
    assert len(chosen(found)) == 3
    with pytest.raises(BadColumnError, match="negative"):
        select(frame.with_columns(n_tokens=pl.lit(-1)), "random", "2Mtok")


@pytest.mark.parametrize("budget", [11, "1Mtok"])
def test_more_than_there_is_selects_all_with_a_warning(budget):
    with pytest.warns(BudgetExceedsPool, match="all are selected"):
        found = select(pool(10), "random", budget)
    assert set(found["reason"]) == {"within_budget"}


@pytest.mark.parametrize(
    ("budget", "part"),
    [(20, 5), ("20", 5), (2, 1), ("10%", "10%"), ("2Mtok", "500000tok"), ("9tok", "2tok"), ("1tok", "1tok")],
)
def test_a_quarter_of_the_pool_has_a_quarter_of_an_amount(budget, part):
    assert scaled(budget, 0.25) == part


@pytest.mark.parametrize(
    "budget", [0, -3, True, 2.5, "", "10", "0%", "101%", "-5%", "2 Mtok", "2mtok", "1e3ktok", "tok", None]
)
def test_bad_budgets_list_the_valid_forms(budget):
    with pytest.raises(BadBudgetError, match=r"10%.*2Mtok") as caught:
        parse_budget(budget)
    assert caught.value.budget is budget


def test_wrong_names_and_columns():
    frame = pool(5)
    with pytest.raises(UnknownNameError, match="got-d-quality"):
        select(frame, "gotd", 2)
    with pytest.raises(UnknownNameError, match="quality_weight"):
        select(frame, "got-d-quality", 2, options={"weight": 1.0})
    with pytest.raises(MissingColumnsError) as caught:
        select(frame.drop("quality"), "got-d-quality", 2)
    assert caught.value.missing == ["quality"]
    with pytest.raises(BadColumnError, match="quality"):
        select(frame.with_columns(quality=pl.lit("good")), "got-d-quality", 2)
    with pytest.raises(RepeatedIdsError) as repeated:
        select(pl.concat([frame, frame[:2]]), "random", 2)
    assert repeated.value.count == 2
    assert set(repeated.value.doc_ids) == set(ids(2))
    for wrong in (pl.lit(None, dtype=pl.String), pl.lit(7)):
        with pytest.raises(BadColumnError, match="doc_id"):
            select(frame.with_columns(doc_id=wrong), "random", 2)


def test_an_empty_pool_has_empty_decisions():
    with pytest.warns(BudgetExceedsPool):
        found = select(pool(5)[:0], "got-d", 3)
    assert found.is_empty()
    assert found.schema["margin"] == pl.Float64
    assert found.schema["rank"] == pl.Int64
    assert select(pool(5)[:0], "got-d", "10%").is_empty()


def test_digest_is_of_the_chosen_in_their_order():
    frame = pool(20)
    found = select(frame, "got-d", 5)
    lines = "".join(f"{doc_id}\n" for doc_id in chosen(found))
    assert selection_digest(found) == hashlib.sha256(lines.encode()).hexdigest()
    assert selection_digest(found[::-1]) == selection_digest(found)
    assert selection_digest(select(frame, "got-d", 6)) != selection_digest(found)
    worst_last = frame.filter(~pl.col("doc_id").is_in(chosen(found)))["doc_id"][0]
    assert selection_digest(
        select(frame.filter(pl.col("doc_id") != worst_last), "got-d", 5)
    ) == selection_digest(found)
    swapped = found.with_columns(rank=6 - pl.col("rank"))
    assert selection_digest(swapped) != selection_digest(found)


def test_reading_the_samplers_is_cheap():
    """Sensors read tamis.toml, and with it the samplers, on every tick."""
    heavy = "{'torch', 'scipy', 'dagster', 'sklearn', 'lancedb', 'tamis.store'} & set(sys.modules)"
    code = f"import sys, tamis.selection; print({heavy} or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"
