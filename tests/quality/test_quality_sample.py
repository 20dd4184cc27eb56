"""The judge's sample follows the pool, and no document changes sides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tamis.quality import choose_sample, split_sample
from tamis.quality.sample import hash_order

IDS = [f"{number:032x}" for number in range(400)]


@settings(deadline=None, max_examples=25)
@given(st.permutations(IDS[:60]), st.integers(0, 60), st.integers(0, 50), st.integers(0, 5))
def test_samples_of_two_pools_merge_into_that_of_their_union(ids, cut, size, seed):
    left, right = ids[:cut], ids[cut:]
    merged = choose_sample(choose_sample(left, size, seed) + choose_sample(right, size, seed), size, seed)
    assert merged == choose_sample(sorted(ids), size, seed)


def test_an_addition_brings_in_nothing_but_itself():
    before = choose_sample(IDS[:200], 50, 0)
    after = choose_sample(IDS, 50, 0)
    assert set(after) - set(before) <= set(IDS[200:])
    assert len(set(after)) == 50


def test_the_sample_is_uniform_over_seeds():
    counts = np.zeros(100)
    for seed in range(300):
        counts[[IDS.index(doc_id) for doc_id in choose_sample(IDS[:100], 20, seed)]] += 1
    assert stats.chisquare(counts).pvalue > 1e-3


def test_parts_are_stable_and_of_the_stated_share():
    parts = split_sample(IDS, 0)
    assert parts["doc_id"].to_list() == IDS
    share = (parts["part"] == "hold_out").mean()
    assert abs(share - 0.3) < 4 * (0.21 / len(IDS)) ** 0.5
    assert split_sample(IDS[::-1], 0)["part"].to_list() == parts["part"].to_list()[::-1]
    sample = choose_sample(IDS, 100, 0)  # the split must not follow from being sampled
    assert 15 < (split_sample(sample, 0)["part"] == "hold_out").sum() < 45


def test_groups_fall_on_one_side():
    groups = [doc_id[-1] for doc_id in IDS]
    parts = split_sample(IDS, 3, groups=groups)["part"].to_list()
    assert all(
        len({part for part, group in zip(parts, groups, strict=True) if group == one}) == 1 for one in "0f7"
    )
    assert len(set(parts)) == 2


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="0 or more"):
        choose_sample(IDS, -1, 0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        split_sample(IDS, 0, hold_out=1.5)
    with pytest.raises(ValueError, match="1 groups"):
        split_sample(IDS, 0, groups=["a"])
    with pytest.raises(ValueError, match="in one row only"):
        hash_order(["a", "a"], 0)
