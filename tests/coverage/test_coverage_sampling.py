"""Draws with weights 1 / density: right direction, right odds, and exact over shards."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from tamis.coverage import (
    BadDensityError,
    DensitySketch,
    UniformDrawWarning,
    draw_report,
    effective_sample_size,
    inverse_propensity_keys,
    inverse_propensity_sample,
)
from tamis.coverage.sampling import keyed_uniform

IDS = [f"{number:032x}" for number in range(2_000)]


def test_keyed_uniforms_are_uniform_and_keyed():
    uniform = keyed_uniform(IDS, 3, "a purpose")
    assert kstest(uniform, "uniform").pvalue > 0.001
    assert np.array_equal(keyed_uniform(IDS[::-1], 3, "a purpose")[::-1], uniform)
    for seed, purpose in [(4, "a purpose"), (-3, "a purpose"), (3, "another")]:
        assert abs(np.corrcoef(keyed_uniform(IDS, seed, purpose), uniform)[0, 1]) < 0.1


def test_first_draws_have_odds_of_one_over_density():
    ids, density = IDS[:4], np.array([1.0, 2.0, 4.0, 8.0])
    firsts = [inverse_propensity_sample(ids, density, 1, seed)[0] for seed in range(3_000)]
    counts = [firsts.count(doc_id) for doc_id in ids]
    odds = 1 / density
    assert chisquare(counts, 3_000 * odds / odds.sum()).pvalue > 0.001


def test_densities_below_one_weigh_as_one():
    small, one = np.array([-3.0, 0.2, 1.0, 50.0]), np.array([1.0, 1.0, 1.0, 50.0])
    assert np.array_equal(
        inverse_propensity_keys(IDS[:4], small, 0), inverse_propensity_keys(IDS[:4], one, 0)
    )


def test_duplicates_are_thinned_and_not_favoured():
    """Algorithm 2 of the paper prints the weights upside down, which would raise the share of duplicates."""
    rng = np.random.default_rng(0)
    scattered = rng.normal(size=(900, 16))
    block = rng.normal(size=(1, 16)) + 0.01 * rng.normal(size=(100, 16))  # 10 % of the pool
    pool = np.concatenate([scattered, block])
    density = DensitySketch(16, rows=200, expected=1_000).calibrate(scattered).add(pool).density(pool)
    ids = IDS[:1_000]
    duplicates = set(ids[900:])

    def share(weights_for):
        draws = [inverse_propensity_sample(ids, weights_for, 100, seed) for seed in range(10)]
        return np.mean([doc_id in duplicates for draw in draws for doc_id in draw])

    assert share(density) < 0.03
    assert share(density.max() / np.maximum(density, 1)) > 0.3


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 60), st.integers(0, 5), st.lists(st.integers(0, 3), min_size=80, max_size=80))
def test_the_draw_from_shards_is_the_draw_from_the_pool(k, seed, shard_of):
    density = dict(zip(IDS, np.random.default_rng(seed).uniform(0.5, 30, 80).tolist(), strict=False))
    pool = list(density)
    survivors = []
    for shard in range(4):
        part = [doc_id for doc_id, home in zip(pool, shard_of, strict=True) if home == shard]
        survivors += inverse_propensity_sample(part, [density[i] for i in part], k, seed)
    merged = inverse_propensity_sample(survivors, [density[i] for i in survivors], k, seed)
    assert merged == inverse_propensity_sample(pool, list(density.values()), k, seed)


def test_more_than_there_are_gives_all_of_them_once():
    assert sorted(inverse_propensity_sample(IDS[:7], np.ones(7), 100, 0)) == IDS[:7]


def test_wrong_input_is_named():
    with pytest.raises(BadDensityError, match="row 1") as caught:
        inverse_propensity_sample(IDS[:3], [1.0, np.nan, 2.0], 1, 0)
    assert isinstance(caught.value, ValueError)
    for ids, density, k in [(IDS[:3], [1.0], 1), (IDS[:2], [1.0, 1.0], -1), (["a", "a"], [1.0, 1.0], 1)]:
        with pytest.raises(BadDensityError):
            inverse_propensity_sample(ids, density, k, 0)


def test_effective_sample_size():
    assert effective_sample_size(np.full(50, 7.0)) == pytest.approx(1)
    # 90 documents of weight 1, 10 of weight 1/9: (90 + 10/9)^2 / (100 (90 + 10/81))
    assert effective_sample_size([1.0] * 90 + [9.0] * 10) == pytest.approx(0.92110, abs=1e-4)
    for wrong in ([], [1.0, np.nan]):
        with pytest.raises(ValueError, match="NaN"):
            effective_sample_size(wrong)


def sequential_draw_odds(weights, k):
    """Chance of each document to be among k drawn one after the other with these weights, by enumeration."""
    if k == 0:
        return np.zeros(len(weights))
    odds = np.zeros(len(weights))
    for first, weight in enumerate(weights):
        if weight:
            rest = weights.copy()
            rest[first] = 0
            odds += weight / weights.sum() * (sequential_draw_odds(rest, k - 1) + np.eye(len(weights))[first])
    return odds


@pytest.mark.parametrize("k", [2, 3])
def test_inclusion_is_that_of_sequential_draws_without_replacement(k):
    density, draws = np.array([1.0, 1.5, 3.0, 6.0, 20.0]), 4_000
    expected = sequential_draw_odds(1 / density, k)
    samples = [inverse_propensity_sample(IDS[:5], density, k, seed) for seed in range(draws)]
    counts = np.array([sum(doc_id in sample for sample in samples) for doc_id in IDS[:5]])
    assert np.abs(counts / draws - expected).max() < 5 * np.sqrt(0.25 / draws)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 200), st.integers(0, 9), st.floats(0, 3))
def test_draw_report_is_the_formula(n, seed, spread):
    density = np.random.default_rng(seed).lognormal(1, spread, n)
    weights = [1 / max(value, 1.0) for value in density]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UniformDrawWarning)
        draw = draw_report(density)
    assert draw.effective_share == pytest.approx(
        sum(weights) ** 2 / n / sum(weight**2 for weight in weights), rel=1e-9
    )
    assert draw.uniform_in_disguise == (draw.effective_share > 0.99)
    assert draw.density_spread >= 1
    assert draw.documents == n


def test_a_uniform_draw_in_disguise_warns_and_a_real_one_does_not():
    rng = np.random.default_rng(0)
    with pytest.warns(UniformDrawWarning) as caught:
        draw = draw_report(rng.uniform(1.50e8, 1.75e8, 10_000))  # figure 9 of the paper
    assert caught[0].message.share == draw.effective_share == pytest.approx(0.998, abs=0.001)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not draw_report([1.0] * 90 + [30.0] * 10).uniform_in_disguise


def test_the_published_setting_is_uniform_in_disguise_and_the_default_is_not():
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(30, 48))
    pool = topics[rng.integers(0, 30, 1_500)] + rng.normal(size=(1_500, 48))
    pool[:150] = pool[0] + 0.05 * rng.normal(size=(150, 48))
    paper = DensitySketch.paper_mode(48).add(pool)
    assert (paper.rows, paper.hashes, paper.buckets) == (1_000, 1, 20_000)
    density = paper.density(pool)
    assert 0.40 < density[150:].mean() / len(pool) < 0.52
    with pytest.warns(UniformDrawWarning):
        draw_report(density[150:])
    default = DensitySketch(48, rows=200, expected=len(pool)).add(pool)
    assert draw_report(default.density(pool)).effective_share < 0.95
