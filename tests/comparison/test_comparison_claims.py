"""What a trained comparison proves, in sentences: proven, not proven, not testable, runs that diverged."""

import re

import polars as pl
import pytest
from made_comparisons import rows
from scipy import stats

from tamis.comparison.analysis import analyse
from tamis.comparison.claims import runs_of, sentences


def said(report) -> str:
    return " ".join(sentences(report))


def test_a_proven_difference_is_named_with_its_size():
    report = analyse(rows({"full": 2.0, "random": 2.3, "got-d": 2.0, "knn": 2.3}), 0)
    text = said(report)
    size = re.match(r"Better than random on the target: got-d by (\S+) bits per byte", text)
    assert size is not None
    assert float(size[1]) == pytest.approx(0.3, abs=0.02)
    assert "knn" not in text
    (knn,) = [one for one in report.target.contrasts if one.sampler == "knn"]
    assert knn.low < 0 < knn.high


def test_the_interval_of_a_loss_is_that_of_the_t_distribution_over_data_seeds():
    report = analyse(rows({"full": 2.0, "random": 2.3}, data_seeds=3), 0)
    units = rows({"full": 2.0, "random": 2.3}, data_seeds=3).filter(pl.col("sampler") == "random")
    oracle = stats.ttest_1samp(units["target_bits_per_byte"].to_numpy(), 0).confidence_interval()
    arm = report.target.arms[1]
    assert (arm.low, arm.high) == pytest.approx((oracle.low, oracle.high), rel=1e-6)


def test_nothing_significant_is_said_so():
    report = analyse(rows({"full": 2.3, "random": 2.3, "got-d": 2.3}, noise=0.05), 0)
    assert "No sampler is proven better or worse than random" in said(report)


def test_one_run_and_one_data_seed_prove_nothing():
    runs = rows({"full": 2.0, "random": 2.3, "got-d": 2.0}, data_seeds=1)
    assert said(analyse(runs, 0)).startswith("One run per sampler is not enough to test")
    again = runs.with_columns(pl.col("training_seed") + 1)
    assert said(analyse(runs.vstack(again), 0)).startswith("With one data seed, nothing is known")


def test_runs_that_are_not_all_there_are_said_so():
    lost = analyse(rows({"full": 2.0, "random": 2.3, "got-d": 2.0}, failed="got-d"), 0)
    assert [runs_of(arm) for arm in lost.target.arms] == ["4", "4", "3 of 4, 1 diverged"]
    assert "got-d: 1 of 4 runs diverged" in said(lost)
    assert lost.target.best.loss == min(arm.loss for arm in lost.target.arms)


def test_a_sampler_has_its_budget_in_its_name_where_there_are_several():
    runs = rows({"full": 2.0, "random": 2.3})
    more = rows({"random": 2.1}).with_columns(budget=pl.lit("20%"))
    assert [analyse(runs, 0).name_of(arm) for arm in analyse(runs, 0).target.arms] == ["full", "random"]
    found = analyse(runs.vstack(more), 0)
    assert [found.name_of(arm) for arm in found.target.arms] == ["full", "random 10%", "random 20%"]


def test_a_comparison_without_a_single_loss_is_an_error():
    failed = rows({"full": 2.0}, data_seeds=1, failed="full")
    with pytest.raises(ValueError, match="comparison has a loss yet; first failure of 1: full 100%"):
        analyse(failed, 0)
