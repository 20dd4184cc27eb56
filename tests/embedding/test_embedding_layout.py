"""Places in two dimensions: those of a singular value decomposition, equal at each run, for odd input too."""

import numpy as np
import pytest

from tamis.embedding.layout import nearest, neighbour_layout, neighbours_kept, principal_components, unit
from tamis.topics.clusters import cluster_centers

GROUPS, EACH = 6, 40


@pytest.fixture
def grouped():
    rng = np.random.default_rng(3)
    centers = rng.normal(size=(GROUPS, 32))
    return np.repeat(centers, EACH, axis=0) + rng.normal(size=(GROUPS * EACH, 32)) * 0.3


def test_components_are_those_of_a_singular_value_decomposition(grouped):
    found = principal_components(grouped, 5)
    centred = unit(grouped) - unit(grouped).mean(axis=0)
    _left, values, axes = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs(found.of(grouped)), np.abs(centred @ axes[:5].T), atol=1e-9)
    assert np.allclose(found.share_k, (values**2 / (values**2).sum())[:5])
    largest = np.take_along_axis(found.axes_dk, np.abs(found.axes_dk).argmax(axis=0)[None], axis=0)
    assert (largest > 0).all()


def test_the_scale_of_a_vector_counts_for_nothing_and_every_run_gives_the_same_bytes(grouped):
    found = principal_components(grouped)
    again = principal_components(grouped.copy())
    assert found.of(grouped).tobytes() == again.of(grouped).tobytes()
    assert np.allclose(principal_components(grouped * 7).of(grouped), found.of(grouped), atol=1e-9)


@pytest.mark.parametrize(
    "rows", [np.ones((9, 4)), np.zeros((3, 4)), np.ones((1, 4)), np.zeros((0, 4)), np.ones((5, 1))]
)
def test_vectors_that_are_alike_are_in_one_place(rows):
    found = principal_components(rows)
    assert not found.of(rows).any()
    assert found.of(rows).shape == (len(rows), 50)
    assert cluster_centers(found.of(rows)).shape[0] == 1


def test_nearest_points_are_those_of_brute_force(grouped):
    distance = np.linalg.norm(grouped[:, None] - grouped[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (nearest(grouped, np.arange(len(grouped)), 3) == np.argsort(distance, axis=1)[:, :3]).all()


def test_a_layout_by_neighbours_keeps_more_of_them_than_components_and_is_repeated_to_the_byte():
    rng = np.random.default_rng(4)
    rows = np.repeat(rng.normal(size=(24, 32)), 16, axis=0) + rng.normal(size=(24 * 16, 32)) * 0.2
    points = principal_components(rows).of(rows)
    places = neighbour_layout(points)
    assert neighbours_kept(points, places) > neighbours_kept(points, points[:, :2]) + 0.1
    assert places.tobytes() == neighbour_layout(points.copy()).tobytes()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 20])
def test_a_layout_of_few_or_equal_points_is_finite(count):
    assert np.isfinite(neighbour_layout(np.ones((count, 4)))).all()


def test_a_layout_of_nearly_equal_points_is_finite():
    rng = np.random.default_rng(5)
    points = np.repeat(rng.normal(size=(30, 8)), 8, axis=0) + rng.normal(size=(240, 8)) * 1e-5
    assert np.isfinite(neighbour_layout(points)).all()
