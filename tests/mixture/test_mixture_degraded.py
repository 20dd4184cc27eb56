"""What runs may leave: diverged ones, targets that some lack, equal losses, sources that left, small caps.

Each has a law that says what it is worth, or an error that says what would do.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
from test_mixture_swarm import OPTIONS, first, sources

from tamis.mixture import TooFewRunsError, fit_mixture_law
from tamis.mixture.analysis import (
    Caps,
    agreement,
    fit_losses,
    law_rows,
    method_rows,
    recommend,
    with_larger_runs,
)
from tamis.mixture.errors import BadWeightsError, InfeasibleCapsError
from tamis.mixture.sources import design
from tamis.mixture.swarm import Source, TooFewPlannedRunsError, TooFewSourcesError, plan_swarm

NAMES = ("a", "b", "c")
SWARM = first(*NAMES)
GOOD = [2.0 - run.weights.get("a", 0.0) ** 0.5 for run in SWARM.current]


@pytest.fixture(autouse=True)
def few_fits(monkeypatch):
    """Intervals of weights take most of the time, and are no matter here."""
    monkeypatch.setattr("tamis.mixture.analysis.RESAMPLED", 2)


def losses(**by_target):
    rows = [
        {"run": run.name, "target": target, "bits_per_byte": value}
        for target, values in by_target.items()
        for run, value in zip(SWARM.current, values, strict=True)
        if value != "absent"
    ]
    return pl.DataFrame(rows, schema={"run": pl.String, "target": pl.String, "bits_per_byte": pl.Float64})


def caps(tokens=1_000, **more):
    return Caps(
        tokens=dict.fromkeys(NAMES, tokens) | more, train_tokens=4_000, max_repetition=4.0, stay_near=0.05
    )


@cache
def good_law():
    return fit_losses(SWARM, losses(goal=GOOD), ("goal",), 0)


def recommended(found, targets=("goal",), limits=None):
    """The whole way from losses to what the tables and the page are made of; None: the good ones."""
    law = good_law() if found is None else fit_losses(SWARM, found, targets, 0)
    assert len(law_rows(SWARM, law, targets)) == len(SWARM.current) * len(targets)
    assert {row["target"] for row in method_rows(law, targets) if row["chosen"]} == set(targets)
    made = recommend(SWARM, law, limits or caps(), 0)
    shares = made.shares
    assert shares["weight"].sum() == pytest.approx(1)
    assert (shares["low"] <= shares["weight"]).all()
    assert (shares["weight"] <= shares["high"]).all()
    assert np.isfinite([one.difference_high for one in made.controls]).all()
    return law, made, dict(shares.select("source", "weight").iter_rows())


@pytest.mark.parametrize("loss", [None, float("inf"), 9.0])
def test_one_run_that_diverged_changes_nothing_that_the_others_say(loss):
    """Without a loss, or with one that is no number or far too large."""
    spoilt = [*GOOD[:5], loss, *GOOD[6:]]
    law, made, weights = recommended(losses(goal=spoilt))
    assert weights["a"] > 0.9
    natural = next(one for one in made.controls if one.name == "natural")
    assert natural.difference_high < -0.2
    best = next(one for one in made.controls if one.name == "best run")
    assert best.measured == pytest.approx(min(GOOD[:5] + GOOD[6:]))
    kept = np.isfinite(law.kept_losses[:, 0])
    assert not kept[5]
    assert kept.sum() == len(GOOD) - 1


@pytest.mark.parametrize("without", [12, 8])
def test_too_few_finished_runs_name_the_target_and_what_to_do(without):
    spoilt = [None] * without + GOOD[without:]
    with pytest.raises(
        TooFewRunsError, match="loss on target other, but a law over 3 sources needs at least 5"
    ) as few:
        fit_losses(SWARM, losses(goal=GOOD, other=spoilt), ("goal", "other"), 0)
    assert (few.value.target, few.value.runs, few.value.name) == (1, len(GOOD) - without, "other")
    assert "learning_rate in [pretraining]" in str(few.value)


def test_a_target_that_some_runs_lack_is_fitted_to_the_others():
    other = [2 * loss if place % 4 else (None, "absent")[place % 8 == 0] for place, loss in enumerate(GOOD)]
    law, _made, weights = recommended(losses(goal=GOOD, other=other), ("goal", "other"))
    assert np.isfinite(law.losses).sum(0).tolist() == [12, 9]
    assert weights["a"] > 0.9


def test_two_targets_that_no_run_has_together_have_a_mixture_and_an_interval():
    goal = [loss if place < 6 else None for place, loss in enumerate(GOOD)]
    other = [None if place < 6 else 2 * loss for place, loss in enumerate(GOOD)]
    law, made, weights = recommended(losses(goal=goal, other=other), ("goal", "other"))
    assert weights["a"] > 0.6
    assert "best run" not in {one.name for one in made.controls}
    assert not with_larger_runs(SWARM, law, "llama-0.8m", 1_000).larger_wanted


@pytest.mark.parametrize("noise", [0.0, 1e-12])
def test_equal_losses_have_a_law_that_is_constant_and_the_natural_shares(noise):
    equal = [1.5 + noise * place for place in range(len(GOOD))]
    law, made, weights = recommended(losses(goal=equal), limits=caps(a=2_000))
    assert law.method == ("constant",)
    (method,) = method_rows(law, ("goal",))
    assert (method["method"], method["rank_correlation"]) == ("constant", None)
    assert weights == pytest.approx({"a": 0.5, "b": 0.25, "c": 0.25})
    natural = next(one for one in made.controls if one.name == "natural")
    assert natural.difference_high >= 0, "the law predicts no gain"
    assert made.mixture.difference_high >= 0


def test_one_constant_target_of_two_decides_nothing():
    _law, _made, weights = recommended(losses(goal=GOOD, other=[1.0] * 12), ("goal", "other"))
    assert weights["a"] > 0.9


@pytest.mark.parametrize("alike", ["small", "larger"])
def test_equal_losses_at_one_size_are_no_agreement_and_are_named(alike):
    planned = with_larger_runs(SWARM, good_law(), "llama-0.8m", 1_000)
    both = {"small": GOOD, "larger": GOOD} | {alike: [1.5] * 12}
    rows = losses(goal=both["small"]).rows()
    by_weights = dict(zip((str(run.weights) for run in SWARM.current), both["larger"], strict=True))
    rows += [(run.name, "goal", by_weights[str(run.weights)]) for run in planned.larger.values()]
    found = agreement(
        planned, pl.DataFrame(rows, ["run", "target", "bits_per_byte"], orient="row"), ["goal"], 0
    )
    assert found is not None
    assert (found.correlation, found.alike) == (0.0, alike)
    assert found.words.startswith(f"the {alike} runs of 12 mixtures have equal losses")


def test_a_source_that_left_has_no_share_and_the_others_keep_theirs():
    _law, _made, weights = recommended(None, limits=caps(c=0))
    assert weights["c"] == 0
    assert weights["a"] > 0.9


def test_caps_that_the_budget_does_not_fit_under_say_what_would_do():
    with pytest.raises(InfeasibleCapsError, match="train on fewer tokens, add data or raise max_repetition"):
        recommended(None, limits=caps(tokens=100))


def test_weights_that_do_not_sum_to_one_are_refused_beyond_rounding():
    weights = SWARM.part_weights
    assert fit_mixture_law(weights * 1.019, GOOD, "root").weights.sum(1) == pytest.approx(1)
    with pytest.raises(
        BadWeightsError, match=r"row 0: shares do not add up to 1 within 2 % \(the sum is 1.03\)"
    ):
        fit_mixture_law(weights * 1.03, GOOD, "root")


def drawn(**documents):
    """Documents that runs draw from, ten tokens each."""
    rows = [
        {"source": source, "doc_id": f"{source}{place:03}", "n_tokens": 10, "rank": place + 1}
        for source, count in documents.items()
        for place in range(count)
    ]
    schema = {"source": pl.String, "doc_id": pl.String, "n_tokens": pl.Int64, "rank": pl.Int64}
    return pl.DataFrame(rows, schema=schema)


def no_vectors(doc_ids):
    return np.zeros((0, 1))


def test_a_source_without_usable_documents_is_in_no_plan_and_one_that_loses_all_is_removed():
    documents = drawn(a=200, b=200, c=200)
    before = design(documents, documents.clear(), None, None, OPTIONS, no_vectors)
    assert [*before.swarm.parts] == ["a", "b", "c"]
    chosen = {"a": 0.5, "b": 0.3, "c": 0.2}
    now = design(
        documents.filter(pl.col("source") != "c"), documents, before.swarm, chosen, OPTIONS, no_vectors
    )
    assert {one.name: (one.change, one.tokens) for one in now.sources}["c"] == ("removed", 0)
    assert now.swarm.current == before.swarm.current, "nothing is trained"
    alone = documents.filter(pl.col("source") == "a")
    with pytest.raises(TooFewSourcesError, match=r"found 1: a \(sources without such documents: b, c\)"):
        design(alone, documents, before.swarm, chosen, OPTIONS, no_vectors)


def test_fewer_runs_than_a_law_over_the_sources_needs_are_refused_with_the_number():
    many = [*(Source(name=f"s{place:02}", documents=5, tokens=500) for place in range(30))]
    with pytest.raises(
        TooFewPlannedRunsError, match="runs = 12 is too few for 30 sources: a law needs at least 32"
    ):
        plan_swarm(many, replace(OPTIONS, runs=12))
    assert len(plan_swarm(sources("a", "b", a="first", b="first"), OPTIONS).current) == 12
