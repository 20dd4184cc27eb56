"""Numbers as pages and sentences show them."""

import math

import pytest

from tamis.base.numbers import duration, number, percent, significant, whole


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(1234.5678, 2), "1,234.57"),
        (number(math.inf), "–"),
        (number(None), "–"),
        (whole(1638400.0), "1,638,400"),
        (percent(0.0417), "4.2 %"),
        (percent(math.nan), "–"),
        (percent(0.0), "0.0 %"),
        (percent(0.0004), "under 0.1 %"),
        (percent(0.004, 0), "under 1 %"),
        (percent(0.006, 0), "1 %"),
        (percent(-0.0004), "above -0.1 %"),
        (percent(-1e-15), "0.0 %"),
        (percent(0.9996), "over 99.9 %"),
        (percent(0.997, 0), "over 99 %"),
        (percent(1.0), "100.0 %"),
        (percent(sum([0.1] * 10)), "100.0 %"),
        (significant(8612.4, 3), "8,612"),
        (significant(0.0123456), "0.01235"),
        (significant(3.5e11, 3), "3.5e+11"),
        (significant(-math.inf), "–"),
        (duration(119.9), "120 seconds"),
        (duration(120), "2.0 minutes"),
        (duration(5_400), "1.5 hours"),
        (duration(math.nan), "–"),
    ],
)
def test_numbers(shown, expected):
    assert shown == expected
