"""Where a curve first reaches the full-data loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.comparison.convergence import convergences, crossing

SHARE = np.linspace(0, 1, 11)
ARMS = [("full", "100%"), ("fast", "10%"), ("never", "10%")]


def test_a_crossing_lies_on_the_straight_line_between_two_points():
    assert crossing(np.array([0.0, 0.5, 1.0]), np.array([3.0, 2.0, 1.0]), 1.5) == pytest.approx(0.75)
    assert crossing(SHARE, np.full(11, 1.0), 2.0) == 0.0
    assert np.isnan(crossing(SHARE, np.full(11, 3.0), 2.0))


@given(st.floats(0.01, 0.99))
def test_a_curve_without_a_start_still_crosses_where_it_is_measured(goal):
    loss = 1 - SHARE
    loss[0] = np.nan  # before the first measurement nothing is known
    assert crossing(SHARE, loss, goal) == pytest.approx(max(1 - goal, 0.1))


def test_tokens_saved_are_those_after_the_crossing():
    curves = np.stack([3 - SHARE, 3 - 2 * SHARE, np.full(11, 3.0)])[:, None, None].repeat(3, 1)
    fast, never = convergences(ARMS, curves, SHARE, 0, 0)
    assert fast.saved == pytest.approx(0.5)
    assert (fast.low, fast.high) == pytest.approx((0.5, 0.5))
    assert (fast.reached, never.reached) == (1.0, 0.0)
    assert np.isnan(never.saved)


def test_an_arm_that_is_all_data_always_gets_there():
    curves = 2 + np.random.default_rng(0).random((3, 3, 2, 11))
    curves[1] = curves[0]
    same, _ = convergences(ARMS, np.sort(curves)[..., ::-1], SHARE, 0, 0)
    assert same.reached == 1.0
