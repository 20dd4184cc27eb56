"""Differences in pairs: means, and intervals that other examples would keep to."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tamis.evaluation.paired import difference


def test_of_scores_it_is_the_t_interval_of_pairs():
    draw = np.random.default_rng(0)
    before, after = draw.normal(size=40), draw.normal(0.3, size=40)
    found = difference(after, before)
    expected = ttest_rel(after, before).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((after - before).mean())
    assert found.proven == (expected.low > 0 or expected.high < 0)


def test_of_losses_it_is_the_difference_of_ratios_and_covers_it_as_often_as_it_says():
    draw = np.random.default_rng(1)
    size = draw.integers(50, 2_000, 20_000).astype(float)
    after, before = size * draw.normal(1.9, 0.2, len(size)), size * draw.normal(2.0, 0.2, len(size))
    truth = (after - before).sum() / size.sum()
    covered = []
    for _ in range(400):
        some = draw.choice(len(size), 60, replace=False)
        found = difference(after[some], before[some], size[some])
        assert found.mean == pytest.approx((after[some] - before[some]).sum() / size[some].sum())
        covered.append(found.low <= truth <= found.high)
    assert 0.9 < np.mean(covered) < 0.985


def test_a_single_example_has_no_interval():
    found = difference([1.0], [0.25])
    assert found.mean == 0.75
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert not found.proven
