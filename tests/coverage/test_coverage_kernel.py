"""The collision probability against direct simulation, and the width that is chosen from it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import norm

from tamis.coverage import BadVectorsError, DensitySketch, SketchError, collision_probability
from tamis.coverage.hashing import calibrated_width, typical_distance

RNG = np.random.default_rng(7)


def exact_kernel(distances, width):
    """Datar et al. 2004, written out with the normal distribution function."""
    c = np.maximum(np.asarray(distances, dtype=float), 1e-12)
    tail = 2 * c / (math.sqrt(2 * math.pi) * width) * (1 - np.exp(-(width**2) / (2 * c**2)))
    return 1 - 2 * norm.cdf(-width / c) - tail


def test_collision_probability_is_the_formula_of_the_paper():
    distances = np.geomspace(1e-3, 1e3, 60)
    assert np.allclose(collision_probability(distances, 1.3), exact_kernel(distances, 1.3), atol=1e-9)


def test_collision_probability_is_what_random_hashes_do():
    x, y = RNG.normal(size=5), RNG.normal(size=5)
    width, draws = 2.0, 200_000
    a, b = RNG.normal(size=(draws, 5)), RNG.uniform(0, width, draws)
    share = np.mean(np.floor((a @ x + b) / width) == np.floor((a @ y + b) / width))
    expected = collision_probability(np.linalg.norm(x - y), width)
    assert abs(share - expected) < 5 * math.sqrt(expected / draws)


def test_equal_points_always_collide():
    assert collision_probability(np.array([0.0]), 0.5)[0] == 1.0


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 8), st.integers(1, 10_000_000), st.floats(1e-3, 1e3))
def test_a_whole_pool_at_the_median_distance_adds_at_most_one(hashes, expected, scale):
    vectors = np.random.default_rng(hashes).normal(size=(60, 6)) * scale
    width = calibrated_width(vectors, hashes, expected)
    median = np.median(pdist(vectors))
    assert expected * float(exact_kernel(median, width)) ** hashes <= 1 + 1e-5
    # and the width is not needlessly narrow: one step of its grid more would pass the limit or the cap
    wider = width * (1 + 2 / 16)
    assert expected * float(exact_kernel(median, wider)) ** hashes > 1 or wider > 16 * median


def test_typical_distance_is_exact_and_does_not_depend_on_the_order():
    vectors = RNG.normal(size=(301, 24))
    assert math.isclose(typical_distance(vectors), np.median(pdist(vectors)), rel_tol=1e-4)
    assert typical_distance(vectors) == typical_distance(vectors[::-1])


def test_width_has_five_significant_bits():
    mantissa, _ = math.frexp(calibrated_width(RNG.normal(size=(50, 4)), 8, 1_000))
    assert (mantissa * 32).is_integer()


def test_copies_and_single_documents_have_a_width_too():
    one = np.array([[3.0, 4.0]])
    mostly_copies = np.array([[3.0, 4.0]] * 30 + [[9.0, 12.0]])
    assert typical_distance(one) == typical_distance(np.repeat(one, 9, axis=0)) == pytest.approx(5, abs=1e-3)
    assert typical_distance(mostly_copies) == pytest.approx(10, abs=1e-3)
    density = DensitySketch(2, rows=50, expected=31).add(mostly_copies).density(mostly_copies)
    assert density[:30] == pytest.approx(np.full(30, 30.0), abs=1.5)  # the far one adds 1/31 each, at most
    assert 0.5 < density[30] < 2.5  # itself, and at most 1 from all the others


def test_nothing_cannot_choose_a_width():
    sketch = DensitySketch(3, expected=10)
    assert sketch.add(np.empty((0, 3))).width is None
    with pytest.raises(SketchError, match="at least one vector"):
        sketch.calibrate(np.empty((0, 3)))


def test_settings_that_do_not_fit_are_named():
    for wrong, setting in [
        ({"dim": 0}, "dim"),
        ({"dim": 3, "rows": 0}, "rows"),
        ({"dim": 3, "hashes": 0}, "hashes"),
        ({"dim": 3, "buckets": 1}, "buckets"),
        ({"dim": 3, "seed": -1}, "seed"),
        ({"dim": 3, "width": 0.0}, "width"),
        ({"dim": 3, "width": "wide"}, "width"),
        ({"dim": 3}, "expected"),
    ]:
        with pytest.raises(SketchError) as caught:
            DensitySketch(**wrong)
        assert caught.value.setting == setting
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_bad_vectors_name_their_row_and_are_not_counted(value):
    vectors = RNG.normal(size=(9, 4))
    vectors[5] = value
    sketch = DensitySketch(4, rows=20, width=1.0)
    for use in (sketch.add, sketch.density, sketch.subtract):
        with pytest.raises(BadVectorsError, match="row 5") as caught:
            use(vectors)
        assert caught.value.row == 5
    assert sketch.count == 0


@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 3, 4)])
def test_shapes_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"shape \[n, 4\]"):
        DensitySketch(4, width=1.0).add(np.ones(shape))
