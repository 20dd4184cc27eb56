"""Keyed subsets: nested, independent of order, halves of about equal size."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.training import fold_of, nested_subset

IDS = [f"{number:032x}" for number in range(4_000)]


@given(
    ids=st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=40),
    seed=st.integers(0, 3),
    data=st.data(),
)
@settings(deadline=None, max_examples=25)
def test_smaller_subsets_are_prefixes_in_any_order(ids, seed, data):
    large = data.draw(st.integers(0, len(ids)))
    small = data.draw(st.integers(0, large))
    shuffled = data.draw(st.permutations(ids))
    subset = nested_subset(ids, large, seed)
    assert nested_subset(shuffled, small, seed) == subset[:small]
    assert len(set(subset)) == large
    assert set(subset) <= set(ids)


def test_a_new_document_displaces_at_most_one():
    before = nested_subset(IDS[:-1], 100, seed=0)
    after = nested_subset(IDS, 100, seed=0)
    assert len(set(before) - set(after)) <= 1


def test_seeds_draw_different_subsets_of_fair_size():
    first, second = (set(nested_subset(IDS, 1_000, seed)) for seed in (0, 1))
    # Two independent quarters of 4,000 share 250; the standard deviation is 12.
    assert 190 < len(first & second) < 310


def test_impossible_subsets():
    with pytest.raises(ValueError, match="duplicates"):
        nested_subset(["a", "a"], 1, 0)
    with pytest.raises(ValueError, match="size: 3; expected 2 at most"):
        nested_subset(["a", "b"], 3, 0)


def test_folds_are_halves_and_agree_between_forms():
    folds = fold_of(IDS)
    assert folds.dtype == np.int8
    assert set(folds.tolist()) == {0, 1}
    assert abs(folds.mean() - 0.5) < 0.04
    np.testing.assert_array_equal(fold_of(pl.Series(IDS)), folds)
    assert [fold_of(doc_id) for doc_id in IDS[:50]] == folds[:50].tolist()


def test_folds_never_move():
    # Documents scored in an earlier version of the code must stay in their fold.
    assert fold_of([f"{number:032x}" for number in range(16)]).tolist() == FIRST_FOLDS


def test_folds_are_independent_of_subsets():
    subset = nested_subset(IDS, 1_000, seed=0)
    assert abs(fold_of(subset).mean() - 0.5) < 0.08


FIRST_FOLDS = [0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1]
