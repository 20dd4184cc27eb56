"""Intervals of held-out figures: by hand where that is possible, and they cover what they claim to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tamis.training import TrainingResult, intervals
from tamis.training.evaluation import macro_f1
from tamis.training.intervals import estimates
from tamis.training.results import Outcomes

CLASSES = [0, 1, 1, 0, 1]


def result(**values) -> TrainingResult:
    return TrainingResult(
        steps=1,
        tokens=1,
        flops=1.0,
        seconds=1.0,
        peak_memory_bytes=1,
        parameters=1,
        losses=[],
        outcomes=Outcomes(**values),
    )


def test_figures_are_those_of_all_examples():
    draw = np.random.default_rng(0)
    expected, predicted = draw.integers(0, 3, 60).tolist(), draw.integers(0, 4, 60).tolist()
    found = estimates([result(expected=expected, predicted=predicted)])
    assert found["accuracy"].mean == np.mean(np.array(expected) == np.array(predicted))
    assert found["macro_f1"].mean == pytest.approx(macro_f1(np.array(expected), np.array(predicted)))
    for one in found.values():
        assert one.low < one.mean < one.high


def test_nothing_to_draw_from_is_no_width():
    alone = result(bits=[300.0], n_bytes=[100])
    found = estimates([alone, alone])["bits_per_byte"]
    assert (found.mean, found.low, found.high) == (3.0, 3.0, 3.0)


@given(
    st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4), st.sampled_from([1, 8])
)
@settings(max_examples=25, deadline=None)
def test_shares_are_within_their_interval_which_has_a_width_and_ends_within_one(right_sn, times):
    runs = [
        result(
            expected=CLASSES * times,
            predicted=[c if r else 1 - c for c, r in zip(CLASSES, row, strict=True)] * times,
        )
        for row in right_sn
    ]
    found = estimates(runs)
    assert found["accuracy"].mean == pytest.approx(np.mean(right_sn))
    for one in found.values():
        assert 0 <= one.low <= one.mean <= one.high <= 1
        assert one.high - one.low > 0.03


def test_all_answers_right_say_about_what_wilson_says():
    for count in (10, 30, 100, 1_000):
        found = estimates([result(expected=[0, 1] * (count // 2), predicted=[0, 1] * (count // 2))])
        for one in found.values():
            assert one.high == one.mean == 1.0
        low, _high = stats.binomtest(count, count).proportion_ci(method="wilson")
        assert 0 < low - found["accuracy"].low < 0.5 * (1 - low)


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("count", [30, 100])
def test_intervals_of_accuracy_cover_the_truth_near_one(count, seeds, monkeypatch):
    """Examples as hard for one seed as for the other, as well as seeds that err on their own."""
    monkeypatch.setattr(intervals, "RESAMPLES", 2)  # accuracy needs none
    covered, trials, draw = [], 100, np.random.default_rng(count + seeds)
    for share in (0.8, 0.95, 0.99):
        for number in range(trials):
            own = draw.beta(2 * share, 2 * (1 - share), count) if number % 2 else np.full(count, share)
            runs = [
                result(expected=[1] * count, predicted=(draw.random(count) < own).astype(int).tolist())
                for _ in range(seeds)
            ]
            found = estimates(runs, number)["accuracy"]
            covered.append(found.low <= share <= found.high)
    assert (np.reshape(covered, (3, trials)).mean(1) >= 0.9).all()


def test_a_few_examples_vary_as_much_as_the_textbook_says():
    """Draws from five examples vary by a fifth less than five examples do."""
    bits = np.array([150.0, 210.0, 180.0, 260.0, 200.0])
    found = estimates([result(bits=bits.tolist(), n_bytes=[100] * 5)])["bits_per_byte"]
    oracle = stats.ttest_1samp(bits / 100, 0).confidence_interval()
    assert found.high - found.low == pytest.approx(oracle.high - oracle.low, rel=0.06)


def test_a_run_without_held_out_examples_has_no_figures():
    plain = TrainingResult(
        steps=1, tokens=1, flops=1.0, seconds=1.0, peak_memory_bytes=1, parameters=1, losses=[]
    )
    assert estimates([plain]) == {}


def test_an_accuracy_has_the_textbook_width():
    outcomes = {"expected": [0] * 200, "predicted": [0] * 150 + [1] * 50}
    found = estimates([result(**outcomes)])["accuracy"]
    assert found.high - found.low == pytest.approx(2 * 1.97 * (0.75 * 0.25 / 200) ** 0.5, rel=0.08)


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_cover_the_truth(seeds):
    """Documents of a mean code length of 2 bits a byte, and a shift of every seed's own."""
    draw = np.random.default_rng(1)
    covered, trials, spread = 0, 200, 0.05 if seeds > 1 else 0.0
    for number in range(trials):
        sizes = draw.integers(20, 200, 50)
        own = draw.normal(2.0, 0.3, 50)
        runs = [
            result(bits=((own + draw.normal(0, spread)) * sizes).tolist(), n_bytes=sizes.tolist())
            for _ in range(seeds)
        ]
        found = estimates(runs, number)["bits_per_byte"]
        covered += found.low <= 2.0 <= found.high
    assert 0.9 <= covered / trials <= 0.99
