"""Accept then Stop: against a direct transcription of the algorithm, and at its edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.scaling import accept_then_stop

SIZES = 200 * 2.0 ** np.arange(10)


def by_the_book(sizes, losses, target, k, delta, published):
    """Algorithm 1 with explicit loops and normal equations."""
    points = sorted(zip(np.log(sizes), np.log(losses), strict=True), reverse=True)

    def line(part):
        x, y = np.array(part).T
        slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
        return slope, y.mean() - slope * x.mean(), x, y

    accepted = list(points[:k])
    stopped = len(points) <= k
    for x_new, y_new in points[k:]:
        slope, intercept, x, y = line(accepted)
        if abs(y_new - slope * x_new - intercept) > delta * np.std(y - slope * x - intercept):
            stopped = True
            break
        accepted.append((x_new, y_new))
    if published and not stopped:
        accepted = accepted[:-1]
    slope, intercept, _, _ = line(accepted)
    return float(np.exp(slope * np.log(target) + intercept)), len(accepted)


@settings(max_examples=25, deadline=None)
@given(
    noise=st.lists(st.floats(-0.03, 0.03), min_size=10, max_size=10),
    n=st.integers(2, 10),
    k=st.integers(3, 5),
    delta=st.floats(0.5, 8),
    variant=st.sampled_from(["published", "literal"]),
)
def test_agrees_with_a_transcription_of_the_algorithm(noise, n, k, delta, variant):
    losses = 3 * SIZES[:n] ** -0.1 * np.exp(noise[:n]) + 0.5
    found = accept_then_stop(SIZES[:n], losses, 1e6, k=k, delta=delta, variant=variant)
    loss, count = by_the_book(SIZES[:n], losses, 1e6, k, delta, variant == "published")
    assert found.loss == pytest.approx(loss, rel=1e-9)
    assert found.accepted == tuple(SIZES[n - count : n])


def test_a_break_in_the_curve_stops_acceptance():
    losses = np.where(SIZES < 1_500, 3.0, 10 * SIZES**-0.2 * (1 + 0.001 * (-1.0) ** np.arange(10)))
    found = accept_then_stop(SIZES, losses, 1e6)
    assert min(found.accepted) >= 1_500
    assert found.loss == pytest.approx(10 * 1e6**-0.2, rel=0.01)
    assert found.low < found.loss < found.high


def test_variants_differ_in_the_smallest_size_only():
    losses = 10 * SIZES**-0.2
    assert accept_then_stop(SIZES, losses, 1e6).accepted == tuple(SIZES[1:])
    assert accept_then_stop(SIZES, losses, 1e6, variant="literal").accepted == tuple(SIZES)


def test_points_on_one_line_are_accepted_whatever_the_rounding():
    sizes = np.array([3.0, 7.0, 40.0, 41.0, 900.0, 12_345.0])  # no halvings
    found = accept_then_stop(sizes, 7 * sizes**-0.13, 1e6, delta=1e-3, variant="literal")
    assert found.accepted == tuple(sizes)
    assert found.loss == pytest.approx(7 * 1e6**-0.13, rel=1e-9)


def test_two_points_have_no_residuals_and_stop_at_once():
    losses = [3.0, 2.5, 2.2, 2.05]
    found = accept_then_stop(SIZES[:4], losses, 1e5, k=2)
    assert found.accepted == tuple(SIZES[2:4])


def test_curves_too_short_for_a_line_say_what_they_can():
    empty = accept_then_stop([0, 100], [3.0, float("nan")], 1e5)
    assert np.isnan([empty.loss, empty.low, empty.high]).all()
    assert empty.accepted == ()
    one = accept_then_stop([100], [2.0], 1e5)
    assert one.loss == pytest.approx(2.0)
    assert np.isnan(one.high)
    two = accept_then_stop([100, 200], [2.0, 1.0], 400)
    assert two.loss == pytest.approx(0.5)
    assert np.isnan(two.low)


def test_zero_shot_and_failed_runs_are_not_used():
    losses = 10 * SIZES**-0.2
    plain = accept_then_stop(SIZES, losses, 1e6)
    other = accept_then_stop([0, *SIZES, 150.0], [29.0, *losses, float("nan")], 1e6)
    assert other == plain


def test_sizes_above_the_target_are_not_used():
    losses = 8 / (40 + SIZES**0.4) + 1
    seen = SIZES <= 800
    assert accept_then_stop(SIZES, losses, 800) == accept_then_stop(SIZES[seen], losses[seen], 800)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"k": 1}, "k = 1"),
        ({"k": 2.5}, "k = 2.5"),
        ({"k": "3"}, "k = '3'"),
        ({"delta": 0}, "delta = 0"),
        ({"delta": "wide"}, "delta = 'wide'"),
        ({"target_size": 10**400}, "target_size = 1000"),
        ({"delta": float("nan")}, "delta = nan"),
        ({"variant": "improved"}, "valid: literal, published"),
        ({"target_size": 0}, "target_size = 0"),
    ],
)
def test_wrong_settings_name_themselves(setting, message):
    with pytest.raises(ValueError, match=message):
        accept_then_stop(**{"sizes": SIZES, "losses": SIZES, "target_size": 1e6} | setting)
