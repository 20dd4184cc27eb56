"""Graders on pools whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tamis.base.ranks import spearman
from tamis.quality import Grader, TooFewJudgedError, fit_grader, grader_features, split_sample
from tamis.quality.judging import grader_report

N = 240
IDS = [f"{number:032x}" for number in range(N)]
HOLD_OUT = (split_sample(IDS, 0)["part"] == "hold_out").to_numpy()


def pool(seed=0):
    """Embedding [n, 16], surface [n, 3] (the first: log of length), perplexity with gaps, lengths."""
    generator = np.random.default_rng(seed)
    lengths = np.exp(generator.normal(6, 1, N))
    vectors = generator.normal(size=(N, 16))
    surface = np.column_stack([np.log(lengths), generator.normal(size=(N, 2))])
    bits = generator.normal(2, 0.3, N)
    bits[::7] = np.nan
    return vectors, surface, bits, lengths, generator


def fitted(margins, vectors, surface, bits, lengths, **changed):
    arguments = {"doc_ids": IDS, "lengths_n": lengths, "vector_columns": 16, **changed}
    return fit_grader(grader_features(vectors, surface, bits), margins, HOLD_OUT, **arguments)


@pytest.fixture(scope="module")
def good():
    vectors, surface, bits, lengths, generator = pool()
    margins = vectors[:, 0] + np.tanh(vectors[:, 1]) + 0.3 * surface[:, 0] + 0.3 * generator.normal(size=N)
    return fitted(margins, vectors, surface, bits, lengths), grader_features(vectors, surface, bits), margins


def test_a_grader_that_sees_what_the_judge_sees_passes(good):
    grader, features, margins = good
    report = grader.report
    assert report.passed
    assert report.spearman > 0.75 > report.length_only_spearman
    assert report.spearman_low < report.spearman < report.spearman_high
    assert report.auc_at_cut > 0.85
    assert report.top_k_recall > 0.5
    assert (report.n_train, report.n_hold_out) == (N - HOLD_OUT.sum(), HOLD_OUT.sum())
    expected = stats.spearmanr(grader.predict(features[HOLD_OUT]), margins[HOLD_OUT]).statistic
    assert report.spearman == pytest.approx(expected)


def test_a_grader_of_a_judge_that_only_sees_length_does_not_pass():
    vectors, surface, bits, lengths, generator = pool(1)
    report = fitted(np.log(lengths) + generator.normal(size=N), vectors, surface, bits, lengths).report
    assert report.length_only_spearman > 0.5
    assert not report.passed


def test_a_grader_of_a_random_judge_does_not_pass():
    vectors, surface, bits, lengths, generator = pool(2)
    assert not fitted(generator.normal(size=N), vectors, surface, bits, lengths).report.passed


def test_the_hold_out_part_is_never_learned_from(good):
    grader, features, margins = good
    vectors, surface, bits, lengths, _ = pool()
    other = np.where(HOLD_OUT, -margins, margins)
    again = fitted(other, vectors, surface, bits, lengths)
    np.testing.assert_array_equal(grader.predict(features), again.predict(features))
    assert again.report.spearman == pytest.approx(-grader.report.spearman)


def test_the_order_of_rows_changes_nothing(good):
    grader, features, margins = good
    *_, lengths, _ = pool()
    order = np.random.default_rng(5).permutation(N)
    shuffled = fit_grader(
        features[order],
        margins[order],
        HOLD_OUT[order],
        doc_ids=[IDS[row] for row in order],
        lengths_n=lengths[order],
        vector_columns=16,
    )
    np.testing.assert_array_equal(shuffled.predict(features), grader.predict(features))
    assert shuffled.report == grader.report


def test_quality_is_between_zero_and_one_and_orders_as_the_prediction_does(good):
    grader, features, _ = good
    quality = grader.quality(features)
    assert quality.dtype == np.float32
    assert 0 < quality.min() < 0.3 < 0.7 < quality.max() < 1
    assert spearman(quality.astype(float), grader.predict(features).astype(float)) == pytest.approx(1.0)
    assert 0.4 < quality[~HOLD_OUT].mean() < 0.6
    np.testing.assert_allclose(grader.quality(features[:1]), quality[:1], rtol=1e-6)


def test_the_ceiling_is_that_of_the_hold_out_and_survives_saving(good, tmp_path):
    _, _, margins = good
    vectors, surface, bits, lengths, generator = pool()
    again = margins + 0.5 * generator.normal(size=N)
    grader = fitted(margins, vectors, surface, bits, lengths, margins_again_n=again)
    ceiling = grader.report.ceiling
    assert ceiling.documents == HOLD_OUT.sum()
    assert ceiling.reliability == pytest.approx(spearman(margins[HOLD_OUT], again[HOLD_OUT]))
    assert 0.8 < ceiling.reliability < ceiling.spearman < 1
    grader.save(tmp_path / "grader")
    assert Grader.load(tmp_path / "grader").report == grader.report
    assert good[0].report.ceiling is None
    shown = grader_report(grader)
    assert shown["noise_ceiling_spearman"] == ceiling.spearman
    assert shown["judge_reliability"] == ceiling.reliability
    assert all(isinstance(value, int | float) for value in shown.values())


def test_saved_and_loaded_is_equal_to_the_bit(good, tmp_path):
    grader, features, _ = good
    path = tmp_path / "grader.of.quality"
    grader.save(path)
    loaded = Grader.load(path)
    assert [file.name for file in tmp_path.iterdir()] == ["grader.of.quality"]
    np.testing.assert_array_equal(loaded.predict(features), grader.predict(features))
    np.testing.assert_array_equal(loaded.quality(features), grader.quality(features))
    assert loaded.report == grader.report


def test_a_linear_grader_survives_saving_too(tmp_path):
    vectors, surface, bits, lengths, generator = pool(3)
    margins = vectors @ np.ones(16) + generator.normal(size=N)
    grader = fitted(margins, vectors, surface, bits, lengths)
    assert grader.regression.kernel == "linear"
    grader.save(tmp_path / "g")
    features = grader_features(vectors, surface, bits)
    np.testing.assert_array_equal(Grader.load(tmp_path / "g").predict(features), grader.predict(features))


def test_missing_perplexity_takes_the_training_median_and_its_flag(good):
    grader, features, _ = good
    gap = features[:1].copy()
    gap[0, -2:] = np.nan, 1.0
    filled = gap.copy()
    filled[0, -2] = np.float64(np.nanmedian(features[~HOLD_OUT, -2].astype(np.float64)))
    np.testing.assert_allclose(grader.predict(gap), grader.predict(filled), rtol=1e-6)
    assert features[0, -1] == 1.0
    assert features[1, -1] == 0.0


def test_margins_the_judge_did_not_give_are_left_out():
    vectors, surface, bits, lengths, _ = pool()
    margins = np.where(np.arange(N) % 3 == 0, np.nan, vectors[:, 0])
    report = fitted(margins, vectors, surface, bits, lengths).report
    assert report.n_train + report.n_hold_out == N - N // 3


def test_columns_that_never_vary_or_are_never_known_do_no_harm():
    vectors, surface, _, lengths, _ = pool()
    surface[:, 2] = 5.0
    grader = fitted(vectors[:, 0], vectors, surface, np.full(N, np.nan), lengths)
    assert np.isfinite(grader.predict(grader_features(vectors, surface, np.full(N, 2.0)))).all()


def test_wrong_input_is_named(good):
    grader, features, margins = good
    with pytest.raises(ValueError, match=r"\[n, 21\]"):
        grader.predict(features[:, :5])
    with pytest.raises(TooFewJudgedError, match="raise sample in \\[judge\\]"):
        fit_grader(
            features[:9], margins[:9], HOLD_OUT[:9], doc_ids=IDS[:9], lengths_n=np.ones(9), vector_columns=16
        )
    with pytest.raises(ValueError, match="one number per document"):
        fit_grader(features, margins[:-1], HOLD_OUT, doc_ids=IDS, lengths_n=np.ones(N))
    with pytest.raises(ValueError, match="same number of rows"):
        grader_features(np.ones((2, 3)), np.ones((3, 3)), np.ones(2))
    assert grader.predict(features[:0]).shape == (0,)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=25))
def test_spearman_equals_that_of_scipy(pairs):
    left, right = np.array(pairs, dtype=float).T
    constant = np.ptp(left) == 0 or np.ptp(right) == 0
    expected = 0.0 if constant else stats.spearmanr(left, right).statistic
    assert spearman(left, right) == pytest.approx(expected, abs=1e-12)
