"""Contrasts, Holm, recovery and intervals, against textbook answers and simulated truths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tamis.comparison import statistics
from tamis.comparison.losses import PairedLosses, stacked
from tamis.comparison.statistics import contrasts, holm, loss_intervals, recoveries

BYTES = np.array([200.0, 500.0, 300.0, 1_000.0])
ARMS = (("full", "100%"), ("random", "10%"), ("good", "10%"))


def losses_of(loss_aij: np.ndarray, noise: float = 0.0, seed: int = 0, documents: int = 4) -> PairedLosses:
    """Code lengths whose ratio to the bytes is the wanted loss, up to noise that documents add."""
    draw = np.random.default_rng(seed)
    sizes = np.resize(BYTES, documents)
    bits = loss_aij[..., None] * sizes * (1 + noise * draw.normal(size=(*loss_aij.shape, documents)))
    arms = (*ARMS, *((f"more{place}", "10%") for place in range(len(loss_aij) - 3)))
    return PairedLosses(arms, bits, sizes)


def test_the_loss_is_total_bits_over_total_bytes():
    losses = losses_of(np.full((3, 2, 2), 1.5), noise=0.3)
    assert losses.loss_aij == pytest.approx(losses.bits_aijd.sum(-1) / BYTES.sum())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_what_its_definition_says(p):
    corrected = holm(p)
    order = sorted(range(len(p)), key=lambda place: (p[place], place))
    running = 0.0
    for rank, place in enumerate(order):
        running = max(running, p[place] * (len(p) - rank))
        assert corrected[place] == pytest.approx(min(running, 1.0))


def test_holm_leaves_out_what_has_no_p_value():
    assert holm([0.01, float("nan"), 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)


def test_without_noise_of_documents_a_contrast_is_the_paired_t_test_over_data_seeds():
    draw = np.random.default_rng(1)
    loss = 2 + 0.1 * draw.normal(size=(3, 5, 2))
    losses = losses_of(loss)
    (found,) = [one for one in contrasts(losses, "random", 0) if one.sampler == "good"]
    oracle = stats.ttest_rel(loss[2].mean(1), loss[1].mean(1))
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-9)
    low, high = oracle.confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.degrees_of_freedom == pytest.approx(4)
    assert found.pairs == 10


def test_one_data_seed_is_repeated_by_its_training_seeds_and_one_run_proves_nothing():
    loss = 2 + 0.1 * np.random.default_rng(2).normal(size=(3, 1, 4))
    (found,) = [one for one in contrasts(losses_of(loss), "random", 0) if one.sampler == "good"]
    assert found.p == pytest.approx(stats.ttest_rel(loss[2, 0], loss[1, 0]).pvalue)
    (alone,) = [one for one in contrasts(losses_of(loss[:, :, :1]), "random", 0) if one.sampler == "good"]
    assert np.isnan(alone.p)
    assert np.isnan(alone.low)
    assert alone.difference == pytest.approx(loss[2, 0, 0] - loss[1, 0, 0])


def test_luck_is_called_significant_no_more_often_than_one_time_in_twenty():
    draw = np.random.default_rng(3)
    rejected = 0
    for trial in range(400):
        pool = 0.2 * draw.normal(size=(1, 3, 1))  # what a data seed does to all arms alike
        loss = 2 + pool + 0.05 * draw.normal(size=(3, 3, 2))
        found = contrasts(losses_of(loss, noise=0.02, seed=trial, documents=40), "random", trial)
        rejected += sum(one.p < 0.05 for one in found)
    assert rejected / 400 < 0.08  # .05 and three standard errors


def test_two_data_seeds_call_luck_significant_more_often_than_that(monkeypatch):
    """As docs/samplers.md says: the shares of seeds and documents in what varies are estimated badly."""
    monkeypatch.setattr(statistics, "RESAMPLES", 2)  # no test rests on them
    rejected = {}
    for seeds in (2, 3):
        draw = np.random.default_rng(3)
        losses = [
            losses_of(2 + 0.04 * draw.normal(size=(3, seeds, 1)), noise=0.04, seed=trial, documents=60)
            for trial in range(400)
        ]
        rejected[seeds] = np.mean([contrasts(one, "random", 0)[0].p < 0.05 for one in losses])
    assert rejected[2] > 0.1
    assert rejected[2] > rejected[3]


@pytest.mark.parametrize(("data", "training"), [(3, 2), (5, 1), (1, 4)])
def test_without_noise_of_documents_a_loss_has_the_t_interval_over_seeds(data, training):
    loss = 2 + 0.1 * np.random.default_rng(1).normal(size=(3, data, training))
    for found, loss_ij in zip(loss_intervals(losses_of(loss)), loss, strict=True):
        units = loss_ij.mean(1) if data > 1 else loss_ij[0]
        oracle = stats.ttest_1samp(units, 2.0).confidence_interval()
        assert found == pytest.approx((oracle.low, oracle.high), rel=1e-9)
    assert np.isnan(loss_intervals(losses_of(loss[:, :1, :1]))).all()


@pytest.mark.parametrize(("between_seeds", "between_documents"), [(0.2, 0.02), (0.05, 0.2), (0.0, 0.2)])
def test_the_interval_of_a_loss_holds_it_as_often_as_it_says(between_seeds, between_documents):
    draw, held = np.random.default_rng(5), 0
    for _ in range(300):
        sizes = draw.integers(200, 1_000, 60).astype(float)
        own = between_documents * draw.normal(size=60)
        loss = 2 + between_seeds * draw.normal(size=(1, 3, 1)) + 0.02 * draw.normal(size=(3, 3, 2))
        low, high = loss_intervals(PairedLosses(ARMS, (loss[..., None] + own) * sizes, sizes))[1]
        held += low <= 2 <= high
    assert 0.91 < held / 300 < 0.99


def test_a_true_difference_is_found_and_an_interval_holds_it():
    draw = np.random.default_rng(4)
    held, found_better = 0, 0
    for trial in range(200):
        loss = 2 + 0.2 * draw.normal(size=(1, 3, 1)) + 0.01 * draw.normal(size=(3, 3, 2))
        loss[2] -= 0.1
        (one,) = [found for found in contrasts(losses_of(loss), "random", trial) if found.sampler == "good"]
        held += one.low <= -0.1 <= one.high
        found_better += one.p < 0.05 and one.difference < 0
    assert held / 200 > 0.9
    assert found_better / 200 > 0.9


def test_missing_runs_leave_their_pair_out_and_nothing_else():
    loss = 2 + 0.1 * np.random.default_rng(5).normal(size=(3, 4, 2))
    losses = losses_of(loss)
    bits = losses.bits_aijd.copy()
    bits[2, 1, 0] = np.nan
    (found,) = [
        one for one in contrasts(PairedLosses(ARMS, bits, BYTES), "random", 0) if one.sampler == "good"
    ]
    units = np.array([np.nanmean((bits[2, i] - bits[1, i]).sum(-1) / BYTES.sum()) for i in range(4)])
    assert found.difference == pytest.approx(units.mean())
    assert found.pairs == 7
    assert np.isfinite([found.bootstrap_low, found.bootstrap_high]).all()


def test_recovery_is_proven_within_the_margin_only():
    draw = np.random.default_rng(6)
    loss = 2 + 0.02 * draw.normal(size=(4, 4, 2))
    loss[1] += 0.5  # random: far worse than all data
    loss[3] = loss[0] - 0.1
    found = {one.sampler: one for one in recoveries(losses_of(loss), "full")}
    assert set(found) == {"random", "good", "more0"}
    assert found["random"].p > 0.99
    assert found["more0"].p < 0.001
    assert found["more0"].upper < found["more0"].margin
    bound = 4 * loss[0].var(axis=1, ddof=1).mean() / stats.chi2.ppf(0.95, 4)  # of the variance, 4 of freedom
    assert found["more0"].margin == pytest.approx(2 * bound**0.5)


def test_recovery_is_claimed_no_more_often_than_one_time_in_twenty_at_the_margin():
    draw, claimed = np.random.default_rng(8), 0
    for _ in range(400):
        loss = 2 + 0.3 * draw.normal(size=(1, 3, 1)) + 0.05 * draw.normal(size=(3, 3, 2))
        loss[2] += 2 * 0.05  # as bad as the margin allows
        claimed += sum(one.p < 0.05 for one in recoveries(losses_of(loss), "full") if one.sampler == "good")
    assert claimed / 400 < 0.08


def test_one_training_seed_says_nothing_of_recovery():
    assert recoveries(losses_of(2 + np.random.default_rng(9).normal(size=(3, 4, 1))), "full") == []


def test_a_single_run_on_all_data_gives_no_margin():
    assert recoveries(losses_of(np.full((3, 1, 1), 2.0)), "full") == []


def test_resampling_depends_on_the_seed_alone():
    losses = losses_of(2 + np.random.default_rng(7).normal(size=(3, 3, 2)) / 10, noise=0.1)
    first, again, other = (losses.resampled(50, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_stacked_puts_each_run_in_its_place():
    runs = {("random", "10%", 1, 0): np.ones(4), ("good", "10%", 0, 1): np.full(4, 2.0)}
    losses = stacked(ARMS, runs, BYTES, 2, 2)
    assert losses.bits_aijd[1, 1, 0].tolist() == [1.0] * 4
    assert losses.bits_aijd[2, 0, 1].tolist() == [2.0] * 4
    assert np.isnan(losses.bits_aijd[0]).all()
