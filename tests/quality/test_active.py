"""The actively chosen part of the judge's sample."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.quality import candidates, choose_actively, choose_sample

N = 300
IDS = [f"{number:032x}" for number in range(N)]
CENTRES = np.random.default_rng(1).normal(size=(30, 6)) * 4
TOPIC = np.minimum(np.arange(N) // 9, 29)  # 29 topics of 9 documents and one of 39
FEATURES = CENTRES[TOPIC] + np.random.default_rng(2).normal(size=(N, 6)) * 0.3


def sample_of(rows, share=0.5, size=60, seed=0):
    ids = [IDS[row] for row in rows]
    return choose_actively(ids, FEATURES[rows], size, seed, active_share=share, vector_columns=4)


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(100)), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 3))
def test_the_order_of_arrival_changes_nothing(rows, share, seed):
    assert sample_of(list(rows), share, 40, seed).equals(sample_of(list(range(100)), share, 40, seed))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_sample_has_its_size_and_a_hold_out_that_no_choice_has_touched(share):
    found = sample_of(range(N), share, 100)
    assert found["doc_id"].is_sorted()
    assert found["doc_id"].n_unique() == len(found) == 100
    held_out = found.filter(pl.col("part") == "hold_out")["doc_id"]
    uniform = choose_sample(IDS, 100 - round(share * 70), 0)
    assert set(held_out) <= set(uniform) <= set(found["doc_id"])
    assert 15 <= len(held_out) <= 45


def test_chosen_documents_lie_nearer_to_the_rest_of_the_pool():
    def distance_of_pool(share, seed):
        found = sample_of(range(N), share, 60, seed)
        rows = [int(doc_id, 16) for doc_id in found.filter(pl.col("part") == "train")["doc_id"]]
        distances = np.linalg.norm(FEATURES[:, None] - FEATURES[rows], axis=2).min(axis=1)
        return distances.mean()

    left = {share: np.mean([distance_of_pool(share, seed) for seed in range(8)]) for share in (0.0, 1.0)}
    assert left[1.0] < 0.7 * left[0.0]


def test_identical_documents_are_chosen_among_by_their_ids():
    ids = IDS[:80]
    same = np.ones((80, 3))
    found = choose_actively(ids, same, 40, 0, active_share=0.5)
    assert len(found) == 40
    assert found.equals(choose_actively(ids[::-1], same, 40, 0, active_share=0.5))


def test_small_and_empty_pools_are_asked_about_whole():
    assert sample_of(range(20))["doc_id"].to_list() == IDS[:20]
    assert len(choose_actively([], np.empty((0, 3)), 40, 0, active_share=0.5)) == 0


def test_candidates_of_a_pool_hold_its_uniform_sample():
    many = [f"{number:032x}" for number in range(5_000)]
    looked_at = candidates(many, 100, 3)
    assert len(looked_at) == 2_000
    assert set(choose_sample(many, 100, 3)) <= set(looked_at)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="from 0 to 1"):
        sample_of(range(N), 1.5)
    with pytest.raises(ValueError, match=r"\[2, k\]"):
        choose_actively(IDS[:2], FEATURES[:3], 2, 0, active_share=0.5)
    with pytest.raises(ValueError, match="in one row only"):
        choose_actively(["a", "a"], FEATURES[:2], 2, 0, active_share=0.5)
