"""Prototypes and SemDeDup against brute force; independence of the order of the documents."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.coverage import BadVectorsError, ClusteringError
from tamis.coverage.sampling import keyed_hash
from tamis.samplers import semdedup
from tamis.samplers.prototypes import Prototypes, fit_prototypes
from tamis.samplers.semdedup import farthest_first, semantic_redundancy

IDS = [f"{number:016x}" for number in keyed_hash([str(row) for row in range(3_000)], 0, "test ids").tolist()]


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def blobs(n, seed=0, topics=6, dim=12, spread=0.3):
    rng = np.random.default_rng(seed)
    return unit(
        rng.normal(size=(topics, dim))[rng.integers(0, topics, n)] + spread * rng.normal(size=(n, dim))
    )


def test_prototypes_find_the_topics():
    rng = np.random.default_rng(1)
    topics = unit(rng.normal(size=(5, 24)))
    vectors = topics[rng.integers(0, 5, 600)] + 0.02 * rng.normal(size=(600, 24))
    fitted = fit_prototypes(IDS[:600], vectors, clusters=5)
    assert np.sort((fitted.centroids_kd @ topics.T).max(axis=0))[0] > 0.999
    assert np.allclose(np.linalg.norm(fitted.centroids_kd, axis=1), 1, atol=1e-6)


def test_distance_is_one_less_the_cosine_with_the_nearest():
    vectors = blobs(500)
    fitted = fit_prototypes(IDS[:500], vectors, clusters=4)
    cosines = vectors.astype(float) @ fitted.centroids_kd.T.astype(float)
    cluster, cosine = fitted.nearest(vectors * 7)
    assert cosine == pytest.approx(cosines.max(axis=1), abs=1e-6)
    assert (cluster == cosines.argmax(axis=1)).all()
    assert fitted.distance(vectors) == pytest.approx(1 - cosines.max(axis=1), abs=1e-6)


def test_what_is_typical_is_dropped_first():
    """The sampler takes the highest distance: an outlier is in, the middle of a topic is out."""
    vectors = np.concatenate([blobs(300, topics=2, spread=0.1), unit(np.eye(12)[-1:] * -1)])
    distance = fit_prototypes(IDS[:301], vectors, clusters=2).distance(vectors)
    assert distance.argmax() == 300


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 3), st.randoms(use_true_random=False))
def test_neither_order_nor_scale_matters(seed, random):
    vectors, order = blobs(200, seed), list(range(200))
    random.shuffle(order)
    shuffled = [IDS[row] for row in order]
    prints = {
        fit_prototypes(IDS[:200], vectors, clusters=3, seed=seed).fingerprint,
        fit_prototypes(shuffled, vectors[order], clusters=3, seed=seed).fingerprint,
        fit_prototypes(shuffled, torch.from_numpy(vectors[order]), clusters=3, seed=seed).fingerprint,
    }
    assert len(prints) == 1
    here = semantic_redundancy(IDS[:200], vectors, seed=seed)
    there = semantic_redundancy(shuffled, vectors[order], seed=seed)
    assert here.equals(there)
    assert here["doc_id"].to_list() == sorted(IDS[:200])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 90), st.integers(0, 9), st.floats(-0.5, 0.999), st.sampled_from(["near", "far"]))
def test_every_threshold_keeps_a_separated_set_that_covers_the_rest(n, seed, threshold, keep):
    """Brute force over all pairs: the claim of the module for any threshold, in one cluster."""
    vectors = blobs(n, seed)
    one = fit_prototypes(IDS[:n], vectors, clusters=1)
    scored = semantic_redundancy(IDS[:n], vectors, prototypes=one, keep=keep)
    place = [IDS.index(doc_id) for doc_id in scored["doc_id"]]
    cosines = vectors[place].astype(float) @ vectors[place].astype(float).T
    kept = scored["cosine"].to_numpy() < threshold
    among_kept = cosines[np.ix_(kept, kept)][np.triu_indices(kept.sum(), 1)]
    assert (among_kept < threshold + 1e-6).all()
    assert (cosines[np.ix_(~kept, kept)].max(axis=1, initial=-1) >= threshold - 1e-6).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(0, 9))
def test_farthest_first_is_what_it_says(n, seed):
    vectors = blobs(n, seed)
    score, nearest = farthest_first(vectors, np.full(n, -1, dtype=np.float32))
    cosines = vectors.astype(float) @ vectors.astype(float).T
    assert (score[0], nearest[0]) == (-1, -1)
    order = np.argsort(score, kind="stable")
    for step, row in enumerate(order[1:], start=1):
        taken = order[:step]
        assert score[row] == pytest.approx(cosines[row, taken].max(), abs=1e-6)
        assert cosines[row, nearest[row]] == pytest.approx(score[row], abs=1e-6)
        left = order[step:]
        assert score[row] <= cosines[np.ix_(left, taken)].max(axis=1).min() + 1e-6


def test_of_copies_the_smallest_id_is_kept():
    vectors = np.repeat(blobs(40), 5, axis=0)
    scored = semantic_redundancy(IDS[:200], vectors)
    groups = np.repeat(np.arange(40), 5)
    first = {min(IDS[row] for row in np.flatnonzero(groups == group)) for group in range(40)}
    copies = scored.filter(scored["cosine"] == 1)
    assert set(scored["doc_id"]) - set(copies["doc_id"]) == first
    assert set(copies["nearest_kept"]) == first
    assert scored["nearest_kept"].null_count() == scored["cluster"].n_unique()


def test_near_and_far_start_at_opposite_ends():
    vectors = blobs(120, topics=1)
    one = fit_prototypes(IDS[:120], vectors, clusters=1)
    closeness = dict(zip(IDS, one.nearest(vectors)[1].tolist(), strict=False))
    ends = []
    for keep in ("near", "far"):
        scored = semantic_redundancy(IDS[:120], vectors, prototypes=one, keep=keep)
        ends.append(closeness[scored.filter(scored["cosine"] == -1)["doc_id"].item()])
    assert ends == [max(closeness.values()), min(closeness.values())]


def test_a_cluster_above_the_limit_is_clustered_again(monkeypatch):
    monkeypatch.setattr(semdedup, "LARGEST_CLUSTER", 50)
    largest = []
    monkeypatch.setattr(
        semdedup, "farthest_first", lambda v, b: largest.append(len(v)) or farthest_first(v, b)
    )
    rng = np.random.default_rng(0)
    originals = blobs(100, topics=100)
    pairs = unit(np.concatenate([originals, originals + 0.01 * rng.normal(size=originals.shape)]))
    seen = []
    one = Prototypes(centroids_kd=pairs[:1])
    scored = semantic_redundancy(IDS[:200], pairs, prototypes=one, advance=seen.append)
    assert max(largest) <= 50
    assert sum(largest) == sum(seen) == 200
    high = set(scored.filter(scored["cosine"] > 0.98)["doc_id"])
    assert sum(IDS[row] in high or IDS[100 + row] in high for row in range(100)) >= 98


def test_one_document_and_none():
    assert semantic_redundancy(IDS[:1], blobs(1)).rows() == [(IDS[0], 0, -1.0, None)]
    none = semantic_redundancy([], np.empty((0, 4)))
    assert none.schema == semantic_redundancy(IDS[:1], blobs(1)).schema
    assert not len(none)


def test_copies_alone_give_one_prototype():
    fitted = fit_prototypes(IDS[:30], np.ones((30, 3)), clusters=5)
    assert fitted.centroids_kd.shape == (1, 3)


def test_wrong_input_is_named():
    vectors = blobs(4)
    bad = vectors.copy()
    bad[2] = np.nan
    with pytest.raises(BadVectorsError, match="row 2"):
        semantic_redundancy(IDS[:4], bad)
    for ids, given_vectors, options, error in [
        (IDS[:3], vectors, {}, BadVectorsError),
        (["a", "b", "b", "c"], vectors, {}, ClusteringError),
        (IDS[:4], vectors, {"keep": "best"}, ClusteringError),
    ]:
        with pytest.raises(error) as caught:
            semantic_redundancy(ids, given_vectors, **options)
        assert isinstance(caught.value, ValueError)
    for clusters in (0, 5):
        with pytest.raises(ClusteringError, match="clusters"):
            fit_prototypes(IDS[:4], vectors, clusters=clusters)


@settings(deadline=None, max_examples=15)
@given(st.integers(20, 150), st.integers(0, 9), st.floats(0.3, 0.999))
def test_no_two_kept_are_alike_on_either_side_of_a_border(n, seed, threshold):
    """With every document at every border, all pairs are compared, however many clusters there are."""
    vectors = blobs(n, seed)
    fitted = fit_prototypes(IDS[:n], vectors, clusters=5, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semdedup, "BORDER", 2.1)
        scored = semantic_redundancy(IDS[:n], vectors, prototypes=fitted)
    place = [IDS.index(doc_id) for doc_id in scored["doc_id"]]
    cosines = vectors[place].astype(float) @ vectors[place].astype(float).T
    kept = np.flatnonzero(scored["cosine"].to_numpy() < threshold)
    assert (cosines[np.ix_(kept, kept)][np.triu_indices(len(kept), 1)] < threshold + 1e-6).all()
    for row, (cosine, nearest) in enumerate(scored.select("cosine", "nearest_kept").rows()):
        if nearest is not None:
            assert cosines[row, scored["doc_id"].to_list().index(nearest)] == pytest.approx(cosine, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 120), st.integers(0, 99), st.floats(0.5, 0.99), st.sampled_from([50, 4_096]))
def test_near_copies_of_which_either_is_near_the_border_are_not_both_kept(n, seed, threshold, largest):
    """Brute force over all pairs; half of the documents are near copies of the others."""
    rng = np.random.default_rng(seed)
    originals = blobs(n, seed, topics=1, dim=4, spread=1.0)
    vectors = unit(np.concatenate([originals, originals + 0.1 * rng.normal(size=originals.shape)]))
    fitted = fit_prototypes(IDS[: 2 * n], vectors, clusters=6, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semdedup, "LARGEST_CLUSTER", largest)
        scored = semantic_redundancy(IDS[: 2 * n], vectors, prototypes=fitted, seed=seed)
        vectors = vectors[[IDS.index(doc_id) for doc_id in scored["doc_id"]]]
        leaves = semdedup._leaves(vectors, fitted, seed)
    to_centres = vectors @ leaves.centroids_kd.T
    near = to_centres >= to_centres.max(axis=1, keepdims=True) - semdedup.BORDER + 1e-6
    visits = near[:, scored["cluster"].to_numpy()]
    kept = scored["cosine"].to_numpy() < threshold
    both = (visits | visits.T) & np.outer(kept, kept) & ~np.eye(len(kept), dtype=bool)
    cosines = vectors.astype(float) @ vectors.astype(float).T
    assert cosines[both].max(initial=-1) < threshold + 1e-6


def test_a_pair_across_a_border_is_found_whichever_of_the_two_is_near_it():
    centres = np.eye(2, dtype=np.float32)
    inner, outer = [np.array([np.cos(angle), np.sin(angle)]) for angle in np.deg2rad([46.0, 42.0])]
    for vectors in (np.array([inner, outer]), np.array([inner, outer])[:, ::-1]):
        scored = semantic_redundancy(IDS[:2], unit(vectors), prototypes=Prototypes(centroids_kd=centres))
        assert scored["cluster"].n_unique() == 2
        assert (scored["cosine"] > 0.99).sum() == 1


def test_a_pair_across_a_border_is_found():
    vectors = unit(np.array([[1, 1.01, 0], [1.01, 1, 0], [1, 0, 0.1], [0, 1, 0.1]]))
    border = Prototypes(centroids_kd=np.eye(3, dtype=np.float32)[:2])
    scored = semantic_redundancy(IDS[:4], vectors, prototypes=border)
    pair = scored.filter(scored["doc_id"].is_in(IDS[:2]))
    assert pair["cluster"].n_unique() == 2
    assert (pair["cosine"] > 0.999).sum() == 1
