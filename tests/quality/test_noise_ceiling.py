"""The ceiling that a judge's own noise sets, on judges whose noise is known."""

import math

import numpy as np
import pytest

from tamis.base.ranks import spearman
from tamis.quality.noise import auc
from tamis.quality.noise_ceiling import noise_ceiling, normal_area


def judge(noise: float, count: int = 4_000, seed: int = 0):
    """A steady opinion and two askings of it."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=count)
    first, second = (truth + noise * generator.normal(size=count) for _ in range(2))
    return truth, first, second


@pytest.mark.parametrize("noise", [0.2, 0.7, 1.5])
def test_who_knows_the_steady_opinion_reaches_the_ceiling(noise):
    truth, first, second = judge(noise)
    found = noise_ceiling(first, second, cut_share=0.2)
    assert found.reliability == pytest.approx(spearman(first, second))
    assert found.reliability_low < found.reliability < found.reliability_high
    assert found.spearman == pytest.approx(spearman(truth, first), abs=0.02)
    assert found.spearman_of_mean == pytest.approx(spearman(truth, first + second), abs=0.02)
    best = first >= np.quantile(first, 0.8)
    assert found.auc_at_cut == pytest.approx(auc(truth[best], truth[~best], resamples=1).value, abs=0.015)
    assert found.spearman > found.reliability


def test_a_judge_that_agrees_with_itself_has_no_ceiling_and_one_that_guesses_has_none_above_chance():
    _, first, _ = judge(0.5, 200)
    perfect = noise_ceiling(first, first, cut_share=0.2)
    assert (perfect.reliability, perfect.spearman) == (pytest.approx(1.0), pytest.approx(1.0))
    assert perfect.auc_at_cut == pytest.approx(1.0, abs=1e-3)
    opposed = noise_ceiling(first, -first, cut_share=0.2)
    assert opposed.reliability == pytest.approx(-1.0)
    assert (opposed.spearman, opposed.auc_at_cut) == (0.0, pytest.approx(0.5))


def test_missing_answers_are_left_out_and_too_few_give_no_ceiling():
    _, first, second = judge(0.5, 40)
    second[10:] = math.nan
    assert noise_ceiling(first, second, cut_share=0.2).documents == 10
    first[0] = math.nan
    assert noise_ceiling(first, second, cut_share=0.2) is None


def test_the_area_under_a_normal_model_has_its_limits():
    assert normal_area(0.0, 0.2) == pytest.approx(0.5)
    assert normal_area(1.0, 0.2) == pytest.approx(1.0, abs=1e-3)
    areas = [normal_area(one, 0.2) for one in (0.1, 0.4, 0.7, 0.95)]
    assert areas == sorted(areas)
