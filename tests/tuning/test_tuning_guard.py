"""The guard: bounds, levels and truncated likelihood against scipy, draws and an analysis of variance."""

import math

import numpy as np
import pytest
from scipy.stats import t, truncnorm

from tamis.base.errors import BadArgumentError
from tamis.comparison.losses import PairedLosses
from tamis.comparison.statistics import Estimate, contrasts, paired
from tamis.tuning.errors import NoLooksLeftError, TooFewExamplesError, TooFewPairsError
from tamis.tuning.guard import Pairs, _conditional, judge, level_of
from tamis.tuning.parts import LEAST_HELD_OUT, LEAST_TRAIN, Parts, divide
from tamis.tuning.search import Noise

NOISE = Noise(variance=0.084, freedom=40)


def pairs(effect, *, seeds=3, examples=40, seed=0, of_seeds=0.168, of_examples=0.26, own=0.26):
    draw = np.random.default_rng(seed)
    bytes_d = np.round(np.exp(draw.normal(6, 0.5, examples)))
    reference_pd = (5 + draw.normal(size=(seeds, examples))) * bytes_d
    difference_pd = (
        effect
        + of_seeds**0.5 * draw.normal(size=(seeds, 1))
        + of_examples**0.5 * draw.normal(size=examples)
        + own**0.5 * draw.normal(size=(seeds, examples))
    )
    return Pairs(winner_pd=reference_pd + difference_pd * bytes_d, reference_pd=reference_pd, bytes_d=bytes_d)


def test_levels_fall_add_up_to_the_error_rate_and_end():
    levels = [level_of(look) for look in range(1, 11)]
    assert levels[0] == 0.025
    assert sum(levels) == pytest.approx(0.05 * 10 / 11)
    assert levels == sorted(levels, reverse=True)
    with pytest.raises(NoLooksLeftError, match=r"10 times.*add new examples"):
        level_of(11)


def test_the_mean_is_that_of_a_comparison_and_the_interval_counts_seeds_and_examples():
    runs = pairs(-1.0, seeds=4)
    goal = judge(runs, look=1, noise=NOISE).goal
    both = np.stack([runs.winner_pd, runs.reference_pd])[:, :, None]
    losses = PairedLosses((("got-d", "10%"), ("random", "10%")), both, runs.bytes_d)
    (contrast,) = contrasts(losses, "random", 0, level=0.10)
    assert goal.mean == contrast.difference
    # Oracle: two-way analysis of variance of the influence of each run and example on the ratio.
    total = runs.bytes_d.sum()
    gap_pd = runs.winner_pd - runs.reference_pd
    influence_pd = (gap_pd - gap_pd.sum() / (4 * total) * runs.bytes_d) * 40 / total
    own_pd = gap_pd - (gap_pd.sum(1) / total)[:, None] * runs.bytes_d
    own_pd = (own_pd - own_pd.mean(0)) * 40 / total
    by_seed = (gap_pd.sum(1) / total).var(ddof=1) / 4
    by_example = influence_pd.mean(0) @ influence_pd.mean(0) / 39 / 40 - (own_pd**2).sum() / (3 * 39 * 4 * 40)
    deviation = (by_seed + by_example) ** 0.5
    cochran = (t.ppf(0.95, 3) * by_seed + t.ppf(0.95, 39) * by_example) / deviation
    freedom = deviation**4 / (by_seed**2 / 3 + by_example**2 / 39)
    bound = (cochran + t.ppf(0.95, freedom) * deviation) / 2
    assert (goal.p_better < 0.05) == (goal.mean < -cochran)
    assert goal.low == pytest.approx(goal.mean - bound, rel=1e-9)
    assert goal.high == pytest.approx(goal.mean + bound, rel=1e-9)


def test_more_levels_of_a_contrast_are_those_of_the_t_distribution():
    runs = pairs(-1.0, seeds=5)
    both = np.stack([runs.winner_pd, runs.reference_pd])[:, :, None]
    losses = PairedLosses((("got-d", "10%"), ("random", "10%")), both, runs.bytes_d)
    estimate = paired(losses, 0, 1)
    for level in (0.01, 0.05, 0.3):
        (contrast,) = contrasts(losses, "random", 0, level=level)
        spread = t.ppf(1 - level / 2, estimate.degrees_of_freedom) * estimate.deviation
        assert (contrast.low, contrast.high) == pytest.approx(
            (estimate.mean - spread, estimate.mean + spread), rel=1e-12
        )
    (usual,) = contrasts(losses, "random", 0)
    assert (usual.low, usual.high) == estimate.interval() == estimate.interval(0.05)


