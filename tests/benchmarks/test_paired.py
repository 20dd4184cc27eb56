"""Paired differences of two arms, where the answer is known."""

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks._paired import RESAMPLES, difference, values, variance_of_mean
from tamis.training.results import Outcomes


def outcomes(right: np.ndarray) -> Outcomes:
    return Outcomes(expected=[1] * len(right), predicted=right.astype(int).tolist())


def arm(right_tsn: np.ndarray) -> np.ndarray:
    """[tasks, seeds, 1 + draws] of the accuracy of right [tasks, seeds, n]."""
    return np.stack(
        [values("accuracy", [outcomes(right_n) for right_n in right_sn]) for right_sn in right_tsn]
    )


def test_the_first_column_is_the_metric_itself_and_the_rest_scatter_around_it():
    right_n = np.arange(400) % 4 != 0
    found = values("accuracy", [outcomes(right_n)])
    assert found.shape == (1, 1 + RESAMPLES)
    assert found[0, 0] == pytest.approx(0.75)
    assert found[0, 1:].mean() == pytest.approx(0.75, abs=0.005)
    assert found[0, 1:].std() == pytest.approx((0.75 * 0.25 / 400) ** 0.5, rel=0.1)


def test_an_arm_against_itself_has_no_difference_and_no_width():
    same = arm(np.random.default_rng(0).random((2, 3, 50)) < 0.5)
    found = difference(same, same, 100)
    assert (found.mean, found.low, found.high, found.seeds) == (0.0, 0.0, 0.0, (0.0, 0.0, 0.0))


def test_the_interval_covers_the_true_gap_about_as_often_as_it_says():
    """Both arms see the same examples; their gap varies over examples and over seeds."""
    truth = float(norm.cdf(0.4 / (1 + 1 + 0.15**2) ** 0.5)) - 0.5  # an example, its noise, and luck of a seed
    covered = []
    for trial in range(120):
        draw = np.random.default_rng(trial)
        hard_tn = draw.normal(size=(2, 1, 150))
        luck_ts = draw.normal(scale=0.15, size=(2, 4, 1))
        right = [hard_tn + draw.normal(size=(2, 4, 150)) + shift > 0 for shift in (0.4 + luck_ts, 0.0)]
        found = difference(arm(right[0]), arm(right[1]), 300)
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) >= 0.9


def test_a_task_weighs_as_much_as_another():
    better = np.stack([np.ones((2, 40)), np.zeros((2, 40))]).astype(bool)
    worse = np.zeros((2, 2, 40), dtype=bool)
    assert difference(arm(better), arm(worse), 80).mean == pytest.approx(0.5)


def test_the_variance_with_more_seeds_is_that_of_a_study_with_so_many():
    """Studies of 4 seeds say what studies of 16 count, which is not less than their means vary."""

    def study(trial: int, seeds: int) -> np.ndarray:
        draw = np.random.default_rng(trial)
        hard_tn, liked_tn = draw.normal(size=(2, 2, 1, 150))
        luck_ts = draw.normal(scale=0.2, size=(2, seeds, 1))
        shifts = (0.4 * liked_tn + luck_ts, 0.0)
        right = [hard_tn + draw.normal(size=(2, seeds, 150)) + shift > 0 for shift in shifts]
        return arm(right[0]) - arm(right[1])

    large = [study(1_000 + trial, 16) for trial in range(100)]
    said = np.mean([variance_of_mean(study(trial, 4), 16) for trial in range(40)])
    assert said == pytest.approx(np.mean([variance_of_mean(one, 16) for one in large]), rel=0.15)
    assert said >= np.var([one[:, :, 0].mean() for one in large])
