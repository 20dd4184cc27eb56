"""Gaps of a target: counted by hand for one cluster, found where a topic is hidden, and no others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.transport import BadShapeError, BadVectorError, gaps
from tamis.transport.gaps import NEAREST, NOTHING, SHRINKAGE, find_gaps

D, TOPICS = 24, 5
seeds = st.integers(0, 1_000)


def texts(topic: int, count: int, seed: int) -> np.ndarray:
    """Vectors of a topic, which is an axis with noise around it."""
    made_nd = 0.5 * np.random.default_rng([seed, topic]).normal(size=(count, D))
    made_nd[:, topic] += 2
    return made_nd


def pool_of(topics: range, count: int, seed: int) -> np.ndarray:
    return np.concatenate([texts(topic, count, seed) for topic in topics])


def test_the_examples_of_a_hidden_topic_are_named_and_hardly_any_others():
    hidden, others, of_whole = [], [], []
    for seed in range(4):
        target_md = pool_of(range(TOPICS), 40, seed)
        without_nd, whole_nd = (pool_of(range(first, TOPICS), 300, seed + 9) for first in (1, 0))
        named_m = find_gaps(target_md, without_nd, center=without_nd.mean(0), seed=seed).is_gap_m
        hidden.append(named_m[:40].mean())
        others.append(named_m[40:].mean())
        of_whole.append(find_gaps(target_md, whole_nd, center=whole_nd.mean(0), seed=seed).is_gap_m.mean())
    assert np.mean(hidden) > 0.9
    assert max(np.mean(others), np.mean(of_whole)) < 0.05


@given(seed=seeds, examples=st.integers(6, 30), documents=st.integers(10, 60))
@settings(deadline=None, max_examples=5)
def test_of_one_cluster_what_is_counted_is_what_is_as_near_as_its_nearest_members(seed, examples, documents):
    rng = np.random.default_rng(seed)
    target_md, pool_nd = rng.normal(size=(examples, 3)) + 1, rng.normal(size=(documents, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaps, "CLUSTERS", (1,))
        found = find_gaps(target_md, pool_nd, normalize=True, seed=seed)

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    variance, axes = np.linalg.eigh(np.cov(np.concatenate([unit(pool_nd), unit(target_md)]).T))
    whitening = axes / np.sqrt(variance + SHRINKAGE * variance.mean())
    y, x = unit(unit(target_md) @ whitening), unit(unit(pool_nd) @ whitening)
    near_m = np.array([y[m] @ np.delete(y, m, 0).mean(0) for m in range(examples)])
    ratios = []
    for share in NEAREST:
        limit = np.quantile(near_m, 1 - share)
        own = sum(one >= limit for one in near_m)
        # A document next to a limit may be on either side of it in float32.
        counts = [sum(one @ y.mean(0) >= limit + step for one in x) for step in (1e-5, -1e-5)]
        ratios.append([np.log((count + 0.5) / (own + 0.5)) for count in counts])
    low, high = np.exp(np.mean(ratios, axis=0))
    assert low - 1e-9 <= found.supply_m[0] <= high + 1e-9
    assert (found.supply_m == found.supply_m[0]).all()


def test_blocks_and_their_order_do_not_matter_and_twice_the_pool_is_twice_the_supply():
    target_md, pool_nd = pool_of(range(TOPICS), 20, 0), pool_of(range(1, TOPICS), 100, 1)
    one = find_gaps(target_md, pool_nd, seed=3)
    blocks = find_gaps(target_md, [pool_nd[:7], pool_nd[7:250], pool_nd[250:]], seed=3)
    assert (one.supply_m == blocks.supply_m).all()
    shuffled = find_gaps(target_md, pool_nd[np.random.default_rng(0).permutation(400)], seed=3)
    assert shuffled.supply_m == pytest.approx(one.supply_m, rel=0.05)
    twice = find_gaps(target_md, np.concatenate([pool_nd, pool_nd]), seed=3)
    assert twice.typical == pytest.approx(2 * one.typical, rel=0.25)
    assert (twice.is_gap_m == one.is_gap_m).mean() > 0.95


def test_where_the_whole_pool_is_about_something_else_every_example_is_a_gap():
    target_md, pool_nd = pool_of(range(2), 40, 0), pool_of(range(2, TOPICS), 300, 1)
    found = find_gaps(target_md, pool_nd, center=pool_nd.mean(0))
    assert found.typical < NOTHING
    assert found.is_gap_m.mean() > 0.95


def test_a_pool_that_holds_the_target_lacks_nothing():
    target_md = pool_of(range(TOPICS), 30, 0)
    found = find_gaps(target_md, np.concatenate([target_md, pool_of(range(TOPICS), 100, 1)]))
    assert found.is_gap_m.mean() < 0.05


@pytest.mark.parametrize("examples", [1, 2])
def test_of_too_few_examples_nothing_is_said(examples):
    found = find_gaps(texts(0, examples, 0), pool_of(range(TOPICS), 20, 1))
    assert np.isnan(found.supply_m).all()
    assert np.isnan(found.typical)
    assert not found.is_gap_m.any()


@pytest.mark.parametrize(("topics", "lacking"), [(range(1, TOPICS), True), (range(TOPICS), False)])
def test_examples_that_are_all_alike_are_gaps_where_the_pool_has_none_of_them(topics, lacking):
    alike_md = np.repeat(texts(0, 1, 0), 30, axis=0)
    pool_nd = pool_of(topics, 200, 1)
    if not lacking:
        pool_nd = np.concatenate([pool_nd, np.repeat(alike_md[:1], 30, axis=0)])
    assert (find_gaps(alike_md, pool_nd).is_gap_m == lacking).all()


def test_what_is_no_point_is_refused():
    pool_nd = pool_of(range(TOPICS), 20, 1)
    with pytest.raises(BadShapeError, match="examples"):
        find_gaps(np.zeros((0, D)), pool_nd)
    with pytest.raises(BadShapeError, match="width 7"):
        find_gaps(texts(0, 5, 0), np.ones((9, 7)))
    with pytest.raises(BadVectorError, match="examples"):
        find_gaps(np.zeros((4, D)), pool_nd)