def test_a_source_that_does_not_vary_leaves_the_bound_of_the_other():
    common = {"mean": 0.0, "seeds": 3, "documents": 40, "pairs": 3}
    assert Estimate(by_seed=4.0, by_document=0.0, **common).bound(0.05) == pytest.approx(2 * t.ppf(0.95, 2))
    assert Estimate(by_seed=0.0, by_document=4.0, **common).bound(0.05) == pytest.approx(2 * t.ppf(0.95, 39))
    assert Estimate(by_seed=0.0, by_document=0.0, **common).bound(0.05) == 0
    assert math.isnan(Estimate(by_seed=math.nan, by_document=math.nan, **common).bound(0.05))


def test_it_ships_exactly_where_the_bound_at_the_level_of_the_look_excludes_no_gain():
    shipped = []
    for seed in range(60):
        runs = pairs(-1.2, seed=seed)
        verdicts = [judge(runs, look=look, noise=NOISE) for look in (1, 2, 10)]
        for verdict in verdicts:
            assert verdict.shipped == (verdict.goal.p_better < verdict.level)
            assert (verdict.conditional is not None) == verdict.shipped
        shipped.append([verdict.shipped for verdict in verdicts])
    first, second, last = np.array(shipped).sum(0)
    assert 60 > first > second > last


def test_without_effect_little_ships_and_intervals_cover():
    """600 guards of three pairs; the limits are four standard errors wide."""
    verdicts = [judge(pairs(0.0, seed=seed), look=1, noise=NOISE) for seed in range(600)]
    assert np.mean([verdict.shipped for verdict in verdicts]) < 0.05
    covered = np.mean([verdict.goal.low <= 0 <= verdict.goal.high for verdict in verdicts])
    assert 0.85 < covered < 0.95


def test_the_conditional_interval_is_that_of_a_truncated_normal():
    estimate = Estimate(mean=-1.0, by_seed=0.03, by_document=0.01, seeds=3, documents=40, pairs=3)
    cut = -0.8
    conditional = _conditional(estimate, cut, Noise(variance=0.084, freedom=40))
    deviation = ((40 * 2 * 0.084 / 3 + 2 * 0.03) / 42 + 0.01) ** 0.5
    for truth, share in ((conditional.low, 0.95), (conditional.mean, 0.5), (conditional.high, 0.05)):
        below = truncnorm.cdf(estimate.mean, -np.inf, (cut - truth) / deviation, loc=truth, scale=deviation)
        assert below == pytest.approx(share, abs=1e-6)
    assert conditional.low < estimate.mean < conditional.mean < conditional.high


def test_far_from_the_cut_passing_says_nothing_and_at_the_cut_nothing_is_left():
    estimate = Estimate(mean=-9.0, by_seed=0.056, by_document=0.0, seeds=3, documents=40, pairs=3)
    conditional = _conditional(estimate, -1.0, Noise(variance=0.084, freedom=10**6))
    assert conditional.mean == pytest.approx(-9.0, abs=1e-6)
    assert conditional.high - conditional.low == pytest.approx(2 * 1.6449 * 0.056**0.5, rel=1e-3)
    at_cut = _conditional(estimate, -9.0, NOISE)
    assert at_cut.high == math.inf
    assert _conditional(estimate, -1.0, Noise(variance=0.084, freedom=3)) is None


def test_what_ships_is_covered_given_that_it_ships_and_not_without_that():
    """Gain .5, three pairs: announced plainly, too much is promised."""
    plain, given, gains = [], [], []
    for seed in range(1_500):
        verdict = judge(pairs(-0.5, seed=seed), look=1, noise=NOISE)
        if verdict.shipped:
            plain.append(verdict.goal.low <= -0.5 <= verdict.goal.high)
            given.append(verdict.conditional.low <= -0.5 <= verdict.conditional.high)
            gains.append((verdict.goal.mean, verdict.conditional.mean))
    assert len(plain) > 200
    assert np.mean(given) > 0.84
    assert np.mean(plain) < np.mean(given)
    of_plain, of_given = np.median(gains, axis=0)
    assert of_plain < -0.6
    assert abs(of_given + 0.5) < abs(of_plain + 0.5)


