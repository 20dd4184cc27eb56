"""The set of ids that intake asks: the answers of a set of Python, whatever comes in which pieces."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tamis.corpus.refusing import KnownIds

ids = st.integers(0, 40).map(lambda number: f"{number * 0x0101010101:030x}00")  # which end in zeros, too


@given(first=st.sets(ids), pieces=st.lists(st.sets(ids), max_size=8), asked=st.lists(ids))
def test_what_was_added_is_among_them_and_nothing_else(first, pieces, asked):
    known, expected = KnownIds(pl.Series(sorted(first), dtype=pl.String)), set(first)
    for piece in pieces:
        new = sorted(piece - expected)
        known.add(pl.Series(new, dtype=pl.String))
        expected |= piece
    mask = known.among(pl.Series(asked, dtype=pl.String))
    assert mask.to_list() == [one in expected for one in asked]


def test_runs_stay_few():
    known = KnownIds(pl.Series([], dtype=pl.String))
    for start in range(0, 20_000, 100):
        known.add(pl.Series([f"{number:032x}" for number in range(start, start + 100)]))
    assert len(known._runs) < 10
    assert sum(map(len, known._runs)) == 20_000
