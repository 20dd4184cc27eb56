"""Qualities and log odds of a score, against their definition in Python."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.scores.scale import as_log_odds, as_quality, best_first
from tamis.settings.sections import ScoreSection

VALUES = st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=8)
RANGES = st.tuples(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3)).map(lambda ends: (ends[0], ends[0] + ends[1]))


def quality(value: float, low: float, high: float, higher: str) -> float:
    """The share of the range from the worse end, within it."""
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return share if higher == "better" else 1.0 - share


@given(VALUES, RANGES, st.sampled_from(["better", "worse"]))
def test_quality_is_the_share_of_the_range_and_its_log_odds_are_within_99_to_1(values, ends, higher):
    score = ScoreSection(name="s", column="c", higher=higher, range=list(ends))
    frame = pl.DataFrame({"value": values}, schema={"value": pl.Float64})
    made = frame.select(first=best_first(score), quality=as_quality(score), odds=as_log_odds(score))
    for value, row in zip(values, made.iter_rows(named=True), strict=True):
        if value is None:
            assert set(row.values()) == {None}
            continue
        assert row["first"] == (value if higher == "better" else -value)
        expected = quality(value, *ends, higher)
        assert row["quality"] == pytest.approx(expected, abs=1e-9)
        clipped = min(max(expected, 0.01), 0.99)
        assert row["odds"] == pytest.approx(math.log(clipped / (1 - clipped)), abs=1e-6)
        assert abs(row["odds"]) <= math.log(99) + 1e-9