def test_an_improvement_as_large_as_could_be_seen_is_seen_in_about_four_cases_of_five():
    first = judge(pairs(0.0, seeds=8), look=1, noise=NOISE)
    seen = np.median([judge(pairs(0.0, seeds=8, seed=s), look=1, noise=NOISE).seen for s in range(100)])
    shipped = np.mean([judge(pairs(-seen, seeds=8, seed=s), look=1, noise=NOISE).shipped for s in range(300)])
    assert 0.7 < shipped < 0.9
    assert first.seen > 0


def test_helps_the_goal_and_harms_the_rest():
    quiet = {"of_seeds": 0.001, "of_examples": 0.001, "own": 0.001}
    goal = pairs(-1.0, **quiet)
    for effect, harms in ((0.5, True), (0.0, False), (-0.5, False)):
        verdict = judge(goal, look=1, noise=NOISE, control=pairs(effect, seed=9, **quiet))
        assert verdict.shipped
        assert verdict.harms is harms
        assert verdict.control.low < effect < verdict.control.high
    assert judge(goal, look=1, noise=NOISE).harms is None


def test_failed_runs_take_their_pair_with_them():
    runs = pairs(-1.0, seeds=5)
    runs.winner_pd[1] = np.nan
    runs.reference_pd[3] = np.nan
    kept = Pairs(
        winner_pd=runs.winner_pd[[0, 2, 4]], reference_pd=runs.reference_pd[[0, 2, 4]], bytes_d=runs.bytes_d
    )
    assert judge(runs, look=1, noise=NOISE) == judge(kept, look=1, noise=NOISE)
    runs.winner_pd[0] = np.nan
    with pytest.raises(TooFewPairsError, match=r"only 2 pairs .* at least 3"):
        judge(runs, look=1, noise=NOISE)


def test_runs_without_noise_are_judged_by_their_sign():
    bytes_d = np.full(20, 100.0)
    for gap, shipped in ((-1.0, True), (0.0, False), (1.0, False)):
        runs = Pairs(
            winner_pd=np.full((3, 20), 300 + gap), reference_pd=np.full((3, 20), 300.0), bytes_d=bytes_d
        )
        verdict = judge(runs, look=1, noise=Noise(variance=0.0, freedom=20))
        assert verdict.shipped is shipped
        assert verdict.goal.mean == verdict.goal.low == verdict.goal.high


def test_too_few_examples_are_refused_with_the_number_needed():
    with pytest.raises(TooFewExamplesError, match=r"19 examples for the guard .* at least 20"):
        judge(pairs(0.0, examples=19), look=1, noise=NOISE)
    runs = pairs(0.0)
    with pytest.raises(BadArgumentError, match="shape"):
        judge(
            Pairs(winner_pd=runs.winner_pd, reference_pd=runs.reference_pd, bytes_d=runs.bytes_d[1:]),
            look=1,
            noise=NOISE,
        )


def test_examples_are_divided_and_the_number_needed_is_in_the_message():
    assert (LEAST_TRAIN, LEAST_HELD_OUT) == (110, 40)
    assert divide(220, 80) == Parts(fit=160, validation=60, guard=40, unread=40)
    with pytest.raises(TooFewExamplesError, match=r"^29 examples for validation .* train = 110 or more$"):
        divide(LEAST_TRAIN - 1, LEAST_HELD_OUT)
    with pytest.raises(TooFewExamplesError, match=r"^19 examples for the guard .* held_out = 40 or more$"):
        divide(LEAST_TRAIN, LEAST_HELD_OUT - 1)
    for train in range(LEAST_TRAIN, 600, 7):
        for held_out in range(LEAST_HELD_OUT, 200, 3):
            parts = divide(train, held_out)
            assert parts.fit + parts.validation == train
            assert parts.guard + parts.unread == held_out
            assert parts.guard >= 20
            assert parts.validation >= 30
            assert parts.fit > 2 * parts.validation
