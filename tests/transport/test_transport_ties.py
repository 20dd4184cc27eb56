"""Exact copies of a document: which of them is taken follows the ids, never the order of the rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.samplers import RIVALS
from tamis.samplers import neighbours as neighbours_module
from tamis.samplers.neighbours import nearest_neighbours, round_robin, sides_of
from tamis.samplers.tsds import neighbour_density, spread_mass
from tamis.transport import nearest_cost
from tamis.transport.ordering import hash_order, ranks_of, smallest_first

seeds = st.integers(0, 10_000)
RAW = {"center": False, "normalize": False}


def copies(seed, n, targets, d=6, distinct=7):
    """A target [targets, d], a pool [n, d] of few distinct rows, ids, and another order of the rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(distinct, d)).astype(np.float32)
    pool = rows[rng.integers(0, distinct, size=n)]
    ids = np.array([f"doc{row}" for row in range(n)])
    return rng.normal(size=(targets, d)).astype(np.float32), pool, ids, rng.permutation(n)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("round-robin", {}),
        ("tsds", {}),
        # The mean of rows in another order is another centre, by rounding, and so are equal probabilities.
        ("tsds", {"draw": False, "center": False}),
        ("tsds", {"neighbours": 5, "draw": False, "center": False}),
        ("knn", {}),
    ],
)
@given(seed=seeds, n=st.integers(20, 150), targets=st.integers(1, 5), k=st.integers(1, 20))
@settings(deadline=None, max_examples=25)
def test_the_order_of_the_rows_decides_nothing_where_there_are_ids(name, options, seed, n, targets, k):
    target, pool, ids, order = copies(seed, n, targets)
    found = RIVALS[name](target, pool, k, seed=seed, ids=list(ids), **options)
    moved = RIVALS[name](target, pool[order], k, seed=seed, ids=list(ids[order]), **options)
    assert ids[found.chosen].tolist() == ids[order][moved.chosen].tolist()
    assert (smallest_first(found.score, k, ids=list(ids), seed=seed) == found.chosen).all()


@given(seed=seeds, targets=st.integers(2, 5))
@settings(deadline=None, max_examples=15)
def test_the_ranks_of_those_left_over_follow_the_ids_too(seed, targets):
    target, pool, ids, order = copies(seed, 40, targets)
    found = round_robin(target, pool, 5, seed=seed, ids=list(ids))
    moved = round_robin(target, pool[order], 5, seed=seed, ids=list(ids[order]))
    assert ids[np.argsort(found.score)].tolist() == ids[order][np.argsort(moved.score)].tolist()


@given(seed=seeds, n=st.integers(15, 40), targets=st.integers(1, 4), count=st.integers(1, 14))
@settings(deadline=None, max_examples=40)
def test_neighbours_of_equal_distance_come_in_the_order_asked(seed, n, targets, count):
    target, pool, ids, _ = copies(seed, n, targets, d=64, distinct=3)
    order = hash_order(n, ids=list(ids), seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours_module, "READING_ROWS", 7)
        cost, position = nearest_neighbours(sides_of(target, pool, **RAW), count, order=order)
    place = np.argsort(order)
    for point, costs, found in zip(target, cost, position, strict=True):
        distance = np.square(pool - point).sum(1).round(3)
        expected = np.lexsort((place, distance))[:count]
        assert found.tolist() == expected.tolist()
        assert np.abs(costs - np.square(pool[found] - point).sum(1)).max() < 1e-3


def test_another_seed_takes_other_copies_and_ids_must_fit():
    target, pool, ids, _ = copies(0, 100, 3)
    found = [round_robin(target, pool, 9, seed=seed, ids=list(ids)).chosen.tolist() for seed in range(4)]
    assert len({tuple(chosen) for chosen in found}) == 4
    for method in (round_robin, neighbour_density):
        with pytest.raises(ValueError, match="ids: 99 ids; expected 100, one per candidate"):
            method(target, pool, 9, ids=list(ids[1:]))


def test_without_ids_ties_follow_the_rows():
    pool = np.repeat(np.eye(3), [4, 4, 4], axis=0)
    assert round_robin(np.eye(3)[:1], pool, 3, **RAW).chosen.tolist() == [0, 1, 2]
    assert hash_order(3, ids=None, seed=0).tolist() == [0, 1, 2]
    rank = ranks_of(np.array([2]), [0.5, 0.1, 0.9, 0.1])
    assert rank.tolist() == [3, 1, 0, 2]


@given(seed=seeds, n=st.integers(1, 140), targets=st.integers(1, 3), d=st.integers(2, 40))
@settings(deadline=None, max_examples=30)
def test_copies_cost_the_same_to_the_bit_wherever_they_stand(seed, n, targets, d):
    target, pool, _, order = copies(seed, n, targets, d, distinct=2)
    cost = nearest_cost(target, pool, **RAW)
    assert len(np.unique(cost)) == len(np.unique(pool, axis=0))
    assert (nearest_cost(target, pool[order], **RAW) == cost[order]).all()


def test_copies_share_mass_to_the_bit():
    density = np.array([[1.0, 3.0, 3.0, 3.0, 1.7, 1.2, 2.0]])
    mass = spread_mass(np.arange(7.0)[None] ** 2, density, 1e-9, 0.5)
    assert mass[0, 1] == mass[0, 2] == mass[0, 3] > 0
    assert mass.sum() == pytest.approx(1)
